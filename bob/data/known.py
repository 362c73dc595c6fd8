"""The data sets that have a name: their classes, their licence, and which pretraining has seen their test pictures."""

from __future__ import annotations

from dataclasses import dataclass

from bob.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """One named data set.

    Attributes:
        name: What a suite calls it.
        kind: The reader that opens it.
        classes: How many classes it has.
        license: The data's licence, or the terms its authors state.
        smoke: True if numbers on it say nothing about a backbone's worth.
        overlaps: Names of pretraining data that contain (part of) its test pictures.
    """

    name: str
    kind: str
    classes: int
    license: str
    smoke: bool = False
    overlaps: tuple[str, ...] = ()


# Photographs found on the web recur in web-scale pretraining data: Radford et al. 2021 (arXiv 2103.00020, section 5)
# detect test pictures of most such sets in CLIP's own data; LAION draws on the same web.
WEB = ("WIT-400M", "LAION-400M", "LAION-2B")

KNOWN: Registry[KnownDataset] = Registry("data set", list_command="bob list datasets")

for _known in (
    KnownDataset(name="scenes", kind="scenes", classes=10, license="Apache-2.0", smoke=True),
    KnownDataset(name="cifar10", kind="torchvision", classes=10, license="unknown"),
    KnownDataset(name="cifar100", kind="torchvision", classes=100, license="unknown"),
    KnownDataset(name="flowers102", kind="torchvision", classes=102, license="unknown", overlaps=WEB),
    KnownDataset(name="pets", kind="torchvision", classes=37, license="CC-BY-SA-4.0", overlaps=WEB),
    KnownDataset(name="dtd", kind="torchvision", classes=47, license="research only", overlaps=WEB),
    KnownDataset(name="eurosat", kind="torchvision", classes=10, license="MIT"),
    KnownDataset(name="aircraft", kind="torchvision", classes=100, license="research only", overlaps=WEB),
    KnownDataset(name="food101", kind="torchvision", classes=101, license="unknown", overlaps=WEB),
    # Visual Genome is made of the 108,249 pictures that COCO and YFCC-100M share (Krishna et al. 2016,
    # arXiv 1602.07332, section 4.1). COCO's licence is that of its annotations; its
    # pictures, and VOC's, are under Flickr's terms.
    KnownDataset(name="coco", kind="coco", classes=80, license="CC-BY-4.0", overlaps=(*WEB, "YFCC-100M")),
    KnownDataset(name="voc", kind="voc", classes=20, license="Flickr terms", overlaps=WEB),
    KnownDataset(name="ade20k", kind="ade20k", classes=150, license="research only"),
    KnownDataset(name="cityscapes", kind="cityscapes", classes=19, license="research only"),
    KnownDataset(name="fashion_mnist", kind="idx", classes=10, license="MIT"),
):
    KNOWN.add(_known.name, _known)
