"""How long a folder of 200,000 pictures takes to plan, as a whole process: with an empty cache, and again.

Run: ``python -m benchmarks large_folder [--pictures N] [--folder DIR]``. The pictures are 2,000 small JPEG files, each
copied with other bytes at its end, in 100 classes. Targets: 10 s cold, 1 s warm. "Cold" means an empty cache of BoB's;
the files were just written, so that the system has them in memory.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

BASES, CLASSES = 2000, 100
SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}


def _bases() -> list[bytes]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(BASES):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48)).save(stream, format="JPEG")
        found.append(stream.getvalue())
    return found


def make_folder(root: Path, pictures: int) -> None:
    """Write the folder; of one that is there already nothing is written."""
    if root.is_dir():
        return
    bases = _bases()
    for split, share in SPLITS.items():
        for name in range(CLASSES):
            folder = root / split / f"class_{name:03d}"
            folder.mkdir(parents=True)
            for index in range(round(pictures * share / CLASSES)):
                content = bases[(name * 31 + index) % BASES] + f"{split} {name} {index}".encode()
                (folder / f"{index:05d}.jpg").write_bytes(content)


def _wall_s(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the time of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the pictures are written, and kept for the next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary) / "pictures"
        make_folder(root, options.pictures)
        time.sleep(3)  # files written just now are not taken from the cache, as they might change again
        folders = ["--results", f"{temporary}/results", "--cache", f"{temporary}/cache"]
        plan = ["plan", "--backbone", "resnet18.random", "--data", str(root), *folders]
        commands = {"bob plan, cold": plan, "bob plan, warm": plan, "bob data, warm": ["data", str(root), *folders]}
        for name, arguments in commands.items():
            print(f"{name:16} {_wall_s([sys.executable, '-m', 'bob', *arguments]):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
