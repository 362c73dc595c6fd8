"""How far confidences can be trusted: calibration errors, Brier score, temperature scaling."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from bob.core.errors import DataError, NumericalError
from bob.metrics.classification_metrics import PROBABILITY_FLOOR, check_probabilities, expected_calibration_error
from bob.metrics.reliability_bins import ECE_BINS, check_confidence

TEMPERATURES = (0.05, 20.0)
_BLOCK_VALUES = 4_000_000
_LOG = logging.getLogger(__name__)


def calibration_metrics(probabilities: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Compute ``ece``, ``adaptive_ece``, ``brier`` and ``nll``, all better when lower.

    ``ece`` and ``nll`` are those of ``classification_metrics``, ``adaptive_ece`` is ``adaptive_calibration_error`` of
    the top class. ``brier`` is the squared error summed over the classes and averaged over the samples, in [0, 2], as
    Brier defined it (1950, Monthly Weather Review 78) and as scikit-learn's ``brier_score_loss`` with
    ``scale_by_half=False``; with two classes it is twice the one-sided form.

    Args:
        probabilities: (n, c), rows in [0, 1] that sum to 1.
        labels: (n,) integers in [0, c).

    Raises:
        DataError, NumericalError, ValueError: As ``classification_metrics``.
    """
    scores, targets = check_probabilities(probabilities, labels)
    confidence, correct = scores.max(axis=1), scores.argmax(axis=1) == targets
    own = scores[np.arange(len(targets)), targets]
    errors = scores - (np.arange(scores.shape[1]) == targets[:, None])
    return {
        "ece": expected_calibration_error(confidence, correct),
        "adaptive_ece": adaptive_calibration_error(confidence, correct),
        "brier": float(np.einsum("nc,nc->n", errors, errors).mean()),
        "nll": float(-np.log(np.maximum(own, PROBABILITY_FLOOR)).mean()),
    }


def adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = ECE_BINS) -> float:
    """Return the calibration error over bins of equal mass, L1 norm.

    The bins follow Nguyen and O'Connor 2015 (arXiv 1508.05154) and, for the top class of a network, Nixon et al. 2019
    (arXiv 1904.01685). The n samples are sorted by confidence; bin b of B holds the places floor(b n / B) up to
    floor((b + 1) n / B), so bins differ by one sample at most, and with fewer samples than bins each has its own. The
    error is the mean over the samples of their bin's |accuracy - mean confidence|. Samples of equal confidence each
    count with the accuracy of all of them, so that which side of a bin's border one falls on never matters, nor
    does the order of the samples.

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,) booleans, or 0 and 1.
        bins: How many bins.

    Raises:
        DataError: There is no sample.
        NumericalError: A confidence is NaN or infinite.
        ValueError: The shapes or values are not as above.
    """
    sure, right = check_confidence(confidence, correct, bins)
    distinct, at = np.unique(sure, return_inverse=True)
    accuracy = np.bincount(at, weights=right) / np.bincount(at)
    gaps = accuracy - distinct
    edges = np.arange(bins + 1) * len(sure) // bins
    cumulative = np.concatenate([[0.0], np.cumsum(gaps[np.sort(at)])])
    return float(np.abs(np.diff(cumulative[edges])).sum() / len(sure))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature in [0.05, 20] that minimises the NLL of softmax(logits / T).

    Temperature scaling is that of Guo et al. 2017, arXiv 1706.04599, section 4.2.
    The NLL is convex in b = 1 / T, so its one minimum is where its slope, the mean of (expected - own logit), crosses
    zero; that is found over log T to 1e-9 by Brent's method. A minimum beyond the range gives the bound itself, with a
    logged warning (``on_bound`` tells): small, separable val sets have theirs at T = 0.

    Args:
        logits: (n, c) logits or log-probabilities, of val. -inf is a probability of 0 at every temperature. A sample
            whose own class has it costs the same at every T (the NLL's floor) and is left out.
        labels: (n,) integers in [0, c).

    Returns:
        T; 1.0 where none in the range changes the NLL (one class, logits all equal, or leads beyond rounding).

    Raises:
        DataError: There is no sample.
        NumericalError: A logit is NaN or +inf, a row has no finite one, or every sample's own class has -inf.
        ValueError: The shapes or labels are not as above.
    """
    scores, targets = _check_logits(logits, labels)
    own = scores[np.arange(len(targets)), targets]
    possible = np.isfinite(own)
    if not possible.any():
        raise NumericalError(
            f"all {len(own)} samples have probability 0 for their own class: no temperature can be fitted.",
            hint="Check that val's labels and the classifier's classes are in one order.",
        )
    # Differences to the own logit: what the slope is made of, and exact where a class leads by far.
    margins = scores[possible] - own[possible, None]
    return _crossing(margins)


def on_bound(temperature: float) -> bool:
    """Say whether a fitted temperature is an end of the range rather than a minimum."""
    return temperature in TEMPERATURES


def scaled(logits: ArrayLike, temperature: float) -> np.ndarray:
    """Return float64 (n, c) probabilities, softmax(logits / temperature); -inf gives 0.

    Args:
        logits: (n, c) logits or log-probabilities.
        temperature: Above 0; 1 gives log-probabilities back as probabilities.

    Raises:
        DataError, NumericalError: As ``fit_temperature``.
        ValueError: The logits are not two-dimensional, or the temperature is not a number above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"the temperature must be a number above 0, got {temperature}.")
    return softmax(_check_scores(logits) / temperature, axis=1)


def _crossing(margins: np.ndarray) -> float:
    low, high = TEMPERATURES
    slope_low, slope_high = _slope(margins, low), _slope(margins, high)
    if slope_low == slope_high == 0:
        return 1.0
    if slope_low <= 0 or slope_high >= 0:
        bound = low if slope_low <= 0 else high
        _LOG.warning("the temperature sits on its bound of %g: val's NLL has no minimum in [%g, %g].", bound, low, high)
        return bound
    logarithm = brentq(lambda log_t: _slope(margins, np.exp(log_t)), np.log(low), np.log(high), xtol=1e-9)
    return float(np.exp(logarithm))


def _slope(margins: np.ndarray, temperature: float) -> float:
    """Return the derivative of the mean NLL by 1 / T, which rises with 1 / T."""
    return sum(_weighted_margins(part, temperature) for part in _blocks(margins)) / len(margins)


def _weighted_margins(margins: np.ndarray, temperature: float) -> float:
    # A class of probability 0 weighs nothing; the product of 0 and -inf would be NaN.
    return float((softmax(margins / temperature, axis=1) * np.where(np.isneginf(margins), 0, margins)).sum())


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, _BLOCK_VALUES // values.shape[1])
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def _check_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores = _check_scores(logits)
    return scores, check_probabilities(np.exp(log_softmax(scores, axis=1)), labels)[1]


def _check_scores(logits: ArrayLike) -> np.ndarray:
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"logits must have the shape (n, c), got {scores.shape}.")
    if len(scores) == 0:
        raise DataError("there is no sample to calibrate on: expected at least one.", hint="Check the val split.")
    broken = (np.isnan(scores) | np.isposinf(scores)).any(axis=1) | np.isneginf(scores).all(axis=1)
    if broken.any():
        raise NumericalError(
            f"the logits of {int(broken.sum())} of {len(scores)} samples are NaN, +inf or all -inf "
            f"(first: sample {int(broken.argmax())}).",
            hint="Try precision fp32 or a lower learning rate.",
        )
    return scores
