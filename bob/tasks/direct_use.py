"""A backbone used directly, without a suite: its features of a data set, and the model itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bob.backbones import catalogue
from bob.backbones.backbone import InputConfig
from bob.backbones.loader import build_backbone
from bob.backbones.pyramid import build_pyramid
from bob.backbones.weights import fetch, locate
from bob.core.settings import Settings, use_cache_dir
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import features_need
from bob.probes.feature_files import FeatureSet, load_features
from bob.tasks.artifact_makers import make

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Features:
    """Pooled features of the pictures of a data set, all splits one after another.

    Attributes:
        features: float32 (n, width).
        labels: int64 (n,), places in ``classes``.
        ids: A stable name of each picture, n of them.
        split: "train", "val" or "test" of each picture, (n,).
        classes: Class names in label order.
    """

    features: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    split: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, split: str) -> Features:
        """Return those of one split alone."""
        places = np.flatnonzero(self.split == split)
        return Features(
            features=self.features[places],
            labels=self.labels[places],
            ids=tuple(self.ids[place] for place in places),
            split=self.split[places],
            classes=self.classes,
        )

    def frame(self) -> pd.DataFrame:
        """Return a table with a row per picture: id, split, label, class, and a column per feature."""
        import pandas as pd

        named = [self.classes[label] for label in self.labels]
        about = pd.DataFrame({"id": self.ids, "split": self.split, "label": self.labels, "class": named})
        values = pd.DataFrame(self.features, columns=[f"f{place}" for place in range(self.features.shape[1])])
        return pd.concat([about, values], axis=1)


def features_of(job: Job, context: Context) -> Features:
    """Return the features that a job on frozen features uses, computing what no earlier call or job has.

    The state of torch in this process (threads, deterministic algorithms) is afterwards as it was before.

    Raises:
        DataError: A split cannot be read.
        NumericalError: A feature is not finite.
    """
    with _torch_as_it_was():
        return _joined(load_features(make(features_need(job), job, context)))


def _joined(stored: FeatureSet) -> Features:
    splits = stored.splits
    return Features(
        features=np.concatenate([np.asarray(part.features) for part in splits.values()]),
        labels=np.concatenate([part.labels for part in splits.values()]),
        ids=tuple(name for part in splits.values() for name in part.ids),
        split=np.concatenate([np.full(len(part.ids), name) for name, part in splits.items()]),
        classes=stored.classes,
    )


@contextlib.contextmanager
def _torch_as_it_was() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, tuned = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = tuned


def built_model(
    name: str,
    settings: Settings,
    *,
    pyramid: bool,
    image_size: int | None,
    seed: int,
    download: bool,
    **options: Any,
) -> nn.Module:
    """Return a backbone with its weights on the CPU, in evaluation mode; see ``bob.load_backbone``."""
    use_cache_dir(settings.cache_dir)
    backbone = catalogue.find(name)
    path: Path | None = None
    if not backbone.is_control:
        find = fetch if download else locate
        path = find(backbone, weights_dirs=settings.weights_dirs, cache_dir=settings.cache_dir).path
    config = input_of(name, image_size, multiple=32 if pyramid else 1)
    if pyramid:
        canvas = (config.image_size, config.image_size)
        return build_pyramid(backbone, weights_path=path, canvas=canvas, seed=seed, **options)
    return build_backbone(backbone, weights_path=path, image_size=config.image_size, seed=seed, **options)


def input_of(name: str, image_size: int | None, *, multiple: int = 1) -> InputConfig:
    """Return how pictures are brought to a backbone.

    Args:
        name: The backbone's.
        image_size: Side in pixels, rounded to what the backbone takes; None for that of its pretraining.
        multiple: What the side must be a multiple of: 32 for a pyramid, whatever the patch size is.
    """
    backbone = catalogue.find(name)
    side = image_size or backbone.input.image_size
    if multiple > 1:
        return replace(backbone.input, image_size=max(1, round(side / multiple)) * multiple)
    return catalogue.resolve_input(backbone, resolution="fixed", image_size=side)
