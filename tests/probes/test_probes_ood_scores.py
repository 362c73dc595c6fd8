"""Out-of-distribution scores equal their references, survive degenerate features, and depend on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.linalg import eigh, norm, pinv
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import nn

from bob.core.errors import ConfigError, DataError, NumericalError, UnknownNameError
from bob.probes import knn, odin, ood_scores, ood_statistics
from bob.probes.odin import odin_scores
from bob.probes.ood_scores import fit_ood
from bob.probes.ood_statistics import percentile, principal_dimension
from bob.probes.post_hoc_scores import ODIN, OOD_SCORES, post_hoc_names

SCORES = post_hoc_names()

CLASSES = 4
STD = (0.25, 0.5, 0.2)


def sample(n: int, d: int, *, classes: int = CLASSES, seed: int = 0, dtype: torch.dtype = torch.float32):
    """Correlated blobs: (features, labels)."""
    generator = torch.Generator().manual_seed(7)
    mix = torch.randn(d, d, generator=generator) / d**0.5
    centres = torch.randn(classes, d, generator=generator)
    generator.manual_seed(seed)
    labels = torch.arange(n) % classes
    return (centres[labels] + torch.randn(n, d, generator=generator) @ mix).to(dtype), labels


def head(d: int, *, classes: int = CLASSES, dtype: torch.dtype = torch.float32):
    """A linear head's weight and bias."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(d, classes, generator=generator) / d**0.5
    return {"weight": weight.to(dtype), "bias": torch.randn(classes, generator=generator).to(dtype)}


def scored(train, labels, test, *, parameters=None, **kwargs):
    """Scores as numpy arrays."""
    parameters = head(train.shape[1], dtype=train.dtype) if parameters is None else parameters
    fit = fit_ood(train, labels, **parameters, **kwargs)
    scores = ood_scores.ood_scores(fit, test)
    assert tuple(scores) == SCORES
    assert all(value.dtype == torch.float64 and value.shape == test.shape[:1] for value in scores.values())
    return {name: value.numpy() for name, value in scores.items()}


def mahalanobis_references(train, labels, test):
    """Squared distances by scikit-learn: to the nearest class mean, and to the mean of all."""
    x, y, queries = train.double().numpy(), labels.numpy(), test.double().numpy()
    means = np.stack([x[y == label].mean(axis=0) for label in np.unique(y)])
    within = EmpiricalCovariance(assume_centered=True).fit(x - means[np.unique(y, return_inverse=True)[1]])
    total = EmpiricalCovariance().fit(x)
    nearest = np.min([within.mahalanobis(queries - mean) for mean in means], axis=0)
    return nearest, total.mahalanobis(queries)


def virtual_logit_reference(train, test, weight, bias, dimension):
    """Residual and ViM by the paper's equations: origin, principal space, alpha, virtual logit, its softmax share."""
    x, queries, w, b = (value.double().numpy() for value in (train, test, weight, bias))
    origin = -pinv(w.T) @ b
    values, vectors = eigh((x - origin).T @ (x - origin))
    null = vectors[:, np.argsort(-values)[dimension:]]
    length, train_length = norm((queries - origin) @ null, axis=1), norm((x - origin) @ null, axis=1)
    alpha = (x @ w + b).max(axis=1).sum() / train_length.sum()
    logits = queries @ w + b
    return length, softmax(np.column_stack([logits, alpha * length]), axis=1)[:, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logit_scores_are_scipys(dtype):
    (train, labels), (test, _) = sample(60, 12, dtype=dtype), sample(40, 12, seed=1, dtype=dtype)
    test[5] = test[4]
    parameters = head(12, dtype=dtype)
    logits = test.double().numpy() @ parameters["weight"].double().numpy() + parameters["bias"].double().numpy()
    scores = scored(train, labels, test)
    np.testing.assert_allclose(scores["msp"], softmax(logits, axis=1).max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(scores["max_logit"], logits.max(axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scores["energy"], logsumexp(logits, axis=1), rtol=1e-9, atol=1e-12)
    assert all(values[4] == pytest.approx(values[5], rel=1e-12) for values in scores.values())


@pytest.mark.parametrize("q", [0.0, 37.5, 90.0, 100.0])
def test_react_is_the_energy_of_features_cut_at_numpys_percentile(q):
    (train, labels), (test, _) = sample(60, 12), sample(40, 12, seed=1)
    parameters = head(12)
    clipped = np.minimum(test.double().numpy(), np.percentile(train.double().numpy(), q))
    expected = logsumexp(clipped @ parameters["weight"].double().numpy() + parameters["bias"].double().numpy(), axis=1)
    np.testing.assert_allclose(scored(train, labels, test, clip_percentile=q)["react"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("q", [0.0, 10.0, 33.3, 50.0, 90.0, 99.9, 100.0])
@pytest.mark.parametrize("values", [[2.0], [1.0, 3.0], [0.0] * 7 + [1.0, 5.0, 5.0], list(np.arange(31.0)[::-1])])
def test_percentiles_are_numpys_also_with_ties(values, q):
    assert percentile(torch.tensor(values), q) == pytest.approx(np.percentile(values, q), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [1, 2, CLASSES])
@pytest.mark.parametrize(("n", "d"), [(80, 10), (30, 40), (50, 1)])
def test_mahalanobis_scores_are_scikit_learns_also_with_fewer_pictures_than_features(n, d, classes, dtype):
    train, labels = sample(n, d, classes=classes, dtype=dtype)
    test, _ = sample(25, d, classes=classes, seed=1, dtype=dtype)
    nearest, whole = mahalanobis_references(train, labels, test)
    scores = scored(train, labels, test, parameters=head(d, classes=classes, dtype=dtype))
    np.testing.assert_allclose(scores["mahalanobis"], -nearest, rtol=1e-6)
    np.testing.assert_allclose(scores["relative_mahalanobis"], whole - nearest, rtol=1e-6, atol=1e-6 * nearest.max())


def test_a_repeated_and_a_constant_feature_change_no_mahalanobis_score():
    (train, labels), (test, _) = sample(500, 6), sample(30, 6, seed=1)
    plain = scored(train, labels, test)
    constant = torch.full((500, 1), 0.1)
    wide = torch.cat([train, train[:, :1], constant], dim=1)
    others = torch.cat([test, test[:, :1], constant[:30]], dim=1)
    parameters = head(8)
    fit = fit_ood(wide, labels, **parameters)
    assert fit.within.shape == fit.total.shape == (8, 6)
    scores = ood_scores.ood_scores(fit, others)
    for name in ("mahalanobis", "relative_mahalanobis"):
        np.testing.assert_allclose(scores[name].numpy(), plain[name], rtol=1e-6)


def test_classes_that_collapse_keep_their_digits():
    (train, labels), (test, _) = sample(90, 5, dtype=torch.float64), sample(20, 5, seed=1, dtype=torch.float64)
    centres = 1e4 * torch.eye(CLASSES, 5, dtype=torch.float64)
    train, test = 1e-2 * train + centres[labels], 1e-2 * test + centres[:1]
    nearest, _ = mahalanobis_references(train, labels, test)
    np.testing.assert_allclose(scored(train, labels, test)["mahalanobis"], -nearest, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 5, 50, 1000])
def test_knn_is_scikit_learns_distance_and_k_is_at_most_n(k, dtype):
    (train, labels), (test, _) = sample(70, 9, dtype=dtype), sample(30, 9, seed=1, dtype=dtype)
    train[10] = train[11]
    test[0], test[1] = 3 * train[10], train[20]
    unit = [value.double().numpy() / norm(value.double().numpy(), axis=1, keepdims=True) for value in (train, test)]
    found = NearestNeighbors(n_neighbors=min(k, 70), algorithm="brute").fit(unit[0]).kneighbors(unit[1])[1][:, -1]
    np.testing.assert_allclose(
        scored(train, labels, test, k=k)["knn"], -norm(unit[1] - unit[0][found], axis=1), atol=1e-6
    )


def test_knn_tells_features_apart_that_all_point_one_way():
    train, labels = sample(200, 8)
    test, _ = sample(40, 8, seed=1)
    train, test = 1000 + train / 10, 1000 + test / 10
    unit = [value.double().numpy() / norm(value.double().numpy(), axis=1, keepdims=True) for value in (train, test)]
    expected = np.sort(norm(unit[1][:, None] - unit[0][None], axis=2), axis=1)[:, 9]
    assert expected.max() < 1e-3
    np.testing.assert_allclose(-scored(train, labels, test, k=10)["knn"], expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("d", "dimension"), [(12, None), (12, 0), (12, 3), (12, 11), (800, None)])
def test_vim_and_residual_follow_the_papers_equations(d, dimension, dtype):
    (train, labels), (test, _) = sample(900 if d > 100 else 90, d, dtype=dtype), sample(30, d, seed=1, dtype=dtype)
    parameters = head(d, dtype=dtype)
    used = dimension if dimension is not None else {12: 6, 800: 512}[d]
    length, share = virtual_logit_reference(train, test, **parameters, dimension=used)
    scores = scored(train, labels, test, dimension=dimension)
    np.testing.assert_allclose(scores["residual"], -length, rtol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(scores["vim"])), share, rtol=1e-6)


@pytest.mark.parametrize(
    ("width", "rank", "expected"),
    [
        (4096, 4096, 1000),
        (2048, 2048, 1000),
        (2047, 2047, 512),
        (768, 768, 512),
        (768, 767, 511),
        (767, 767, 383),
        (1280, 600, 400),
        (1280, 1, 0),
        (2, 2, 1),
        (1, 1, 0),
        (64, 0, 0),
    ],
)
def test_the_principal_space_is_the_published_one_and_leaves_a_third_of_the_rank(width, rank, expected):
    assert principal_dimension(width, rank) == expected
    assert expected < rank or rank == 0


def test_a_softmax_heads_weights_that_sum_to_zero_do_not_blow_up_the_origin():
    weight, bias = head(30)["weight"], head(30)["bias"]
    weight, bias = weight - weight.mean(dim=1, keepdim=True), bias - bias.mean() + 1e-6
    origin = ood_statistics.head_origin(weight, bias)
    exact = ood_statistics.head_origin(weight.double() - weight.double().mean(dim=1, keepdim=True), bias.double())
    np.testing.assert_allclose(origin.numpy(), exact.numpy(), atol=1e-5)


def separable():
    """In: six units per class are on. Out: other units are."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    on = torch.eye(3).repeat_interleave(6, dim=1)
    inside = torch.cat([on[labels], torch.zeros(300, 12)], dim=1) * 5
    outside = torch.cat([torch.zeros(100, 18), 6 * torch.rand(100, 12, generator=generator)], dim=1)
    noise = [0.3 * torch.randn(rows.shape, generator=generator) for rows in (inside, outside)]
    weight = torch.cat([on.T, torch.zeros(12, 3)]) / 6
    return inside + noise[0], labels, outside + noise[1], {"weight": weight, "bias": torch.zeros(3)}


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_higher_for_pictures_like_the_training_ones(name):
    inside, labels, outside, parameters = separable()
    scores = scored(inside[:200], labels[:200], torch.cat([inside[200:], outside]), parameters=parameters)
    assert roc_auc_score([1] * 100 + [0] * 100, scores[name]) > 0.99


def test_react_resists_one_loud_unit_that_fools_the_energy():
    inside, labels, outside, parameters = separable()
    outside[:, 0] = 100
    scores = scored(inside[:200], labels[:200], torch.cat([inside[200:], outside]), parameters=parameters)
    is_in = [1] * 100 + [0] * 100
    assert roc_auc_score(is_in, scores["energy"]) < 0.01 < 0.99 < roc_auc_score(is_in, scores["react"])


def degenerate(kind: str):
    train, labels = sample(40, 8)
    if kind == "dead":
        train[:, ::2] = 0
    elif kind == "constant":
        train[:] = torch.linspace(0.1, 0.7, 8)
    elif kind == "zero":
        train[:] = 0
    elif kind == "one picture":
        train, labels = train[:1], labels[:1]
    elif kind == "one class":
        labels[:] = 2
    elif kind == "one picture per class":
        train, labels = train[:CLASSES], labels[:CLASSES]
    elif kind == "one width":
        train = train[:, :1]
    elif kind == "huge":
        train *= 1e15
    return train, labels


KINDS = ["dead", "constant", "zero", "one picture", "one class", "one picture per class", "one width", "huge"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_degenerate_training_features_give_finite_scores(kind, bias):
    train, labels = degenerate(kind)
    test = torch.cat([sample(10, 8, seed=1)[0][:, : train.shape[1]], train[:1], torch.zeros(1, train.shape[1])])
    parameters = head(train.shape[1])
    parameters["bias"] *= bias
    scores = scored(train, labels, test, parameters=parameters)
    assert all(np.isfinite(values).all() for values in scores.values())
    if kind in ("constant", "zero", "one picture", "one picture per class"):
        assert (scores["mahalanobis"] == 0).all()
    if kind in ("constant", "zero", "one picture"):
        assert (scores["relative_mahalanobis"] == 0).all()


def test_training_features_on_the_origin_leave_the_energy_to_vim():
    parameters = head(8)
    parameters["bias"][:] = 0
    scores = scored(torch.zeros(5, 8), torch.arange(5) % CLASSES, sample(10, 8)[0], parameters=parameters)
    np.testing.assert_array_equal(scores["vim"], scores["energy"])


@pytest.mark.parametrize(("n", "classes"), [(37, 3), (1001, 7)])
def test_constant_features_have_no_direction_whatever_their_mean_rounds_to(n, classes):
    features = torch.linspace(0.1, 0.7, 8, dtype=torch.float64).repeat(n, 1)
    moments = ood_statistics.Moments.fit(features, torch.arange(n) % classes)
    assert float(moments.total.abs().max()) > 0
    for covariance in (moments.within, moments.total):
        assert ood_statistics.whitening(covariance, count=n, scale=moments.scale).shape == (8, 0)


@pytest.mark.parametrize("seed", range(4))
def test_what_many_pictures_summands_round_to_is_no_direction(seed):
    one = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moments = ood_statistics.Moments.fit(torch.cat([one, one / 3, one * 0.7], dim=1), torch.zeros(20_000, dtype=int))
    assert ood_statistics.whitening(moments.within, count=20_000, scale=moments.scale).shape == (3, 1)


def test_a_class_without_pictures_has_no_mean():
    train, labels = sample(60, 6)
    test, _ = sample(20, 6, seed=1)
    kept = labels != 2
    nearest, _ = mahalanobis_references(train[kept], labels[kept], test)
    np.testing.assert_allclose(scored(train[kept], labels[kept], test)["mahalanobis"], -nearest, rtol=1e-6)


def test_scores_depend_neither_on_the_chunks_nor_on_the_other_pictures(monkeypatch):
    (train, labels), (test, _) = sample(90, 12), sample(41, 12, seed=1)
    whole = scored(train, labels, test)
    alone = [scored(train, labels, test[index : index + 1]) for index in (0, 40)]
    for chunk_bytes in (1, 12 * 8 * 7):
        monkeypatch.setattr(ood_statistics, "CHUNK_BYTES", chunk_bytes)
        assert ood_statistics.rows_at_once(12) == (1 if chunk_bytes == 1 else 7)
        for name, values in scored(train, labels, test).items():
            np.testing.assert_allclose(values, whole[name], rtol=1e-9, err_msg=name)
    for name in SCORES:
        assert [one[name][0] for one in alone] == pytest.approx([whole[name][0], whole[name][40]], rel=1e-9), name


def test_chunks_are_those_of_the_other_probes():
    assert ood_statistics.rows_at_once(1024) == knn.CHUNK_BYTES // 8192
    assert ood_statistics.rows_at_once(10**12) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_an_error_that_counts_them(value):
    train, labels = sample(20, 5)
    fit = fit_ood(train, labels, **head(5))
    broken = train.clone()
    broken[3, 2] = value
    with pytest.raises(NumericalError, match=r"1 of 20 pictures are not finite \(first: picture 3\)"):
        fit_ood(broken, labels, **head(5))
    with pytest.raises(NumericalError, match="1 of 20 pictures"):
        ood_scores.ood_scores(fit, broken)
    with pytest.raises(NumericalError, match="head"):
        fit_ood(train, labels, weight=head(5)["weight"] * value, bias=head(5)["bias"])


def test_scores_that_overflow_are_an_error():
    train, labels = sample(20, 5, dtype=torch.float64)
    fit = fit_ood(train, labels, **head(5, dtype=torch.float64))
    with pytest.raises(NumericalError, match="scores of 1 of 1"):
        ood_scores.ood_scores(fit, torch.full((1, 5), 1e200, dtype=torch.float64))


def test_no_pictures_are_an_error():
    train, labels = sample(20, 5)
    fit = fit_ood(train, labels, **head(5))
    with pytest.raises(DataError, match="no picture"):
        fit_ood(train[:0], labels[:0], **head(5))
    with pytest.raises(DataError, match="no picture"):
        ood_scores.ood_scores(fit, train[:0])


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"k": 0}, "k=0"),
        ({"clip_percentile": 101.0}, "clip_percentile=101"),
        ({"clip_percentile": float("nan")}, "clip_percentile=nan"),
        ({"dimension": 5}, "span 5"),
        ({"dimension": -1}, "at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong, match):
    train, labels = sample(20, 5)
    with pytest.raises(ConfigError, match=match):
        fit_ood(train, labels, **head(5), **wrong)


def test_shapes_and_labels_that_do_not_fit_are_refused():
    train, labels = sample(20, 5)
    for features, targets, parameters in [
        (train[:, :4], labels, head(5)),
        (train, labels[:19], head(5)),
        (train, labels.float(), head(5)),
        (train, labels - 1, head(5)),
        (train, labels + 1, head(5)),
        (train, labels, {"weight": head(5)["weight"], "bias": head(5)["bias"][:3]}),
    ]:
        with pytest.raises(ValueError, match=r"not|must be"):
            fit_ood(features, targets, **parameters)
    with pytest.raises(ValueError, match="not of shape"):
        ood_scores.ood_scores(fit_ood(train, labels, **head(5)), train[:, :4])


def test_names_choose_scores_and_an_unknown_one_gets_a_hint():
    train, labels = sample(20, 5)
    fit = fit_ood(train, labels, **head(5))
    whole = ood_scores.ood_scores(fit, train)
    some = ood_scores.ood_scores(fit, train, names=("vim", "msp"))
    assert list(some) == ["vim", "msp"]
    assert all(torch.equal(some[name], whole[name]) for name in some)
    with pytest.raises(UnknownNameError, match="Did you mean 'energy'"):
        ood_scores.ood_scores(fit, train, names=("energie",))


def test_every_score_names_its_paper_and_openoods_way():
    assert set(SCORES) == {"msp", "max_logit", "energy", "mahalanobis", "relative_mahalanobis", "knn"} | {
        "vim",
        "react",
        "residual",
    }
    for entry in map(OOD_SCORES.get, OOD_SCORES):
        assert "arXiv" in entry.source and entry.openood and entry.doc
        assert entry.name == ODIN or entry.function.__doc__.startswith("Return")


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(5, 3)).to(dtype)


def pictures(n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize(("temperature", "epsilon"), [(1000.0, 0.0014), (1.0, 0.05), (10.0, 0.0)])
def test_odin_steps_against_the_finite_difference_gradient(temperature, epsilon):
    model, images = network().eval(), pictures(2)
    expected = []
    with torch.no_grad():
        for image in images:
            label = int(model(image[None]).argmax())
            moves = 1e-5 * torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape)
            target = torch.full((len(moves),), label)
            ahead, behind = (
                nn.functional.cross_entropy(model(image + move) / temperature, target, reduction="none")
                for move in (moves, -moves)
            )
            slope = (ahead - behind).view(image.shape)
            assert float(slope.abs().min()) > 1e-13
            moved = image - epsilon * slope.sign() / torch.tensor(STD, dtype=torch.float64).view(3, 1, 1)
            logits = model(moved[None]).numpy() / temperature
            expected.append(softmax(logits, axis=1).max())
    found = odin_scores(model, images, std=STD, temperature=temperature, epsilon=epsilon)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_odin_raises_the_predicted_class_and_defaults_to_openoods_values():
    model, images = network().eval(), pictures(6)
    still = odin_scores(model, images, std=STD, epsilon=0.0)
    assert (odin_scores(model, images, std=STD) > still).all()
    assert (odin.TEMPERATURE, odin.EPSILON) == (1000.0, 0.0014)
    explicit = odin_scores(model, images, std=STD, temperature=1000.0, epsilon=0.0014)
    assert torch.equal(odin_scores(model, images, std=STD), explicit)


def test_odin_counts_a_zero_gradient_as_positive():
    class Threshold(nn.Module):
        """Its gradient is zero, but a picture under zero changes class scores."""

        def forward(self, images):
            level = images.mean(dim=(1, 2, 3))
            return torch.stack([(level < 0).to(level) + 0 * level, 0 * level], dim=1)

    score = odin_scores(Threshold(), torch.zeros(1, 3, 2, 2), std=STD, temperature=1.0, epsilon=0.1)
    assert float(score) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odin_scores_do_not_depend_on_the_batch(dtype):
    model, images = network(dtype).train(), pictures(9, dtype)
    whole = odin_scores(model, images, std=STD)
    alone = torch.cat([odin_scores(model, image[None], std=STD) for image in images])
    np.testing.assert_allclose(whole.numpy(), alone.numpy(), rtol=1e-12 if dtype == torch.float64 else 1e-8)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_odin_runs_on_a_frozen_module_and_leaves_everything_as_it_was(frozen, mode):
    model, images = network(), pictures(3)
    plain = odin_scores(model, images, std=STD)
    model.requires_grad_(not frozen)
    model[0].bias.requires_grad_(frozen)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    with mode():
        found = odin_scores(model, images.clone(), std=STD)
    assert torch.equal(found, plain)
    assert not found.requires_grad and not images.requires_grad
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_odin_restores_the_flags_when_the_model_fails():
    model = network()
    with pytest.raises(RuntimeError):
        odin_scores(model, torch.zeros(1, 2, 4, 4, dtype=torch.float64), std=STD[:2])
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_odin_refuses_what_it_cannot_score():
    model, images = network(), pictures(2)
    with pytest.raises(DataError, match="no picture"):
        odin_scores(model, images[:0], std=STD)
    with pytest.raises(ConfigError, match="temperature=0"):
        odin_scores(model, images, std=STD, temperature=0.0)
    with pytest.raises(ConfigError, match=r"epsilon=-0\.1"):
        odin_scores(model, images, std=STD, epsilon=-0.1)
    with pytest.raises(ValueError, match="one positive number per channel"):
        odin_scores(model, images, std=STD[:2])
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(NumericalError, match="logits"):
        odin_scores(model, images, std=STD)


def test_odin_refuses_a_gradient_that_is_not_finite():
    class Root(nn.Module):
        """Finite at zero, where its slope is not."""

        def forward(self, images):
            level = images.mean(dim=(1, 2, 3)).abs().sqrt()
            return torch.stack([level, -level], dim=1)

    with pytest.raises(NumericalError, match="gradient"):
        odin_scores(Root(), torch.zeros(1, 3, 2, 2), std=STD)
