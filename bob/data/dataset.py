"""What a data set is, as data: no pictures read, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What became of pictures that are there more than once, or that a set beside has in common with its source.

    Attributes:
        stored: The fingerprint of the data as they lie there, which their reader knows.
        sizes: As they were with all pictures.
        semantic_sizes: The same of pictures with a class per pixel.
        listed: Address of the list of pictures that are left out (see ``bob.data.left_out``); empty if none are.
        counts: Pictures left out as (annotation, split, count) triples: each annotation may have splits of its own.
        said: One line on what was found, for the plan; empty if nothing was.
        emptied: Splits that have no picture left; ``sizes`` does not have them any more.
        untrained: Classes that train had pictures of, and has none of any more.
    """

    stored: str
    sizes: tuple[tuple[str, int], ...]
    semantic_sizes: tuple[tuple[str, int], ...]
    listed: str = ""
    counts: tuple[tuple[str, str, int], ...] = ()
    said: str = ""
    emptied: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()

    def left_out(self, annotation: str, splits: tuple[str, ...] = SPLITS) -> int:
        """Return how many pictures of some splits with an annotation are left out."""
        return sum(count for name, split, count in self.counts if name == annotation and split in splits)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set that is on this machine, resolved.

    Attributes:
        name: The short name in rows and tables ("scenes", "clothing", "cifar10").
        kind: The reader that opens it ("scenes", "imagefolder", "torchvision", "huggingface", "idx").
        root: The folder it lies in; None for an embedded one.
        options: Reader options as sorted (name, value) pairs.
        fingerprint: A digest of the content: it changes when any picture, label or split does, not with the path.
        classes: Class names in label order.
        sizes: Pictures per split as (split, count) pairs.
        license: The data's licence, or "unknown".
        smoke: True if numbers on it say nothing about a backbone's worth.
        overlaps: Names of pretraining data that contain (part of) its test pictures.
        classes_present: Classes of which there is anything to learn; None where that is all of ``classes``.
        copies: What became of pictures that are there more than once; None where nobody looked.
        bits: How many bits the grey levels of 16-bit pictures use; None if no picture has 16, or nobody looked.
        read_as: The fingerprint that its reader knows, where ``fingerprint`` says ``bits`` too.
        semantic_sizes: Pictures per split with a class per pixel, where those are not the ones that ``sizes`` counts.
        annotations: What is known about each picture: "label" (one class), "boxes", "instances" (boxes with masks),
            "semantic" (a class per pixel), "label_sets" (every class that is right, one or more), "multilabel" (of each
            class whether it is there, any number of them), "retrieval" (the test pictures are a gallery, class 0, and
            queries, class 1; a truth says what each query should find), "federated" (beside boxes: which classes a
            picture is known to lack, as in LVIS); or a name of a plug-in's own, which its reader and its tasks share.
        contrasted: How many classes "multilabel" can learn and score in each split, as (split, count) pairs: some
            pictures are known to show them and others to lack them. Empty where nobody has counted.
    """

    name: str
    kind: str
    root: str | None
    options: tuple[tuple[str, str | int | float | bool], ...] = ()
    fingerprint: str
    classes: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    license: str = "unknown"
    smoke: bool = False
    overlaps: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ("label",)
    semantic_sizes: tuple[tuple[str, int], ...] = ()
    classes_present: int | None = None
    contrasted: tuple[tuple[str, int], ...] = ()
    copies: Copies | None = None
    bits: int | None = None
    read_as: str = ""

    @property
    def occurring(self) -> int:
        """How many classes there is anything of."""
        return len(self.classes) if self.classes_present is None else self.classes_present

    def counts(self, annotation: str) -> dict[str, int]:
        """Return the pictures per split that have an annotation."""
        return dict(self.semantic_sizes if annotation == "semantic" and self.semantic_sizes else self.sizes)

    def as_read(self) -> DatasetSpec:
        """Return the data set as its reader knows it."""
        whole = self.as_stored()
        return replace(whole, fingerprint=whole.read_as, read_as="", bits=None) if whole.read_as else whole

    def as_stored(self) -> DatasetSpec:
        """Return the data set with the copies that are left out."""
        if self.copies is None:
            return self
        sizes, semantic_sizes = self.copies.sizes, self.copies.semantic_sizes
        stored = self.copies.stored
        return replace(self, fingerprint=stored, sizes=sizes, semantic_sizes=semantic_sizes, copies=None)
