"""Zip files of class folders: ``SPLIT/CLASS/*.jpg`` or ``CLASS/*.jpg`` in one, or one zip file for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bob.data.archive_classes import ArchiveClasses, class_fingerprint, read_classes, samples_of, spec_of
from bob.data.archive_layout import ZIP
from bob.data.archive_members import Members
from bob.data.archive_sets import ArchiveSet, archive_set
from bob.data.dataset import DatasetSpec
from bob.data.readers.base import Samples, require_same
from bob.data.zip_members import find_zip_members

KIND = "zip"


class ZipReader:
    """Reads class folders in zip files in place. Option ``layout``: "auto", or "divide" as for ``folder:``."""

    def resolve(
        self, target: str, *, cache_dir: Path, data_dir: Path | None, layout: str = "auto", suspected: bool = True
    ) -> DatasetSpec:
        """Describe a zip file, or a folder of them; the fingerprint covers every byte."""
        found = archive_set(target, ZIP)
        content, _, read = _read(found, layout, suspected, cache_dir)
        return spec_of(found, read, kind=KIND, layout=layout, content=content)

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a file is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        found = archive_set(str(spec.root), ZIP)
        layout = str(dict(spec.options).get("layout", "auto"))
        content, members, read = _read(found, layout, False, cache_dir)
        require_same(spec, class_fingerprint(KIND, read, content))
        return samples_of(read, members, spec.classes)


READER = ZipReader()


def _read(found: ArchiveSet, layout: str, suspected: bool, cache_dir: Path) -> tuple[str, Members, ArchiveClasses]:
    content = found.fingerprint(cache_dir)
    members = found.members(content, find_zip_members, kind=KIND, cache_dir=cache_dir)
    return content, members, read_classes(found, members, kind=KIND, layout=layout, suspected=suspected)
