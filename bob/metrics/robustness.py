"""What a shift costs: relative drop, corruption error against a reference, and accuracy beyond what clean predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from bob.core.errors import ConfigError, DataError, NumericalError

SEVERITIES = (1, 2, 3, 4, 5)
MIN_REFERENCE_MODELS = 3

# AlexNet's top-1 error on ImageNet-C, mean over the five severities, as the authors publish it (hendrycks/robustness on
# GitHub); AugMix (Hendrycks et al. 2020, arXiv 1912.02781) normalises its mCE by the same fifteen numbers.
ALEXNET_MEAN_ERROR: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}


@dataclass(frozen=True, kw_only=True)
class EffectiveRobustness:
    """Accuracy under shift beyond what clean accuracy predicts, of k models.

    Attributes:
        residuals: float64 (k,): accuracy above the line; all NaN where no line could be fitted.
        slope: Of the line, logit(shifted) by logit(clean); NaN likewise.
        intercept: Of the line; NaN likewise.
        reason: Why there is no line; None where there is.
    """

    residuals: np.ndarray
    slope: float
    intercept: float
    reason: str | None = None


def relative_drop(clean: float, shifted: float) -> float:
    """Return the share of clean accuracy that is lost under shift, (clean - shifted) / clean; below 0 for a gain.

    NaN where clean is 0: there was nothing to lose.

    Args:
        clean: Accuracy in [0, 1] on the source's test set.
        shifted: Accuracy in [0, 1] on the shifted one.

    Raises:
        NumericalError: One is NaN or infinite.
        ValueError: One is outside [0, 1].
    """
    before, after = _rates([clean, shifted], "accuracies")
    return float((before - after) / before) if before else float("nan")


def mean_corruption_error(
    errors: Mapping[str, Mapping[int, float]],
    reference: Mapping[str, float | Mapping[int, float]] | None = None,
) -> float:
    """Return the mean over corruptions of their error: relative to a reference model's, or plain without one.

    With a reference this is mCE (Hendrycks and Dietterich 2019, arXiv 1903.12261, section 4.1): CE of a corruption is
    the sum of its errors over severities by the reference's sum, mCE the mean CE, as a ratio (the paper prints 100
    times that; AlexNet itself has 1). It is comparable with published values for the 15 benchmark corruptions only.

    Args:
        errors: Top-1 error in [0, 1] by corruption and severity.
        reference: The reference model's: by severity too, or one number, its mean over severities 1 to 5, as in
            ``ALEXNET_MEAN_ERROR``, which then needs ``errors`` at all five. It may have corruptions beyond these.

    Raises:
        ConfigError: The reference lacks a corruption or severity.
        DataError: There is no corruption or severity, or the reference makes no error on one.
        NumericalError: An error is NaN or infinite.
        ValueError: An error is outside [0, 1].
    """
    if not errors or not all(errors.values()):
        raise DataError("there is no corrupted test set to score: expected at least one corruption and severity.")
    means = {name: float(_rates(list(by.values()), f"{name} errors").mean()) for name, by in errors.items()}
    if reference is None:
        return float(np.mean(list(means.values())))
    return float(np.mean([mean / _reference_mean(name, errors[name], reference) for name, mean in means.items()]))


def effective_robustness(
    clean: ArrayLike, shifted: ArrayLike, reference: ArrayLike, *, clean_pictures: int, shifted_pictures: int
) -> EffectiveRobustness:
    """Return how far models lie above the line that predicts shifted from clean accuracy (Taori et al. 2020).

    Taori et al., arXiv 2007.00644, section 3: a line by least squares through logit(clean) and logit(shifted) of the
    reference models (those trained without any robustness intervention or extra data); a model's effective robustness
    is its shifted accuracy minus expit(line), in accuracy. Before the logit, accuracies are held half a test picture
    away from 0 and 1. Fewer than three reference models, or reference models of one clean accuracy, fix no line.

    Args:
        clean: (k,) accuracies in [0, 1] on the source's test set.
        shifted: (k,) accuracies of the same models on the shifted one.
        reference: (k,) booleans: which models the line goes through.
        clean_pictures: Size of the clean test set.
        shifted_pictures: Size of the shifted one.

    Raises:
        DataError: There is no model.
        NumericalError: An accuracy is NaN or infinite.
        ValueError: The shapes differ, an accuracy is outside [0, 1], or a size below 1.
    """
    before, after = _rates(clean, "clean accuracies"), _rates(shifted, "shifted accuracies")
    chosen = np.asarray(reference)
    if not before.shape == after.shape == chosen.shape or chosen.dtype != bool:
        raise ValueError(f"accuracies must be (k,) and reference (k,) booleans, got {chosen.dtype} {chosen.shape}.")
    x, y = _held_logit(before, clean_pictures), _held_logit(after, shifted_pictures)
    reason = _no_line(x[chosen])
    if reason is not None:
        nan = float("nan")
        return EffectiveRobustness(residuals=np.full(len(x), nan), slope=nan, intercept=nan, reason=reason)
    centred = x[chosen] - x[chosen].mean()
    slope = float(centred @ y[chosen] / (centred @ centred))
    intercept = float(y[chosen].mean() - slope * x[chosen].mean())
    return EffectiveRobustness(residuals=after - expit(slope * x + intercept), slope=slope, intercept=intercept)


def _no_line(x: np.ndarray) -> str | None:
    if len(x) < MIN_REFERENCE_MODELS:
        return f"{len(x)} reference models: expected at least {MIN_REFERENCE_MODELS} to fit a line."
    # Accuracies are shares of whole pictures, so equal ones are equal to the last bit.
    return f"all {len(x)} reference models have one clean accuracy: no line fits." if x.min() == x.max() else None


def _held_logit(accuracies: np.ndarray, pictures: int) -> np.ndarray:
    if pictures < 1:
        raise ValueError(f"a test set must have at least 1 picture, got {pictures}.")
    return logit(np.clip(accuracies, 0.5 / pictures, 1 - 0.5 / pictures))


def _reference_mean(
    name: str, errors: Mapping[int, float], reference: Mapping[str, float | Mapping[int, float]]
) -> float:
    if name not in reference:
        raise ConfigError(
            f"the reference has no error for corruption {name!r}: it has {', '.join(sorted(reference))}.",
            hint="Leave the corruption out of the mCE, or give a reference that has it.",
        )
    given = reference[name]
    has = given if isinstance(given, Mapping) else dict.fromkeys(SEVERITIES, given)
    if not set(errors) <= set(has) or (has is not given and len(errors) < len(SEVERITIES)):
        raise ConfigError(
            f"corruption {name!r} was scored at severities {sorted(errors)}, the reference at {sorted(has)}.",
            hint="Score all five severities; a reference by severity may do with some of them.",
        )
    mean = float(_rates([has[severity] for severity in errors], f"reference's {name} errors").mean())
    if mean == 0:
        raise DataError(f"the reference makes no error on corruption {name!r}: nothing can be relative to it.")
    return mean


def _rates(values: ArrayLike, name: str) -> np.ndarray:
    rates = np.asarray(values, dtype=np.float64)
    if rates.ndim != 1:
        raise ValueError(f"the {name} must have one dimension, got shape {rates.shape}.")
    if rates.size == 0:
        raise DataError(f"there are no {name}: expected at least one.")
    broken = int((~np.isfinite(rates)).sum())
    if broken:
        raise NumericalError(
            f"{broken} of {rates.size} {name} are not finite.", hint="Leave out models and test sets without a score."
        )
    if rates.min() < 0 or rates.max() > 1:
        raise ValueError(f"the {name} must lie in [0, 1], got {rates.min()} to {rates.max()}.")
    return rates
