"""Tar files: WebDataset's shards (``train-000000.tar``) of samples, or class folders in one or one for each split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bob.core.errors import DataError
from bob.core.files import digest
from bob.core.text import printable
from bob.data.archive_classes import class_fingerprint, read_classes, samples_of, spec_of
from bob.data.archive_layout import TAR
from bob.data.archive_members import MemberOpener, Members
from bob.data.archive_sets import ArchiveSet, archive_set, require_all_or_none, stem_of
from bob.data.dataset import DatasetSpec
from bob.data.judge import classes_present
from bob.data.kept import kept
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.splits import SPLIT_VERSION, UNDIVIDED
from bob.data.tar_members import find_tar_members
from bob.data.webdataset_labels import LEFT_OUT, NAME_FILES, judge_labels, listed_names, shown
from bob.data.webdataset_samples import Label, are_samples, read_shard

log = logging.getLogger(__name__)

KIND = "webdataset"
SAMPLES_VERSION = 1


@dataclass(frozen=True)
class _Opened:
    """A data set's archives, the digest of their content, and their members."""

    found: ArchiveSet
    content: str
    members: Members

    @property
    def are_samples(self) -> bool:
        """Whether their files are samples with a label each, not folders of classes."""
        return are_samples(self.members.names())


class WebdatasetReader:
    """Reads tar files in place. Option ``layout``, for class folders alone: "auto", or "divide" as for ``folder:``."""

    def resolve(
        self, target: str, *, cache_dir: Path, data_dir: Path | None, layout: str = "auto", suspected: bool = True
    ) -> DatasetSpec:
        """Describe a tar file, or a folder of them; the fingerprint covers every byte."""
        opened = _open(target, cache_dir)
        if opened.are_samples:
            return _spec_of_samples(opened, cache_dir)
        read = read_classes(opened.found, opened.members, kind=KIND, layout=layout, suspected=suspected)
        return spec_of(opened.found, read, kind=KIND, layout=layout, content=opened.content)

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a file is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        opened = _open(str(spec.root), cache_dir)
        if opened.are_samples:
            require_same(spec, _fingerprint(opened))
            return _samples(opened, cache_dir)
        layout = str(dict(spec.options).get("layout", "auto"))
        read = read_classes(opened.found, opened.members, kind=KIND, layout=layout, suspected=False)
        require_same(spec, class_fingerprint(KIND, read, opened.content))
        return samples_of(read, opened.members, spec.classes)


READER = WebdatasetReader()


def _open(target: str, cache_dir: Path) -> _Opened:
    found = archive_set(target, TAR, beside=NAME_FILES)
    content = found.fingerprint(cache_dir)
    return _Opened(found, content, found.members(content, find_tar_members, kind=KIND, cache_dir=cache_dir))


def _fingerprint(opened: _Opened) -> str:
    return digest([KIND, "samples", SPLIT_VERSION, opened.content], length=64)


def _spec_of_samples(opened: _Opened, cache_dir: Path) -> DatasetSpec:
    said = _described(opened, cache_dir)
    for warning in said["warnings"]:
        log.warning("%s: %s", opened.found.target, warning)
    target = opened.found.target
    listing = {
        name: (_ids(opened, part["rows"]), np.array(part["labels"], dtype=np.int64))
        for name, part in said["stored"].items()
    }
    return DatasetSpec(
        name=printable(stem_of(target.name) if opened.found.is_file else target.name),
        kind=KIND,
        root=str(target),
        fingerprint=_fingerprint(opened),
        classes=tuple(said["classes"]),
        sizes=split_sizes(listing),
        classes_present=classes_present({name: set(labels.tolist()) for name, (_, labels) in listing.items()}),
    )


def _samples(opened: _Opened, cache_dir: Path) -> dict[str, Samples]:
    stored: dict[str, Samples] = {}
    for name, part in _described(opened, cache_dir)["stored"].items():
        ids, rows = _ids(opened, part["rows"]), np.array(part["rows"], dtype=np.int64)
        labels = np.array(part["labels"], dtype=np.int64)
        stored[name] = Samples(ids=ids, labels=labels, read=MemberOpener(opened.members, rows, ids))
    return stored


def _ids(opened: _Opened, rows: list[int]) -> tuple[str, ...]:
    names, archives = opened.members.names(), opened.members.column("archive")
    return tuple(printable(f"{opened.found.archives[archives[row]]}/{names[row]}") for row in rows)


def _described(opened: _Opened, cache_dir: Path) -> dict[str, Any]:
    """Return classes, rows and labels of the stored splits, and what to warn of; kept by content."""
    key = [KIND, SAMPLES_VERSION, opened.content, opened.found.is_file]
    return kept(cache_dir, key, lambda: _describe(opened))


def _describe(opened: _Opened) -> dict[str, Any]:
    found, names, archives = opened.found, opened.members.names(), opened.members.column("archive")
    splits = {} if found.is_file else found.splits()
    require_all_or_none(found, splits)
    rows: dict[str, list[int]] = {}
    labels: dict[str, list[Label]] = {}
    alone = 0
    for number, path in enumerate(found.archives):
        shard = read_shard(opened.members, names, np.flatnonzero(archives == number).tolist(), str(found.root / path))
        split = splits.get(path, UNDIVIDED)
        rows.setdefault(split, []).extend(shard.rows)
        labels.setdefault(split, []).extend(shard.labels)
        alone += shard.alone
    rows = {split: part for split, part in rows.items() if part}
    if not rows:
        raise DataError(f"{found.target} holds no picture with a label of the same key.", hint=f"ls '{found.root}'")
    classes, numbers = judge_labels(
        found.target, {split: labels[split] for split in rows}, listed_names(found.root, found.beside)
    )
    warnings = [f"{alone} samples have a label and no picture, and are left out."] if alone else []
    stored = {}
    for split, part in numbers.items():
        pairs = [(row, label) for row, label in zip(rows[split], part, strict=True) if label != LEFT_OUT]
        stored[split] = {"rows": [row for row, _ in pairs], "labels": [label for _, label in pairs]}
        lacking = [names[row] for row, label in zip(rows[split], part, strict=True) if label == LEFT_OUT]
        if lacking:
            warnings.append(
                f"{len(lacking)} samples of split {split} have no class and are left out: {shown(lacking)}."
            )
    return {"classes": classes, "stored": stored, "warnings": warnings}
