"""The outcome of every test sample of an attempt, one small Parquet file beside its record. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bob.errors import StoreError
from bob.files import replacing
from bob.store.table import read_arrow

if TYPE_CHECKING:
    import pandas as pd


def write_outcomes(path: Path, outcomes: Mapping[str, np.ndarray]) -> None:
    """Write the columns durably.

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
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _listed(values: np.ndarray) -> np.ndarray | list[object]:
    array = np.asarray(values)
    # Arrow takes no numpy text (U) and no more than one dimension.
    return array if array.ndim == 1 and array.dtype.kind in "biuf" else array.tolist()


def read_outcomes(path: Path) -> pd.DataFrame:
    """Read the columns; raises what ``bob.store.table.read_arrow`` raises."""
    return read_arrow(path).to_pandas()
