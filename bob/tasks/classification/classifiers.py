"""A job's classifier of its own classes, asked about pictures of any set: its own, shifted, corrupted, OOD."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from bob.core.errors import ConfigError
from bob.core.registry import load_reference
from bob.jobs.job import Need, OtherData
from bob.tasks.setup import Setup


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a classifier says about the pictures of one set.

    Attributes:
        logits: (draws, n, c) float64, up to a constant per picture: of one model, or of each draw of `fewshot`.
        labels: (n,) int64 in the set's own classes; -1 where it has none.
        ids: The pictures' ids.
        classes: Of ``labels``.
        features: (n, d) float32, what the linear head sees; None where there is none.
        label_sets: For each picture all classes that are right, where there are several; else None.
    """

    logits: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    features: np.ndarray | None = None
    label_sets: tuple[tuple[int, ...], ...] | None = None


class SourceClassifier(ABC):
    """A classifier trained on the job's own data set.

    Attributes:
        setup: The job's circumstances.
        classes: The class names, in the order of the logits.
    """

    setup: Setup
    classes: tuple[str, ...]

    @abstractmethod
    def own(self, split: str) -> Answers:
        """Ask about "train", "val" or "test" of the job's data set."""

    def train_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what the linear head sees of train, float32 (n, d), and its labels, int64 (n,).

        Raises:
            ConfigError: This classifier has no linear head.
        """
        train = self.own("train")
        if train.features is None:
            raise self._no_head()
        return train.features, train.labels

    @abstractmethod
    def other(self, other: OtherData) -> Answers:
        """Ask about the test pictures of another data set."""

    @abstractmethod
    def corrupted(self, names: Sequence[str], severities: Sequence[int]) -> Iterator[tuple[str, int, Answers]]:
        """Yield name, severity and the answers for the job's own test pictures under each corruption."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what a result says of how it was made: ``notes``, and ``hparams``, ``search``, ``cost`` if any."""

    def head(self) -> tuple[Tensor, Tensor]:
        """Return (weight (d, c), bias (c,)) of the linear head on ``Answers.features``.

        Raises:
            ConfigError: This classifier has no linear head.
        """
        raise self._no_head()

    def _no_head(self) -> ConfigError:
        return ConfigError(
            f"protocol {self.setup.job.protocol!r} has no linear head.", hint="Use protocol linear or finetune."
        )

    def module(self) -> nn.Module:
        """Return the whole classifier as a module: normalised images (n, 3, S, S) to logits (n, c).

        Raises:
            ConfigError: This classifier is not differentiable.
        """
        raise ConfigError(
            f"protocol {self.setup.job.protocol!r} is no differentiable model.", hint="Use protocol linear or finetune."
        )


# What trains and writes the classifier of each protocol that other tasks may share.
WRITERS = {
    "linear": "bob.tasks.classification.feature_classifiers:write_linear",
    "finetune": "bob.tasks.classification.picture_classifiers:write_finetuned",
}


def write_classifier(setup: Setup, need: Need, folder: Path) -> None:
    """Train what ``need`` asks for and write it to ``folder``: the maker of the artifact."""
    load_reference(WRITERS[setup.job.protocol])(setup, need, folder)
