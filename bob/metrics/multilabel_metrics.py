"""Multi-label metrics: probabilities and values of (picture, class) in, numbers out, in double precision.

A value is 1 where a picture shows a class, 0 where it does not, NaN where nobody knows: such an entry counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bob.core.errors import DataError, NumericalError
from bob.metrics.classification_metrics import PROBABILITY_FLOOR, expected_calibration_error
from bob.metrics.resampling import RESAMPLES, Spread, left_out_counts, resampled_counts, spread_of

RECALL_LEVELS = 10  # VOC 2007 looks at the recalls 0/10 to 10/10


@dataclass(frozen=True, kw_only=True)
class MultilabelScores:
    """The mean average precision of one test set.

    Attributes:
        score: Mean of ``per_class`` over the classes that have one.
        voc07: The same of VOC 2007's average precision.
        per_class: AP by class index; None for a class that no picture is known to show, or none to lack.
        replicates: float64 (resamples,): the score on each test set of ``resampled_counts``; NaN on one without any
            class to score.
        left_out: float64 (groups,): likewise on each of ``left_out_counts``; empty without replicates.
    """

    score: float
    voc07: float
    per_class: dict[int, float | None]
    replicates: np.ndarray
    left_out: np.ndarray

    def spread(self) -> Spread:
        """Return how the score varies over test sets."""
        return spread_of(self.score, self.replicates, self.left_out)


class Ranking:
    """The pictures of one class by falling probability: their average precision on any resampled test set.

    Pictures of equal probability are taken together, as scikit-learn does, so that their order never matters.

    Args:
        probabilities: (n,) float64.
        values: (n,) 1, 0 or NaN; pictures of NaN are left out.
    """

    def __init__(self, probabilities: np.ndarray, values: np.ndarray) -> None:
        known = np.flatnonzero(~np.isnan(values))
        self._order = known[np.argsort(-probabilities[known], kind="stable")]
        ranked = probabilities[self._order]
        self._positive = values[self._order] == 1
        is_last = np.append(ranked[1:] != ranked[:-1], True) if len(ranked) else np.empty(0, dtype=bool)
        # Only where a positive is found does the sum gain anything: the others' places are never looked at.
        group = np.cumsum(np.append(0, is_last[:-1])) if len(ranked) else np.empty(0, dtype=np.int64)
        ends = np.flatnonzero(is_last)
        self._positives = np.flatnonzero(self._positive)
        own = group[self._positives]
        self._ends = ends[own]
        self._last = np.searchsorted(own, own, side="right") - 1  # of the positives of each one's group

    @property
    def is_scored(self) -> bool:
        """Whether some picture has the class and some picture lacks it."""
        return 0 < len(self._positives) < len(self._order)

    def average_precisions(self, counts: np.ndarray) -> np.ndarray:
        """Return the AP (sets,) on test sets that hold picture i ``counts[:, i]`` times; NaN without both values.

        AP = sum over thresholds of (recall - recall before) x precision, as scikit-learn's
        ``average_precision_score``.
        """
        ranked = counts[:, self._order]
        seen = np.cumsum(ranked, axis=1)[:, self._ends]
        own = ranked[:, self._positives]
        found = np.cumsum(own, axis=1)[:, self._last]
        total = own.sum(axis=1)
        # A positive that is drawn is among those seen; where none is drawn, 0 / 0 has the weight 0.
        values = (own * (found / np.maximum(seen, 1))).sum(axis=1) / np.maximum(total, 1)
        return np.where((total > 0) & (total < ranked.sum(axis=1)), values, np.nan)

    def voc07(self) -> float:
        """Return VOC 2007's AP: the mean over recalls 0, 0.1 .. 1 of the highest precision at that recall or above.

        Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge", section 4.2. Recalls are compared as
        whole numbers, so that three of ten positives are a recall of 0.3.
        """
        ends = np.unique(self._ends)
        found = np.cumsum(self._positive)[ends]
        precision = np.maximum.accumulate((found / (ends + 1))[::-1])[::-1]
        levels = np.arange(RECALL_LEVELS + 1) * len(self._positives)
        return float(precision[np.searchsorted(found * RECALL_LEVELS, levels, side="left")].mean())


def multilabel_scores(probabilities: ArrayLike, values: ArrayLike, *, resamples: int = RESAMPLES) -> MultilabelScores:
    """Return the mean average precision over classes, with its values on resampled test sets.

    A class is left out where no picture is known to show it or none to lack it: its AP would be undefined, or 1 for any
    ranking. On a resampled test set the same holds.

    Args:
        probabilities: (n, c), higher for a class that is more likely there; pictures in the order of their ids, so that
            resamples pair.
        values: (n, c): 1, 0 or NaN.
        resamples: How many resampled test sets the score is computed on; 0 for none.

    Raises:
        DataError: There is no picture, or every class is left out.
        NumericalError: A probability is NaN or infinite.
        ValueError: The shapes or values are not as above.
    """
    scores, truth = _checked(probabilities, values)
    rankings = [Ranking(scores[:, label], truth[:, label]) for label in range(truth.shape[1])]
    scored = {label: ranking for label, ranking in enumerate(rankings) if ranking.is_scored}
    if not scored:
        raise DataError(
            f"no class is both there in some of the {len(truth)} pictures and known to be absent from others: "
            "there is nothing to score.",
            hint="Use more pictures (max_test, max_val), or data in which pictures differ.",
        )
    whole = np.ones((1, len(truth)))
    own = {label: float(ranking.average_precisions(whole)[0]) for label, ranking in scored.items()}
    replicates, left_out = _resampled(list(scored.values()), len(truth), resamples)
    return MultilabelScores(
        score=float(np.mean(list(own.values()))),
        voc07=float(np.mean([ranking.voc07() for ranking in scored.values()])),
        per_class={label: own.get(label) for label in range(truth.shape[1])},
        replicates=replicates,
        left_out=left_out,
    )


def mean_average_precision(rankings: Sequence[Ranking], counts: np.ndarray) -> np.ndarray:
    """Return the mean AP (sets,) over the classes that a test set can score; NaN where it can score none.

    Args:
        rankings: Of each class.
        counts: (sets, n): how often each picture is in each test set.
    """
    total, present = np.zeros(len(counts)), np.zeros(len(counts), dtype=np.int64)
    for ranking in rankings:
        values = ranking.average_precisions(counts)
        total += np.nan_to_num(values)
        present += ~np.isnan(values)
    return np.where(present > 0, total / np.maximum(present, 1), np.nan)


def _resampled(rankings: Sequence[Ranking], pictures: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    if resamples == 0:
        return np.empty(0), np.empty(0)
    blocks = resampled_counts(pictures, resamples=resamples)
    replicates = [mean_average_precision(rankings, counts) for counts in blocks]
    return np.concatenate(replicates), mean_average_precision(rankings, left_out_counts(pictures))


def entry_metrics(probabilities: ArrayLike, values: ArrayLike, *, threshold: float) -> dict[str, float]:
    """Return what is counted over the known (picture, class) entries.

    ``micro_f1`` is of all entries together, ``macro_f1`` the mean over the classes that occur as a value or a
    prediction; a class is predicted where its probability is the threshold or above. ``ece`` takes each entry's
    probability as the confidence that the class is there: 15 equal-width bins, L1 norm, as torchmetrics'
    ``binary_calibration_error``. ``brier`` is the mean squared error of the probability, in [0, 1], as scikit-learn's
    ``brier_score_loss``; ``nll`` the mean binary log loss in nats, in which the probability of what is right counts as
    1e-12 at least.

    Args:
        probabilities: (n, c) in [0, 1].
        values: (n, c): 1, 0 or NaN.
        threshold: Chosen on val.

    Raises:
        DataError: There is no picture, or no known entry.
        NumericalError: A probability is NaN or infinite.
        ValueError: The shapes or values are not as above.
    """
    scores, truth = _checked(probabilities, values)
    known, positive, predicted = ~np.isnan(truth), truth == 1, scores >= threshold
    hits = (positive & predicted).sum(axis=0)
    counted = positive.sum(axis=0) + (predicted & known).sum(axis=0)
    occurs = counted > 0
    sure, right = _entries(scores, truth)
    return {
        "micro_f1": float(2 * hits.sum() / max(int(counted.sum()), 1)),
        "macro_f1": float((2 * hits[occurs] / counted[occurs]).mean()) if occurs.any() else 0.0,
        "ece": expected_calibration_error(sure, right == 1),
        "brier": float(((sure - right) ** 2).mean()),
        "nll": _nll(sure, right),
    }


def entry_nll(probabilities: ArrayLike, values: ArrayLike) -> float:
    """Return the ``nll`` of ``entry_metrics`` alone; arguments and errors are those."""
    return _nll(*_entries(*_checked(probabilities, values)))


def _entries(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities and values (entries,) of what is known."""
    known = ~np.isnan(truth)
    sure, right = scores[known], truth[known]
    if not sure.size:
        raise DataError(f"no class is known of any of {len(truth)} pictures: there is nothing to score.")
    if sure.min() < 0 or sure.max() > 1:
        raise ValueError(f"probabilities must lie in [0, 1], got {sure.min()} to {sure.max()}.")
    return sure, right


def _nll(sure: np.ndarray, right: np.ndarray) -> float:
    own = np.where(right == 1, sure, 1 - sure)
    return float(-np.log(np.maximum(own, PROBABILITY_FLOOR)).mean())


def best_threshold(probabilities: ArrayLike, values: ArrayLike) -> float:
    """Return the one threshold for all classes whose ``micro_f1`` is highest: of those that do as well, the highest.

    Args:
        probabilities: (n, c), of val.
        values: (n, c): 1, 0 or NaN.

    Returns:
        One of the probabilities.

    Raises:
        DataError: There is no picture, or no class is known to be there in any.
        NumericalError, ValueError: As ``multilabel_scores``.
    """
    scores, truth = _checked(probabilities, values)
    known = ~np.isnan(truth)
    order = np.argsort(-scores[known], kind="stable")
    ranked, positive = scores[known][order], truth[known][order] == 1
    if not positive.any():
        raise DataError(
            f"no class is known to be there in any of {len(truth)} val pictures: no threshold can be chosen.",
            hint="Use more val pictures (max_val).",
        )
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    f1 = 2 * np.cumsum(positive)[ends] / (ends + 1 + positive.sum())
    return float(ranked[ends[int(f1.argmax())]])


def _checked(probabilities: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.shape != truth.shape or scores.shape[1] == 0:
        raise ValueError(f"probabilities {scores.shape} and values {truth.shape} are not both of one shape (n, c).")
    if len(truth) == 0:
        raise DataError("there is no picture to score: expected at least one.", hint="Check the data set's splits.")
    broken = ~np.isfinite(scores).all(axis=1)
    if broken.any():
        raise NumericalError(
            f"the probabilities of {int(broken.sum())} of {len(scores)} pictures are not finite "
            f"(first: picture {int(broken.argmax())}).",
            hint="Try precision fp32 or a lower learning rate.",
        )
    if not (np.isnan(truth) | (truth == 0) | (truth == 1)).all():
        raise ValueError("values must be 1 (there), 0 (absent) or NaN (not known).")
    return scores, truth
