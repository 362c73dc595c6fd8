"""Where downloaded data sets lie, and how one comes there whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bob.core.errors import BobError, DataMissingError
from bob.core.files import temporary_name
from bob.core.lease import holding
from bob.core.text import without_secrets

log = logging.getLogger(__name__)


def places(cache_dir: Path, data_dir: Path | None) -> list[Path]:
    """Return the folders in which downloaded data are looked for; new ones go into the first."""
    return [*([data_dir] if data_dir is not None else []), cache_dir / "downloads"]


def find(names: tuple[str, ...], *, cache_dir: Path, data_dir: Path | None) -> Path | None:
    """Return the first folder of one of these names (with slashes) in the places, or None."""
    for place in places(cache_dir, data_dir):
        for name in names:
            if (place / name).is_dir():
                return place / name
    return None


def missing(name: str, looked_for: tuple[str, ...], *, cache_dir: Path, data_dir: Path | None) -> DataMissingError:
    """Build the error for a known data set that is not on this machine."""
    looked = " and ".join(str(place / looked_for[0]) for place in places(cache_dir, data_dir))
    return DataMissingError(
        f"data set {name!r} is not on this machine; looked for {looked}.",
        hint="Fetch it where there is a network: 'bob fetch SUITE'; or name the folder that holds it.",
    )


@contextlib.contextmanager
def _guarded_archives() -> Iterator[None]:
    """Have tar archives unpacked below their folder only: no ``..``, no absolute name, no link that leads out.

    Newer torchvisions ask for that themselves; zip archives are always unpacked so.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DataMissingError(
            f"Python {platform.python_version()} unpacks archives without looking where their files go.",
            hint="Use Python 3.10.12, 3.11.4 or later.",
        )
    before = tarfile.TarFile.__dict__.get("extraction_filter")
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def bring(name: str, folder: str, download: Callable[[Path], None], *, cache_dir: Path, data_dir: Path | None) -> None:
    """Call ``download(place)`` on an empty place and move the ``folder`` it makes there to where data sets lie.

    One process does it, under a lease; a second one waits and finds the data there. A download that is cut off
    leaves nothing that could be taken for the data set.

    Raises:
        DataMissingError: The download failed, with the reason.
    """
    final = places(cache_dir, data_dir)[0] / folder
    with holding(cache_dir / "leases" / f"download-{name.replace('/', '--')}.lease"):
        if final.is_dir():
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        place = temporary_name(final)
        log.info("Downloading the data set %s to %s.", name, final)
        try:
            with _guarded_archives():
                download(place)
            (place / folder).rename(final)
        except BobError:
            raise
        except Exception as error:  # what a client raises differs by client and version
            reason = without_secrets(str(error)).strip()[:300]
            raise DataMissingError(
                f"data set {name!r} could not be downloaded: {type(error).__name__}: {reason}",
                hint="Fetch it where there is a network ('bob fetch SUITE'), then copy its folder to "
                f"{final} on this machine.",
            ) from error
        finally:
            shutil.rmtree(place, ignore_errors=True)
