"""The outcome of every test sample of an attempt, one small Parquet file beside its record. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bob.core.errors import StoreError
from bob.core.files import replacing
from bob.store.records import DamagedError
from bob.store.table import read_arrow

if TYPE_CHECKING:
    import pandas as pd

REPLICATES = "replicates"
_METADATA = b"bob.replicates"  # little-endian float64, one after another: exact, and 8 kB for a thousand


def write_outcomes(path: Path, outcomes: Mapping[str, np.ndarray], replicates: np.ndarray | None = None) -> None:
    """Write the columns durably.

    Args:
        path: The file.
        outcomes: Columns of equal length, an entry per test sample.
        replicates: (resamples,) the score on resampled test sets, kept in the file's metadata.

    Raises:
        StoreError: They differ in length, or one has values that no column type holds.
    """
    lengths = {name: len(values) for name, values in outcomes.items()}
    if len(set(lengths.values())) > 1:
        raise StoreError(f"the columns of the outcomes {path.name} differ in length: {lengths}.")
    try:
        table = pa.table({name: pa.array(_listed(values)) for name, values in outcomes.items()})
    except pa.ArrowException as error:
        raise StoreError(f"the outcomes {path.name} cannot be stored: {error}.") from error
    if replicates is not None:
        table = table.replace_schema_metadata({_METADATA: _packed(path, replicates)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _listed(values: np.ndarray) -> np.ndarray | list[object]:
    array = np.asarray(values)
    # Arrow takes no numpy text (U) and no more than one dimension.
    return array if array.ndim == 1 and array.dtype.kind in "biuf" else array.tolist()


def _packed(path: Path, replicates: np.ndarray) -> bytes:
    values = np.asarray(replicates)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise StoreError(
            f"the replicates of the outcomes {path.name} are {values.dtype} of shape {values.shape}: "
            "expected one row of numbers."
        )
    return values.astype("<f8").tobytes()


def read_outcomes(path: Path, columns: Collection[str] | None = None) -> pd.DataFrame:
    """Read the columns, or those named; ``attrs["replicates"]`` (float64) is there if they were written with them.

    Raises what ``bob.store.table.read_arrow`` raises.
    """
    table = read_arrow(path, columns)
    packed = (table.schema.metadata or {}).get(_METADATA)
    # What else the metadata says is for pandas to believe, and nobody wrote that here.
    frame = table.replace_schema_metadata(None).to_pandas(use_threads=False)
    if packed is not None:
        if len(packed) % 8:
            raise DamagedError(f"its replicates are {len(packed)} bytes, no whole number of float64 values")
        frame.attrs[REPLICATES] = np.frombuffer(packed, dtype="<f8").astype(np.float64)
    return frame
