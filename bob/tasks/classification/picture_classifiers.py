"""The classifiers that look at the pictures themselves: fine-tuned, or the checkpoint's own head."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bob.backbones.loader import build_classifier
from bob.core.errors import ConfigError
from bob.core.files import write_text
from bob.data.imagenet import wnids
from bob.data.loading import Change
from bob.data.pictures import Pictures
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context
from bob.jobs.job import Job, Need, OtherData
from bob.jobs.needs import classifier_need
from bob.tasks.artifact_makers import make
from bob.tasks.classification.classification_finetune import train
from bob.tasks.classification.classification_spec import PretrainedHeadParams
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.fine_tuning import FineTuned, Trained, fine_tuned_model
from bob.tasks.setup import EVALUATION_BATCH, Setup
from bob.training.inference import Forward

TENSORS, FACTS = "classifier.safetensors", "classifier.json"


class PictureClassifier(SourceClassifier):
    """A classifier that needs a forward pass of its own over every set.

    Attributes:
        width: How many of the forward pass's outputs are features, after the logits; 0 for none.
    """

    width = 0
    batch_size = EVALUATION_BATCH

    def __init__(self, setup: Setup, classes: tuple[str, ...], model: nn.Module) -> None:
        self.setup = setup
        self.classes = classes
        self._model: Any = model

    def module(self) -> nn.Module:
        """Return the whole model."""
        return self._model

    def forwarded(self) -> nn.Module:
        """Return a module from images to logits, and features beside them: (n, c + width)."""
        return self.module()

    def own(self, split: str) -> Answers:
        """Ask about a split of the job's data set."""
        ((_, answers),) = self._ask(self.setup.pictures(split), {split: None})
        return answers

    def other(self, other: OtherData) -> Answers:
        """Ask about the test pictures of another data set."""
        ((_, answers),) = self._ask(self.setup.other_pictures(other), {other.name: None})
        return answers

    def corrupted(self, names: Sequence[str], severities: Sequence[int]) -> Iterator[tuple[str, int, Answers]]:
        """Yield the answers for each corruption of the job's test pictures."""
        test = self.setup.pictures("test")
        asked = self._ask(test, self.setup.corruptions(test, names, severities))
        pairs = [(name, severity) for name in names for severity in severities]
        for (name, severity), (_, answers) in zip(pairs, asked, strict=True):
            yield name, severity, answers

    def _ask(self, pictures: Pictures, changes: Mapping[str, Change | None]) -> Iterator[tuple[str, Answers]]:
        setup = self.setup
        forward = Forward(self.forwarded(), device=setup.device, precision=setup.precision)
        real = [change for change in changes.values() if change is not None]
        with setup.batches(pictures, batch_size=self.batch_size, changes=real) as batches:
            for name, change in changes.items():
                number = None if change is None else real.index(change)
                parts = setup.outputs(forward, batches, phase=f"scoring {name}", change=number)
                yield name, self._answers(np.concatenate([outputs for _, outputs in parts]), pictures)

    def _answers(self, outputs: np.ndarray, pictures: Pictures) -> Answers:
        count = outputs.shape[1] - self.width
        return Answers(
            logits=outputs[None, :, :count].astype(np.float64),
            labels=pictures.labels,
            ids=pictures.ids,
            classes=pictures.classes,
            features=outputs[:, count:] if self.width else None,
            label_sets=pictures.label_sets,
        )


class FinetunedClassifier(PictureClassifier):
    """All weights trained on the job's own data set, here or by another job.

    Attributes:
        trained: What training gave, and what it cost.
    """

    def __init__(self, setup: Setup, classes: tuple[str, ...], trained: Trained) -> None:
        model = fine_tuned_model(setup, classes=len(classes))
        model.load_state_dict(trained.weights)
        super().__init__(setup, classes, model)
        self.trained = trained
        self.width = model.backbone.width

    def forwarded(self) -> nn.Module:
        """Return a module to logits and pooled features."""
        return _WithFeatures(self._model)

    def head(self) -> tuple[Tensor, Tensor]:
        """Return the head's weight and bias."""
        return self._model.head.weight.detach().T, self._model.head.bias.detach()

    def facts(self) -> dict[str, Any]:
        """Return what training chose, tried and cost."""
        trained = self.trained
        return {name: getattr(trained, name) for name in ("hparams", "search", "cost", "notes")}


def train_finetuned(job: Job, context: Context) -> FinetunedClassifier:
    """Train all weights for a job, or load what is an artifact that jobs share."""
    setup = Setup.of(job, context)
    if "classifier" not in job.uses:
        trained = train(setup, checkpoints=job.id)
        return FinetunedClassifier(setup, setup.pictures("train").classes, trained)
    need = classifier_need(job)
    was_there = ArtifactStore(context.cache_dir).has(need)
    trained, classes = _loaded(make(need, job, context))
    # What was made just now is in this job's own time already.
    return FinetunedClassifier(setup, classes, trained if was_there else replace(trained, shared_s=0.0))


class _WithFeatures(nn.Module):
    def __init__(self, model: FineTuned) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, c + width): logits, then what the head saw."""
        features = self.model.backbone(images)
        return torch.cat([self.model.head(features), features], dim=1)


def write_finetuned(setup: Setup, need: Need, folder: Path) -> None:
    """Train all weights and write them: a maker of the artifact ``classifier``."""
    started = time.perf_counter()
    trained = train(setup, checkpoints=need.key)
    # Clones, since safetensors refuses tensors that share memory, as some architectures' do.
    save_file({name: value.cpu().contiguous().clone() for name, value in trained.weights.items()}, folder / TENSORS)
    facts = {name: value for name, value in vars(trained).items() if name != "weights"}
    facts["classes"] = setup.pictures("train").classes
    write_text(folder / FACTS, json.dumps({**facts, "shared_s": time.perf_counter() - started}))


def _loaded(folder: Path) -> tuple[Trained, tuple[str, ...]]:
    facts = json.loads((folder / FACTS).read_text())
    classes = tuple(facts.pop("classes"))
    return Trained(weights=load_file(folder / TENSORS), **facts), classes


class PretrainedClassifier(PictureClassifier):
    """The checkpoint's own ImageNet-1k head."""

    def facts(self) -> dict[str, Any]:
        """Return how many classes the head has, and what test lacks."""
        dropped = len(self.setup.pictures("test").dropped)
        return {"notes": {**self.setup.notes(), "n_classes": len(self.classes), "dropped_pictures": dropped}}


def load_pretrained(job: Job, context: Context) -> PretrainedClassifier:
    """Return the checkpoint's own classifier.

    Raises:
        ConfigError: The backbone is a control.
        WeightsError: Its head has other classes than ImageNet-1k's.
    """
    if job.is_control or job.weights_path is None:
        raise ConfigError(f"backbone {job.backbone!r} has no pretrained head.", hint="Use linear or finetune.")
    setup = Setup.of(job, context)
    model = build_classifier(
        setup.backbone, weights_path=Path(job.weights_path), image_size=job.input.image_size, seed=job.seed
    )
    classifier = PretrainedClassifier(setup, wnids(), model)
    classifier.batch_size = PretrainedHeadParams.of(job).batch_size
    return classifier
