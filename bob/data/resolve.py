"""From the text in a suite or on a command line to a data set on this machine. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bob.core.errors import ConfigError, DataError, DataMissingError, unknown_name
from bob.core.text import printable
from bob.data.copies import judge_copies
from bob.data.dataset import DatasetSpec
from bob.data.equal_files import opens_lightly
from bob.data.fingerprint import following_links
from bob.data.folder_splits import class_folders
from bob.data.imagenet import are_wnids
from bob.data.known import KNOWN
from bob.data.layouts import FILE_KINDS, PICTURES_ALONE, dense_layout, file_layout
from bob.data.picture_bits import bits_of, with_bits
from bob.data.pictures import POLICIES
from bob.data.readers import READERS
from bob.data.stored import FOLLOW_LINKS, open_stored

# What may stand before the colon: the reader, and what it is told besides the target.
PREFIXES: dict[str, tuple[str, dict[str, Any]]] = {
    "folder": ("imagefolder", {"layout": "divide"}),
    "imagenet": ("imagefolder", {"layout": "test_only"}),
    "zip": ("zip", {"layout": "divide"}),
    "webdataset": ("webdataset", {"layout": "divide"}),
    "hf": ("huggingface", {}),
}
SEVERITIES = ("1", "2", "3", "4", "5")  # folders of ImageNet-C, each below its corruption's
NOT_FOLDERS = ("scenes", "torchvision", "huggingface")  # readers whose target is a name
CLASS_FOLDERS = ("imagefolder", "zip", "webdataset")  # readers of class folders, which suspect what looks otherwise
LIST_HINT = "'bob list datasets' shows what there is; a folder is given by its path."


def resolve_dataset(
    text: str,
    *,
    cache_dir: Path,
    data_dir: Path | None = None,
    policy: str = "skip",
    labelled: bool = True,
    copies: str = "skip",
    follow_links: bool = False,
    picture_bits: int | None = None,
) -> DatasetSpec:
    """Find a data set on this machine and describe it: classes, sizes, fingerprint.

    Of pictures some headers are looked at, for 16-bit ones, and masks are opened for their labels, once per content.

    Copies that must not be where they are, are left out (see ``bob.data.copies``); of pictures without labels none is.

    Args:
        text: A known name (``scenes``, ``cifar10``, ...); the path of a folder, or a folder's name below
            ``data_dir``; or ``READER:TARGET`` with the readers ``folder``, ``imagenet`` (class folders named by
            WordNet id; without splits it is all test), ``hf``, those of ``READERS`` or a plug-in's; docs/data.md says
            what each reads.
        cache_dir: Where descriptions and fingerprints are kept.
        data_dir: Where downloaded data sets lie; default below ``cache_dir``.
        policy: What happens to bad pictures: "skip" leaves them out with a warning, "error" raises.
        labelled: Whether its labels are looked at; a folder of pictures alone need not hold classes.
        copies: What becomes of copies across splits and classes: "skip" leaves them out, "keep" does not, "error"
            raises.
        follow_links: Whether links may lead out of a folder.
        picture_bits: How many bits the grey levels of 16-bit pictures have; None to look at some of them.

    Raises:
        UnknownNameError: The text is neither a known name nor a folder.
        DataMissingError: The data set is known but not on this machine.
        DataError: It is here, but not as its reader expects.
    """
    if policy not in POLICIES:
        raise ConfigError(f"policy {policy!r} for bad pictures is not one of {', '.join(POLICIES)}.")
    if not text.strip():
        raise ConfigError("the name of a data set is empty.", hint=LIST_HINT)
    with following_links(follow_links):
        spec = _resolved(text, cache_dir, data_dir, labelled)
    options = {**dict(spec.options), "policy": policy, **({FOLLOW_LINKS: True} if follow_links else {})}
    spec = _with_bits(
        replace(spec, name=_name_of(spec), options=tuple(sorted(options.items()))), picture_bits, cache_dir
    )
    return judge_copies(spec, policy=copies, cache_dir=cache_dir) if labelled else spec


def _resolved(text: str, cache_dir: Path, data_dir: Path | None, labelled: bool) -> DatasetSpec:
    """Return a data set as its reader describes it."""
    kind, target, extra = _parse(text, data_dir, labelled)
    if kind in PICTURES_ALONE and not labelled and not text.startswith(f"{kind}:") and Path(target).is_dir():
        kind = "imagefolder"
    if kind in CLASS_FOLDERS and not labelled:
        extra = {**extra, "suspected": False}
    return READERS.get(kind).resolve(target, cache_dir=cache_dir, data_dir=data_dir, **extra)


def _with_bits(spec: DatasetSpec, said: int | None, cache_dir: Path) -> DatasetSpec:
    """Return a data set that says how many bits its grey levels use, of the readers that open files without torch."""
    if not opens_lightly(spec):
        return with_bits(spec, said)
    try:
        bits = bits_of(spec, lambda: open_stored(spec, cache_dir=cache_dir), cache_dir=cache_dir)
    except DataError:  # the job that opens the data meets the same error, and says it
        return spec
    return with_bits(spec, bits if said is None or bits is None else said)


def fetch_dataset(text: str, *, cache_dir: Path, data_dir: Path | None = None) -> DatasetSpec:
    """Download a data set if it is not on this machine, under a lease, and describe it.

    Raises:
        DataMissingError: It cannot be had, with the reason; and as ``resolve_dataset``.
    """
    kind, target, _ = _parse(text, data_dir)
    READERS.get(kind).fetch(target, cache_dir=cache_dir, data_dir=data_dir)
    return resolve_dataset(text, cache_dir=cache_dir, data_dir=data_dir)


def is_path(text: str) -> bool:
    """Tell whether a text names a data set by a folder's path, behind a prefix or not."""
    prefix, colon, target = text.partition(":")
    if not colon or (prefix not in PREFIXES and prefix not in READERS):
        return "/" in text or text.startswith((".", "~"))
    kind = PREFIXES[prefix][0] if prefix in PREFIXES else prefix
    # A name on the hub has a slash of its own.
    return target.startswith(("/", ".", "~")) or ("/" in target and kind not in NOT_FOLDERS)


def known_datasets() -> list[dict[str, Any]]:
    """Return name, kind, classes, license, smoke and overlaps of every data set that has a name."""
    return [vars(KNOWN.get(name)) for name in KNOWN.names()]


def _parse(text: str, data_dir: Path | None, labelled: bool = True) -> tuple[str, str, dict[str, Any]]:
    """Return the reader's kind, the target it is asked for, and what else it is told."""
    if text in KNOWN:
        return KNOWN.get(text).kind, text, {}
    prefix, colon, target = text.partition(":")
    if colon and prefix in PREFIXES:
        kind, extra = PREFIXES[prefix]
        return kind, _placed(kind, target, data_dir), extra
    if colon and prefix in READERS:
        return prefix, _placed(prefix, target, data_dir), {}
    for place in [Path(text).expanduser()] + ([data_dir / text] if data_dir is not None else []):
        if place.is_dir():
            return _kind_of(place, labelled), str(place), {}
        if place.is_file():
            return _kind_of_file(place), str(place), {}
    if Path(text.partition("?")[0]).expanduser().exists():
        raise ConfigError(
            f"data set {text!r}: options go with a table alone.", hint=f"If it is one: --data 'table:{text}'"
        )
    if "/" in text or text.startswith((".", "~")):
        raise DataMissingError(
            f"data set {text!r}: there is no such folder.", hint=f"Look for it: ls '{Path(text).parent}'"
        )
    if text in READERS:
        return text, text, {}
    raise unknown_name("data set", text, [*KNOWN.names(), *READERS.names()], hint=LIST_HINT)


def _name_of(spec: DatasetSpec) -> str:
    """Return a data set's name; one severity of ImageNet-C (``fog/3``) is called ``fog-3``, not ``3``."""
    folder = Path(spec.root or "")
    if spec.kind == "imagefolder" and spec.name in SEVERITIES and are_wnids(spec.classes):
        return printable(f"{folder.parent.name}-{spec.name}")
    return printable(spec.name)


def _placed(kind: str, target: str, data_dir: Path | None) -> str:
    """Return a reader's target; a folder that is not here but below the data directory is meant there."""
    if kind in NOT_FOLDERS or data_dir is None or Path(target).expanduser().exists():
        return target
    below = data_dir / target
    return str(below) if target and below.exists() else target


def _kind_of(folder: Path, labelled: bool) -> str:
    """Tell how a folder stores its pictures by the files that only one layout has."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return "huggingface"
    if any(folder.glob("*-idx3-ubyte*")):
        return "idx"
    return dense_layout(folder, by_content=labelled or not class_folders(folder)) or "imagefolder"


def _kind_of_file(path: Path) -> str:
    """Tell which reader a single file is for."""
    kind = file_layout(path)
    if kind is None:
        known = f"a folder, or a file {', '.join(FILE_KINDS)}" if FILE_KINDS else "a folder"
        raise DataError(f"data set {str(path)!r} is a file; {known} is expected.", hint=f"ls '{path.parent}'")
    return kind
