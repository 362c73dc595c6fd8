"""Append latency of the store, and eight writers of 250 rows each beside a reader.

Run ``python -m benchmarks.store_append [FOLDER]``; the folder decides which file system is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bob.jobs.row import COLUMNS
from bob.store import ResultStore

WRITERS, ROWS = 8, 250
_SAMPLE = {"string": "a text of usual length", "float64": 0.123456789, "int64": 12345, "bool": True}


def full_row(writer: int, index: int) -> dict[str, object]:
    """Return a row with a value in every column."""
    row: dict[str, object] = {column.name: _SAMPLE[column.dtype] for column in COLUMNS}
    return {**row, "job_id": f"{writer:02x}{index:014x}", "cell": f"{writer}-{index}", "status": "ok"}


def append_rows(folder: str, writer: int, rows: int) -> list[float]:
    """Append rows and return the seconds each took."""
    store = ResultStore(folder)
    taken = []
    for index in range(rows):
        start = time.perf_counter()
        store.append(full_row(writer, index))
        taken.append(time.perf_counter() - start)
    return taken


def measure(folder: Path) -> dict[str, float]:
    """Return the figures: one writer alone, then all of them while this process loads in a loop."""
    alone = append_rows(str(folder / "alone"), 0, ROWS)
    together = folder / "together"
    together.mkdir()
    loads: list[float] = []
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(WRITERS) as pool:
        running = pool.starmap_async(append_rows, [(str(together), writer, ROWS) for writer in range(WRITERS)])
        while not running.ready():
            before = time.perf_counter()
            ResultStore(together).load()
            loads.append(time.perf_counter() - before)
        crowded = [seconds for taken in running.get() for seconds in taken]
    wall_s = time.perf_counter() - start
    return {
        "alone_ms_p50": 1e3 * float(np.median(alone)),
        "alone_ms_p95": 1e3 * float(np.quantile(alone, 0.95)),
        "crowded_ms_p50": 1e3 * float(np.median(crowded)),
        "crowded_ms_p95": 1e3 * float(np.quantile(crowded, 0.95)),
        "rows": float(len(ResultStore(together).load())),
        "loads_meanwhile": float(len(loads)),
        "load_ms_p50": 1e3 * float(np.median(loads)),
        "wall_s": wall_s,
    }


def main() -> None:
    """Measure in a temporary folder and print the figures as JSON."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        print(json.dumps({name: round(value, 3) for name, value in measure(Path(folder)).items()}, indent=2))


if __name__ == "__main__":
    main()
