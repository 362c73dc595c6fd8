"""From the probability that each class is there to a multi-label job's result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bob.core.errors import DataError
from bob.core.files import canonical_json
from bob.data.class_presence import contrasted
from bob.metrics.multilabel_metrics import best_threshold, entry_metrics, entry_nll, multilabel_scores
from bob.tasks.result import TaskResult, listed


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a classifier says about the pictures of a split, and what is true.

    Attributes:
        probabilities: (n, c) float64 in [0, 1]: how likely each class is there.
        values: (n, c): 1 where it is there, 0 where it is not, NaN where nobody knows.
        ids: Sample ids, n of them.
    """

    probabilities: np.ndarray
    values: np.ndarray
    ids: tuple[str, ...]


def val_score(probabilities: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return (mean average precision, nll) on val: what settings are chosen by."""
    return multilabel_scores(probabilities, values, resamples=0).score, entry_nll(probabilities, values)


def require_contrast(values: Mapping[str, np.ndarray | None], *, dataset: str) -> dict[str, np.ndarray]:
    """Return the values of each split; DataError if the pictures used say nothing that could be learned or scored.

    Args:
        values: (n, c) of each split.
        dataset: What the message names.
    """
    found = {}
    for split, each in values.items():
        if each is None or not contrasted(each):
            count = 0 if each is None else len(each)
            raise DataError(
                f"data set {dataset!r}: there is no class that some of the {count} {split} pictures used show and "
                "others lack.",
                hint=f"Use more pictures (max_{split}), or data in which pictures differ.",
            )
        found[split] = each
    return found


def scored(classes: tuple[str, ...], *, train_values: np.ndarray, val: Asked, test: Asked, **facts: Any) -> TaskResult:
    """Return the result of one model: the mean average precision with its interval, every metric, the outcomes.

    The threshold of the F1 scores is chosen on val and joins ``hparams``. Outcomes say for each test picture by class
    index what is ``present``, what is ``unknown``, and the ``probability`` of each class.

    Args:
        classes: Class names in label order.
        train_values: (n, c) of the training pictures used.
        val: Of the scored model.
        test: Likewise.
        facts: ``hparams``, ``search``, ``cost``, ``notes`` of the result.
    """
    threshold = best_threshold(val.probabilities, val.values)
    # In the order of their ids, so that the resampled test sets of different jobs hold the same pictures.
    order = np.argsort(np.array(test.ids, dtype=object), kind="stable")
    probabilities, values = test.probabilities[order], test.values[order]
    scores = multilabel_scores(probabilities, values)
    low, high = scores.spread().interval(scores.score, samples=len(values))
    counted = entry_metrics(probabilities, values, threshold=threshold)
    left_out = [label for label, ap in scores.per_class.items() if ap is None]
    untrained = [
        label for label in scores.per_class if label not in left_out and not contrasted(train_values[:, [label]])
    ]
    notes = {
        **facts.pop("notes", {}),
        "n_test": len(values),
        "per_class": canonical_json({classes[label]: ap for label, ap in scores.per_class.items()}),
        "classes_left_out": len(left_out),
        "classes_untrained": len(untrained),
    }
    return TaskResult(
        score=scores.score,
        score_low=low,
        score_high=high,
        metrics={"multilabel_map": scores.score, "map_voc07": scores.voc07, **counted},
        outcomes=listed(
            {
                "sample_id": [test.ids[place] for place in order],
                "present": [np.flatnonzero(row == 1).tolist() for row in values],
                "unknown": [np.flatnonzero(np.isnan(row)).tolist() for row in values],
                "probability": list(probabilities.astype(np.float32)),
            }
        ),
        replicates=scores.replicates,
        hparams={**facts.pop("hparams", {}), "threshold": threshold},
        notes=notes,
        **facts,
    )
