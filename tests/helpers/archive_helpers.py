"""Small zip and tar files for the tests of the data layer."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_helpers import picture


def jpeg(seed: int) -> bytes:
    """Return a random picture of 40 x 30 pixels as JPEG."""
    place = io.BytesIO()
    picture(seed).save(place, format="JPEG")
    return place.getvalue()


def class_files(counts: Mapping[str, int], *, seed: int = 0) -> dict[str, bytes]:
    """Return ``counts[FOLDER]`` pictures for each folder, by path."""
    return {
        f"{folder}/{index:03d}.jpg": jpeg(seed + 1000 * place + index)
        for place, (folder, count) in enumerate(counts.items())
        for index in range(count)
    }


def zip_file(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_file(path: Path, files: Mapping[str, bytes], *, mode: str = "w") -> Path:
    """Write a tar file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shard(path: Path, labels: list[Any], *, extension: str = "cls", seed: int = 0) -> Path:
    """Write a tar file of samples: ``00000.jpg`` with ``00000.cls``, or with ``00000.json`` of a value of its own."""
    files: dict[str, bytes] = {}
    for index, label in enumerate(labels):
        files[f"{index:05d}.jpg"] = jpeg(seed + index)
        if label is not None:
            files[f"{index:05d}.{extension}"] = (json.dumps(label) if extension == "json" else str(label)).encode()
    return tar_file(path, files)
