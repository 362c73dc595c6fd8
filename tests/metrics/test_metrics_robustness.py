"""Drops, corruption errors and effective robustness equal their definitions, and say why where there is no number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress

from bob.core.errors import ConfigError, DataError, NumericalError
from bob.metrics.robustness import (
    ALEXNET_MEAN_ERROR,
    SEVERITIES,
    effective_robustness,
    mean_corruption_error,
    relative_drop,
)

SIZES = {"clean_pictures": 50_000, "shifted_pictures": 7500}


def draw_errors(names, seed: int = 0) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(seed)
    return {name: dict(zip(SEVERITIES, np.sort(rng.uniform(0.1, 0.9, 5)).tolist(), strict=True)) for name in names}


@pytest.mark.parametrize(("clean", "shifted", "drop"), [(0.8, 0.6, 0.25), (0.5, 0.5, 0), (0.4, 0.5, -0.25), (1, 0, 1)])
def test_the_relative_drop_is_the_share_lost(clean, shifted, drop):
    assert relative_drop(clean, shifted) == pytest.approx(drop)


def test_nothing_to_lose_has_no_relative_drop():
    assert np.isnan(relative_drop(0.0, 0.0))


def test_mean_corruption_error_equals_the_papers_sums():
    errors, reference = draw_errors(["fog", "snow", "frost"]), draw_errors(["snow", "frost", "fog", "blur"], seed=1)
    ces = [sum(errors[c].values()) / sum(reference[c].values()) for c in errors]
    assert mean_corruption_error(errors, reference) == pytest.approx(np.mean(ces), abs=1e-12)


def test_means_as_published_are_worth_their_severities():
    errors, reference = draw_errors(ALEXNET_MEAN_ERROR), draw_errors(ALEXNET_MEAN_ERROR, seed=1)
    means = {name: float(np.mean(list(by.values()))) for name, by in reference.items()}
    assert mean_corruption_error(errors, means) == pytest.approx(mean_corruption_error(errors, reference))


def test_the_published_reference_has_the_15_benchmark_corruptions_and_scores_one_on_itself():
    assert len(ALEXNET_MEAN_ERROR) == 15
    alexnet = {name: dict.fromkeys(SEVERITIES, error) for name, error in ALEXNET_MEAN_ERROR.items()}
    assert mean_corruption_error(alexnet, ALEXNET_MEAN_ERROR) == pytest.approx(1.0)
    # The same network's errors by severity, as timm's evaluation of it lists them for these three.
    by_severity = {
        "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
        "brightness": (0.4514, 0.48502, 0.54048, 0.62166, 0.72440),
        "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
    }
    for name, values in by_severity.items():
        assert ALEXNET_MEAN_ERROR[name] == pytest.approx(np.mean(values), abs=1e-9)


def test_without_a_reference_it_is_the_plain_mean_error():
    errors = {"fog": {1: 0.2, 3: 0.4}, "snow": {5: 0.9}}
    assert mean_corruption_error(errors) == pytest.approx((0.3 + 0.9) / 2)


def test_some_severities_do_with_a_reference_that_has_them():
    errors = {"fog": {2: 0.2, 4: 0.4}}
    assert mean_corruption_error(errors, {"fog": {1: 0.1, 2: 0.4, 4: 0.5}}) == pytest.approx(0.6 / 0.9)


@pytest.mark.parametrize(
    ("reference", "match"),
    [
        ({"snow": 0.5}, "no error for corruption 'fog'"),
        ({"fog": 0.5}, r"severities \[1, 2\], the reference at \[1, 2, 3, 4, 5\]"),
        ({"fog": {1: 0.5}}, r"severities \[1, 2\], the reference at \[1\]"),
    ],
)
def test_a_reference_that_lacks_something_is_refused(reference, match):
    with pytest.raises(ConfigError, match=match):
        mean_corruption_error({"fog": {1: 0.1, 2: 0.2}}, reference)


def test_a_reference_without_errors_is_refused():
    with pytest.raises(DataError, match="no error on corruption 'fog'"):
        mean_corruption_error({"fog": {1: 0.1}}, {"fog": {1: 0.0}})


@pytest.mark.parametrize("errors", [{}, {"fog": {}}])
def test_no_corrupted_set_is_an_error(errors):
    with pytest.raises(DataError, match="no corrupted test set"):
        mean_corruption_error(errors)


def draw_models(k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0.3, 0.9, k)
    shifted = expit(0.9 * logit(clean) - 0.8 + rng.normal(0, 0.2, k))
    return clean, shifted, np.arange(k) % 3 > 0


@pytest.mark.parametrize("k", [5, 40])
def test_effective_robustness_equals_scipys_line_in_logits(k):
    clean, shifted, reference = draw_models(k, seed=k)
    line = linregress(logit(clean[reference]), logit(shifted[reference]))
    found = effective_robustness(clean, shifted, reference, **SIZES)
    assert (found.slope, found.intercept) == pytest.approx((line.slope, line.intercept), abs=1e-9)
    expected = shifted - expit(line.slope * logit(clean) + line.intercept)
    assert found.residuals == pytest.approx(expected, abs=1e-6)
    assert found.reason is None


def test_a_model_above_the_others_line_is_the_one_that_is_robust():
    clean = np.array([0.5, 0.6, 0.7, 0.8, 0.75])
    shifted = expit(logit(clean) - 1)
    shifted[4] += 0.1
    residuals = effective_robustness(clean, shifted, np.arange(5) < 4, **SIZES).residuals
    assert residuals == pytest.approx([0, 0, 0, 0, 0.1], abs=1e-9)


def test_accuracies_of_nought_and_one_are_held_half_a_picture_away():
    clean, shifted = np.array([0.0, 0.5, 1.0, 0.25]), np.array([0.0, 0.4, 1.0, 0.0])
    found = effective_robustness(clean, shifted, np.ones(4, dtype=bool), clean_pictures=100, shifted_pictures=10)
    x, y = logit([0.005, 0.5, 0.995, 0.25]), logit([0.05, 0.4, 0.95, 0.05])
    slope, intercept = np.polyfit(x, y, 1)
    assert found.residuals == pytest.approx(shifted - expit(slope * x + intercept), abs=1e-9)


@pytest.mark.parametrize(
    ("clean", "members", "match"),
    [([0.5, 0.6, 0.7], 2, "2 reference models: expected at least 3"), ([0.5, 0.5, 0.5], 3, "one clean accuracy")],
)
def test_where_no_line_fits_the_residuals_are_nan_with_the_reason(clean, members, match):
    found = effective_robustness(clean, [0.1, 0.2, 0.3], np.arange(3) < members, **SIZES)
    assert np.isnan([*found.residuals, found.slope, found.intercept]).all()
    assert found.residuals.shape == (3,)
    assert match in found.reason


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(broken):
    with pytest.raises(NumericalError, match="1 of 2 accuracies"):
        relative_drop(0.5, broken)
    with pytest.raises(NumericalError, match="1 of 2 fog errors"):
        mean_corruption_error({"fog": {1: 0.5, 2: broken}})
    with pytest.raises(NumericalError, match="reference's fog errors"):
        mean_corruption_error({"fog": {1: 0.5}}, {"fog": {1: broken}})
    with pytest.raises(NumericalError, match="1 of 3 shifted accuracies"):
        effective_robustness([0.5, 0.6, 0.7], [0.1, broken, 0.3], np.ones(3, dtype=bool), **SIZES)


def test_no_model_is_an_error():
    with pytest.raises(DataError, match="no clean accuracies"):
        effective_robustness([], [], np.ones(0, dtype=bool), **SIZES)


@pytest.mark.parametrize(
    "compute",
    [
        lambda: relative_drop(80.0, 60.0),
        lambda: mean_corruption_error({"fog": {1: 40.0}}),
        lambda: effective_robustness([50.0], [0.1], [True], **SIZES),
        lambda: effective_robustness([0.5, 0.6], [0.1], [True], **SIZES),
        lambda: effective_robustness([0.5], [0.1], [0], **SIZES),
        lambda: effective_robustness([0.5], [0.1], [True], clean_pictures=0, shifted_pictures=1),
    ],
)
def test_what_does_not_fit_is_refused(compute):
    with pytest.raises(ValueError, match="must"):
        compute()
