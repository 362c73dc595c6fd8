"""The embedded data set: rendered on demand, cached as PNG files that anybody may delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import bob.data.scenes as scenes
from bob.data.decode import BROKEN_PICTURE
from bob.data.known import KNOWN
from bob.data.readers.base import Samples
from bob.data.spec import SPLITS, DatasetSpec
from bob.errors import ConfigError, did_you_mean
from bob.files import digest, replacing

DEFAULT_SIZES = {"train": 400, "val": 160, "test": 400}
MAX_SIZE = 100_000


@dataclass(frozen=True)
class SceneOpener:
    """Renders a scene, or reads it from the cache if it was rendered before."""

    folder: Path
    split: str
    domain: str

    def __call__(self, index: int) -> Image.Image:
        """Return scene ``index`` as RGB, ``scenes.SIZE`` pixels a side."""
        path = self.folder / f"{index:06d}.png"
        try:
            with Image.open(path) as stored:
                stored.load()
                return stored
        except BROKEN_PICTURE:  # missing, or damaged: PNG's checksums tell
            image = Image.fromarray(scenes.render(self.split, index, domain=self.domain).image)
            with replacing(path) as temporary:
                image.save(temporary, format="PNG", compress_level=1)
            return image


class ScenesReader:
    """Reads ``scenes`` and ``scenes:train=100,domain=fog``: sizes per split, and one of ``scenes.DOMAINS``."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the set without rendering; ConfigError for an unknown option."""
        sizes, domain = _options(target)
        options = {**{split: str(count) for split, count in sizes.items()}, "domain": domain}
        return DatasetSpec(
            name="scenes" if domain == "clean" else f"scenes-{domain}",
            kind="scenes",
            root=None,
            options=tuple(sorted(options.items())),
            fingerprint=digest([scenes.VERSION, domain, sorted(sizes.items())], length=64),
            classes=scenes.CLASSES,
            sizes=tuple(sizes.items()),
            license=KNOWN.get("scenes").license,
            smoke=True,
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: the renderer is part of this package."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the three splits; scenes are rendered when they are first read."""
        domain = str(dict(spec.options)["domain"])
        stored = {}
        for split, count in spec.sizes:
            folder = cache_dir / scenes.VERSION / f"{domain}-{scenes.SIZE}" / split
            stored[split] = Samples(
                ids=tuple(f"{split}/{index:06d}" for index in range(count)),
                labels=np.array([scenes.label_of(split, index) for index in range(count)], dtype=np.int64),
                read=SceneOpener(folder, split, domain),
                trusted=True,
            )
        return stored


READER = ScenesReader()


def _options(target: str) -> tuple[dict[str, int], str]:
    sizes, domain = dict(DEFAULT_SIZES), "clean"
    for part in filter(None, target.removeprefix("scenes").split(",")):
        name, _, value = part.partition("=")
        if name == "domain" and value in scenes.DOMAINS:
            domain = value
        elif name in SPLITS and value.isdecimal() and 0 < int(value) <= MAX_SIZE:
            sizes[name] = int(value)
        else:
            near = did_you_mean(value, scenes.DOMAINS) if name == "domain" else did_you_mean(name, [*SPLITS, "domain"])
            raise ConfigError(
                f"scenes option {part!r}: train, val or test=1..{MAX_SIZE} or domain=NAME is expected.{near}",
                hint=f"Domains: {', '.join(scenes.DOMAINS)}.",
            )
    return sizes, domain
