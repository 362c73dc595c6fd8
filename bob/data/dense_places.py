"""Where the well-known dense data sets lie, and how to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bob.core.errors import DataMissingError
from bob.data.downloads import find, places


@dataclass(frozen=True, kw_only=True)
class Place:
    """One data set.

    Attributes:
        folders: The names under which it is looked for.
        layout: What the folder must hold.
        source: Where it comes from.
    """

    folders: tuple[str, ...]
    layout: str
    source: str


PLACES = {
    "coco": Place(
        folders=("coco", "COCO", "coco2017", "mscoco"),
        layout="annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/, val2017/",
        source="Download train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org (20 GB)",
    ),
    "voc": Place(
        folders=("VOCdevkit/VOC2012", "VOC2012", "voc/VOCdevkit/VOC2012", "voc/VOC2012", "voc"),
        layout="JPEGImages/, Annotations/, ImageSets/, SegmentationClass/",
        source="'bob fetch SUITE' downloads VOCtrainval_11-May-2012.tar (2 GB), or unpack it yourself",
    ),
    "open_images": Place(
        folders=("open_images", "open-images", "openimages", "OpenImages", "open-images-v7", "open-images-v6"),
        layout="SPLIT-annotations-bbox.csv, class-descriptions-boxable.csv, SPLIT/*.jpg",
        source="Download the CSV files and the pictures that you need as storage.googleapis.com/openimages/web says",
    ),
    "ade20k": Place(
        folders=("ADEChallengeData2016", "ade20k", "ADE20K", "ade20k/ADEChallengeData2016", "ade/ADEChallengeData2016"),
        layout="images/training/, images/validation/, annotations/training/, annotations/validation/",
        source="Download ADEChallengeData2016.zip (1 GB) from sceneparsing.csail.mit.edu",
    ),
    "cityscapes": Place(
        folders=("cityscapes", "Cityscapes", "cityscape"),
        layout="leftImg8bit/train/, leftImg8bit/val/, gtFine/train/, gtFine/val/",
        source="Register at cityscapes-dataset.com, download leftImg8bit_trainvaltest.zip (11 GB) and "
        "gtFine_trainvaltest.zip",
    ),
}


def known_or_folder(kind: str, target: str, *, cache_dir: Path, data_dir: Path | None) -> Path:
    """Return the folder of a known data set (the target is the reader's own name) or the folder that is named.

    Raises:
        DataMissingError: It is not here; the error says what is expected and where to get it.
    """
    if target == kind:
        found = find(PLACES[kind].folders, cache_dir=cache_dir, data_dir=data_dir)
        if found is None:
            raise missing_dense(kind, cache_dir=cache_dir, data_dir=data_dir)
        return found.resolve()
    root = Path(target).expanduser().resolve()
    if not root.is_dir():
        raise DataMissingError(
            f"folder {target!r} is not there; one with {PLACES[kind].layout} is expected.",
            hint=f"Look for it: ls '{root.parent}'",
        )
    return root


def missing_dense(kind: str, *, cache_dir: Path, data_dir: Path | None) -> DataMissingError:
    """Build the error for a known data set that is not on this machine."""
    place = PLACES[kind]
    looked = " and ".join(str(folder / place.folders[0]) for folder in places(cache_dir, data_dir))
    return DataMissingError(
        f"data set {kind!r} is not on this machine; looked for {looked}, with {place.layout} in it.",
        hint=f"{place.source}, and put it there; or name the folder that holds it: {kind}:FOLDER.",
    )
