"""Logistic regression has scikit-learn's objective and finds its optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from bob.core.errors import NumericalError
from bob.probes.logistic import Centred, fit_path, objective_value, one_vs_rest


def blobs(n: int, d: int, classes: int = 4, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    features = 0.5 * centres[labels] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    return features.to(dtype), labels


@pytest.mark.parametrize(("n", "d"), [(200, 12), (60, 150)])
def test_the_path_finds_scikit_learns_optimum(n, d):
    x, labels = blobs(n, d)
    for model in fit_path(x, labels, classes=4, l2=[1e-3, 1e-2, 1.0]):
        reference = LogisticRegression(C=1 / (n * model.l2), tol=1e-10, max_iter=20_000).fit(x.numpy(), labels.numpy())
        theirs = objective_value(
            x, labels, torch.from_numpy(reference.coef_.T), torch.from_numpy(reference.intercept_), model.l2
        )
        assert model.loss == pytest.approx(float(theirs), abs=1e-6)
        np.testing.assert_allclose(model.weight.numpy(), reference.coef_.T, atol=2e-3)
        shift = reference.intercept_ - model.bias.numpy()
        np.testing.assert_allclose(shift, shift.mean(), atol=5e-3)
        np.testing.assert_allclose(model.probabilities(x).numpy(), reference.predict_proba(x.numpy()), atol=2e-3)


def test_single_precision_reaches_the_same_objective():
    double, labels = blobs(100, 300)
    single = double.float()
    strengths = [1e-4, 1e-2, 1.0]
    for one, other in zip(
        fit_path(single, labels, classes=4, l2=strengths),
        fit_path(double, labels, classes=4, l2=strengths),
        strict=True,
    ):
        assert one.loss == pytest.approx(other.loss, rel=1e-3, abs=1e-5)


def test_the_reported_loss_is_mean_log_loss_plus_half_the_penalty():
    x, labels = blobs(80, 6)
    (model,) = fit_path(x, labels, classes=4, l2=[0.1])
    data = log_loss(labels.numpy(), model.probabilities(x).numpy())
    assert model.loss == pytest.approx(data + 0.05 * float(model.weight.square().sum()), abs=1e-9)


def test_the_path_runs_from_strong_to_weak_and_starts_warm():
    x, labels = blobs(120, 20)
    models = list(fit_path(x, labels, classes=4, l2=[1e-3, 1.0, 1e-1]))
    assert [model.l2 for model in models] == [1.0, 1e-1, 1e-3]
    assert models[0].loss > models[1].loss > models[2].loss
    (alone,) = fit_path(x, labels, classes=4, l2=[1e-3])
    assert models[2].loss == pytest.approx(alone.loss, abs=1e-6)


def test_a_class_without_pictures_gets_next_to_no_probability():
    x, labels = blobs(90, 5, classes=3)
    (model,) = fit_path(x, labels, classes=4, l2=[1e-4])
    assert float(model.probabilities(x)[:, 3].max()) < 0.01


def test_features_that_are_not_finite_are_an_error():
    x, labels = blobs(40, 5)
    x[3, 2] = torch.nan
    with pytest.raises(NumericalError, match=r"l2=0\.1"):
        list(fit_path(x, labels, classes=4, l2=[0.1]))


def test_centring_makes_unit_lengths_whatever_the_features_scale_and_shift():
    x, _ = blobs(50, 7)
    moved = 1000 * x + 5
    one, other = Centred.fit(x)(x), Centred.fit(moved)(moved)
    np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-9)
    np.testing.assert_allclose(one.norm(dim=1).numpy(), 1.0)
    assert torch.isfinite(Centred.fit(torch.ones(3, 2))(torch.ones(3, 2))).all()


@pytest.mark.parametrize(("n", "d"), [(90, 6), (30, 50)])
def test_one_vs_rest_is_scikit_learns_regression_of_each_class_on_what_is_known_of_it(n, d):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, d))
    values = (x[:, :3] + rng.normal(size=(n, 3)) > 0.3).astype(float)
    values[rng.random((n, 3)) < 0.2] = np.nan
    strengths = [1e-2, 0.3]
    found = fit_path(torch.from_numpy(x), torch.from_numpy(values), classes=3, l2=strengths, data_loss=one_vs_rest)
    for model in found:
        for label in range(3):
            known = ~np.isnan(values[:, label])
            alone = LogisticRegression(C=1 / (known.sum() * model.l2), tol=1e-10, max_iter=10_000)
            alone.fit(x[known], values[known, label])
            expected = alone.decision_function(x)
            assert model.logits(torch.from_numpy(x))[:, label].numpy() == pytest.approx(expected, abs=1e-3)


def test_a_class_of_which_nothing_is_known_costs_nothing():
    x, values = torch.randn(20, 3, dtype=torch.float64), torch.full((20, 2), torch.nan, dtype=torch.float64)
    values[:, 0] = (x[:, 0] > 0).double()
    (model,) = fit_path(x, values, classes=2, l2=[0.1], data_loss=one_vs_rest)
    assert model.weight[:, 1].abs().max() == 0 and model.loss < 1
