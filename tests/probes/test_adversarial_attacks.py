"""Adversarial attacks: equal to steps written by hand, within their bounds, deterministic, without side effects."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest
import torch
from attack_helpers import shorten_autoattack
from torch import nn

from bob.backbones.backbone import InputConfig
from bob.core.errors import ConfigError, DataError, NumericalError
from bob.data.transforms import normalise
from bob.probes import adversarial_attacks as adversarial
from bob.probes.adversarial_attacks import Attack, attacked, robust_correct, to_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORM = {"mean": MEAN, "std": STD}
SIDE, CLASSES = 16, 5
SMALL = {"linf": 6.0, "l2": 120.0}  # fools the trained model on some pictures, not on all


def small_model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(8 * (SIDE // 2) ** 2, CLASSES),
        )


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator).float() / 255


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def predictions(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(normalised(images)).argmax(dim=1)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A model that tells 5 noisy patterns apart, pictures of them, and the labels."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.rand(CLASSES, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(80) % CLASSES
    noise = torch.rand(80, 3, SIDE, SIDE, generator=generator)
    images = ((0.06 * patterns[labels] + 0.94 * noise) * 255).round() / 255
    model = small_model()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(20):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(normalised(images)), labels).backward()
            optimiser.step()
    optimiser.zero_grad()
    model.eval()
    assert (predictions(model, images) == labels).float().mean() > 0.9
    return model, images, labels


def lengths(images: torch.Tensor, found: torch.Tensor, norm: str) -> torch.Tensor:
    change = (found.double() - images.double()).flatten(1) * 255
    return change.abs().amax(1) if norm == "linf" else change.norm(dim=1)


def by_hand(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, attack: Attack) -> torch.Tensor:
    """Steps up the loss from the pictures themselves, in float64."""
    model, eps = model.double(), attack.eps / 255
    steps, step = (1, eps) if attack.name == "fgsm" else (attack.steps, attack.step / 255)
    clean, found = images.double(), images.double()
    mean, std = torch.tensor(MEAN).double().view(-1, 1, 1), torch.tensor(STD).double().view(-1, 1, 1)
    for _ in range(steps):
        found.requires_grad_()
        loss = nn.functional.cross_entropy(model((found - mean) / std), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, found)
        length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved = found.detach() + step * (gradient.sign() if attack.norm == "linf" else gradient / length)
        change = moved - clean
        if attack.norm == "linf":
            change = change.clamp(-eps, eps)
        else:
            change = change * (eps / change.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)
        found = (clean + change).clamp(0, 1)
    model.float()
    return found


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_an_attack_equals_the_steps_written_by_hand(trained, name, norm):
    model, images, labels = trained
    steps = {"steps": 5, "random_start": False} if name == "pgd" else {}
    attack = Attack(name=name, norm=norm, eps=SMALL[norm], **steps)
    right = predictions(model, images) == labels
    found = attacked(model, images, labels, attack, **NORM)[right]
    expected = by_hand(model, images[right], labels[right], attack)
    # A component of the gradient within float32's rounding of 0 may take either sign: at most a few in ten thousand.
    differs = (found - expected).abs() > 1e-6
    assert differs.float().mean() <= (5e-4 if norm == "linf" else 0)


@pytest.mark.parametrize(
    "attack",
    [
        *(Attack(name="fgsm", norm=norm, eps=SMALL[norm]) for norm in SMALL),
        *(Attack(name="pgd", norm=norm, eps=SMALL[norm] * k, steps=7, restarts=2) for norm in SMALL for k in (1, 4)),
        *(Attack(name="pgd", norm=norm, eps=SMALL[norm], step_size=999, steps=3) for norm in SMALL),
        *(Attack(name="autoattack", norm=norm, eps=SMALL[norm]) for norm in SMALL),
    ],
    ids=lambda attack: attack.label,
)
def test_an_attack_stays_within_eps_and_within_the_pixel_range(trained, attack, monkeypatch):
    model, images, labels = trained
    shorten_autoattack(monkeypatch)
    found = attacked(model, images[:16], labels[:16], attack, **NORM)
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    moved = lengths(images[:16], found, attack.norm)
    assert float(moved.max()) <= attack.eps * (1 + 1e-5)
    assert float(moved.max()) > 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_takes_a_single_picture(trained, norm, monkeypatch):
    model, images, labels = trained
    shorten_autoattack(monkeypatch)
    attack = Attack(name="autoattack", norm=norm, eps=4 * SMALL[norm])
    right = robust_correct(model, images[:1], labels[:1], [attack], **NORM)
    assert right["clean"].tolist() == [True] and right[attack.label].tolist() == [False]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_stronger_attack_finds_at_least_what_the_weaker_finds(trained, norm, monkeypatch):
    model, images, labels = trained
    shorten_autoattack(monkeypatch)
    weak, strong, strongest = (Attack(name=name, norm=norm, eps=SMALL[norm]) for name in adversarial.NAMES)
    right = robust_correct(model, images, labels, [weak, strong, strongest], **NORM)
    assert list(right) == ["clean", weak.label, strong.label, strongest.label]
    clean, fgsm, pgd, autoattack = (value.sum() for value in right.values())
    assert clean > fgsm >= pgd >= autoattack
    assert fgsm > autoattack


def test_robust_correct_scores_the_pictures_that_attacked_returns(trained):
    model, images, labels = trained
    attack = Attack(name="pgd", eps=6, steps=5)
    right = robust_correct(model, images, labels, [attack], **NORM)
    found = attacked(model, images, labels, attack, **NORM)
    np.testing.assert_array_equal(right[attack.label], (predictions(model, found) == labels).numpy())
    np.testing.assert_array_equal(right["clean"], (predictions(model, images) == labels).numpy())
    assert right["clean"].dtype == np.bool_ and 0 < right[attack.label].sum() < right["clean"].sum()


@pytest.mark.parametrize("name", adversarial.NAMES)
def test_a_picture_already_wrong_is_not_attacked_and_stays_wrong(trained, name, monkeypatch):
    model, images, labels = trained
    shorten_autoattack(monkeypatch)
    wrong = labels.clone()
    wrong[::2] = (predictions(model, images)[::2] + 1) % CLASSES
    attack = Attack(name=name, eps=12)
    found = attacked(model, images, wrong, attack, **NORM)
    assert torch.equal(found[::2], images[::2])
    assert not torch.equal(found[1::2], images[1::2])
    assert not robust_correct(model, images, wrong, [attack], **NORM)[attack.label][::2].any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", adversarial.NAMES)
def test_eps_zero_changes_nothing(trained, name, norm):
    model, images, labels = trained
    attack = Attack(name=name, norm=norm, eps=0)
    assert torch.equal(attacked(model, images, labels, attack, **NORM), images)
    right = robust_correct(model, images, labels, [attack], **NORM)
    np.testing.assert_array_equal(right[attack.label], right["clean"])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["pgd", "autoattack"])
def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(trained, name, norm, monkeypatch):
    model, images, labels = trained
    shorten_autoattack(monkeypatch)
    attack = Attack(name=name, norm=norm, eps=SMALL[norm], **({"steps": 3} if name == "pgd" else {}))
    first, again, other = (
        attacked(model, images[:8], labels[:8], dataclasses.replace(attack, seed=seed), **NORM) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_treats_each_picture_as_if_it_were_alone(trained, norm):
    model, images, labels = trained
    attack = Attack(name="pgd", norm=norm, eps=SMALL[norm], steps=3, restarts=2)
    together = attacked(model, images[:6], labels[:6], attack, **NORM)
    alone = torch.cat([attacked(model, images[i : i + 1], labels[i : i + 1], attack, **NORM) for i in range(6)])
    assert ((together - alone).abs() > 1e-5).float().mean() < 1e-2  # the sign of a gradient of nearly 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball_and_differ_by_picture_restart_and_seed(norm):
    images = torch.rand(200, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    attack = Attack(name="pgd", norm=norm, eps=8)
    starts = adversarial._starts(images, attack, 0)
    length = lengths(torch.zeros_like(starts), starts, norm)
    # Uniform in a ball of 48 dimensions: the expected share of the radius is 48 / 49 in either norm.
    assert float(length.max()) <= 8 * (1 + 1e-6)
    assert float(length.mean()) / 8 == pytest.approx(48 / 49, abs=0.01)
    assert float(starts.mean()) == pytest.approx(0, abs=3e-4)
    others = (adversarial._starts(images, attack, 1), adversarial._starts(images, Attack(name="pgd", eps=8, seed=1), 0))
    assert not any(torch.equal(starts, other) for other in others)
    assert not torch.equal(starts[0], starts[1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_further_start_is_tried_on_the_pictures_still_right(trained, norm):
    model, images, labels = trained
    attacks = [Attack(name="pgd", norm=norm, eps=SMALL[norm], steps=1, restarts=count) for count in (1, 2, 20)]
    one, two, many = (robust_correct(model, images, labels, [each], **NORM)[each.label] for each in attacks)
    assert not (two & ~one).any() and not (many & ~two).any()
    assert one.sum() > many.sum() > 0


class Linear(nn.Module):
    """Logits (z, other * z) with z = weight . pixels + bias, behind the normalisation."""

    other = -1.0

    def __init__(self, weight: torch.Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
        z = (pixels * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([z, self.other * z], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_on_a_linear_model_an_attack_succeeds_exactly_beyond_the_known_distance(name, norm):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 8, 8, generator=generator)
    images = 0.5 + 0.1 * (torch.rand(6, 3, 8, 8, generator=generator) - 0.5)  # far from 0 and 1: no clipping
    z = (images * weight).flatten(1).sum(1)
    model = Linear(weight, bias=float(1 - z.min()))
    labels = torch.zeros(6, dtype=torch.int64)
    # The distance to z = 0 is z over the weight's dual norm.
    distance = 255 * (z - z.min() + 1) / (weight.abs().sum() if norm == "linf" else weight.norm())
    for index, share in [(0, 0.99), (0, 1.01), (3, 0.99), (3, 1.01)]:
        eps = share * float(distance[index])
        # At its default length, PGD's steps along one direction under L2 turn a start at right angles to it by all but
        # 9 degrees, whatever their number (tanh(2.5) of eps): longer ones reach the optimum itself.
        steps = {"steps": 50, "step_size": eps / 4} if name == "pgd" else {}
        attack = Attack(name=name, norm=norm, eps=eps, **steps)
        right = robust_correct(model, images[index : index + 1], labels[:1], [attack], **NORM)
        assert right["clean"][0] and right[attack.label][0] == (share < 1)


@pytest.mark.parametrize("gap", [5, 40, 4000])
def test_a_model_so_sure_that_float32_has_no_gradient_left_is_still_attacked(gap):
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    weight *= 10 * gap / weight.abs().sum()
    model = Linear(weight, bias=float(gap - weight.sum() / 2))
    model.other = 0.0  # logits (gap, 0) at a grey picture, 0.1 away from the boundary
    grey, labels = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, dtype=torch.int64)
    pixels = grey.clone().requires_grad_()
    nn.functional.cross_entropy(model(normalised(pixels)), labels).backward()
    assert pixels.grad.any() == (gap < 40)
    for eps, survives in ((25.4, True), (25.6, False)):
        right = robust_correct(model, grey, labels, [Attack(name="fgsm", eps=eps)], **NORM)
        assert right["clean"].tolist() == [True] and right[f"fgsm_linf_{eps:g}"].tolist() == [survives]


def test_the_loss_is_the_logarithm_of_the_cross_entropy():
    logits = 8 * torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(50) % 7
    expected = nn.functional.cross_entropy(logits, labels, reduction="none").log().sum()
    assert float(adversarial._log_cross_entropy(logits, labels)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", adversarial.NAMES)
def test_modes_gradients_flags_random_state_and_trace_are_as_before(trained, name, monkeypatch):
    model, images, labels = small_model(), *trained[1:]
    shorten_autoattack(monkeypatch)
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    model.train()
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    labels = torch.where(torch.arange(80) % 2 == 0, predictions(small_model().eval(), images), labels)
    state, numpy_state, trace = torch.get_rng_state(), np.random.get_state()[1].copy(), sys.gettrace()
    sys.settrace(tracer := lambda frame, event, argument: None)
    try:
        with torch.inference_mode():
            found = attacked(model, images[:8], labels[:8], Attack(name=name, eps=8), **NORM)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(trace)
    assert not torch.equal(found, images[:8])
    assert [module.training for module in model] == [True, False, *[True] * 6]
    assert model.training
    assert not model[0].weight.requires_grad and model[3].weight.requires_grad
    assert torch.equal(model[3].weight.grad, torch.ones_like(model[3].weight))
    assert model[0].weight.grad is None and model[7].weight.grad is None
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", adversarial.NAMES)
def test_a_channels_last_model_and_batch_give_the_same_answer(trained, name, norm, monkeypatch):
    model, images, labels = trained
    shorten_autoattack(monkeypatch)
    attack = Attack(name=name, norm=norm, eps=SMALL[norm])
    images, labels = images[:40], labels[:40]
    expected = robust_correct(model, images, labels, [attack], **NORM)[attack.label]
    last = small_model().to(memory_format=torch.channels_last)
    last.load_state_dict(model.state_dict())
    images = images.to(memory_format=torch.channels_last)
    got = robust_correct(last.eval(), images, labels, [attack], **NORM)[attack.label]
    assert (got != expected).sum() <= 1


class Constant(nn.Module):
    """A model that gives the same answer to every batch."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answer[: len(images)] + 0 * images.sum()


@pytest.mark.parametrize("name", adversarial.NAMES)
def test_running_out_of_memory_passes_through_and_leaves_the_model_as_it_was(name):
    model, passes = small_model().train(), []

    def fail_in_the_attack(module, inputs):
        passes.append(len(inputs[0]))
        if len(passes) == 2:  # the first one scores the clean pictures
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(fail_in_the_attack)
    images = pictures(8)
    with pytest.raises(torch.OutOfMemoryError):
        attacked(model, images, predictions(small_model().eval(), images), Attack(name=name, eps=1), **NORM)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_logits_that_are_not_finite_raise_numerical_error():
    images, labels = pictures(2), torch.zeros(2, dtype=torch.int64)
    for value in (float("nan"), float("inf")):
        with pytest.raises(NumericalError, match="logit"):
            attacked(Constant(torch.full((2, 3), value)), images, labels, Attack(name="fgsm", eps=1), **NORM)


def test_a_gradient_that_is_not_finite_raises_numerical_error():
    class Root(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            zero = (images * 0).flatten(1).sum(1).sqrt()  # 0, with an infinite slope times 0
            return torch.stack([1 + zero, zero], dim=1)

    with pytest.raises(NumericalError, match="gradient"):
        attacked(Root(), pictures(2), torch.zeros(2, dtype=torch.int64), Attack(name="fgsm", eps=1), **NORM)


def test_a_package_that_leaves_the_ball_is_caught(trained, monkeypatch):
    model, images, labels = trained
    attack = Attack(name="pgd", eps=2)
    for change in (2.01 / 255, 2.0):
        monkeypatch.setattr(adversarial, "_ascended", lambda pixels, images, *rest, by=change: images + by)
        with pytest.raises(NumericalError, match="pgd_linf_2 moved"):
            attacked(model, images * 0.9, labels, attack, **NORM)


ZERO = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (pictures(2)[:0], ZERO[:0], DataError, r"\(0, 3, 16, 16\)"),
        (pictures(2)[:, :1], ZERO, DataError, r"\(2, 1, 16, 16\)"),
        (pictures(2).double(), ZERO, DataError, "float64"),
        (pictures(2) * 2, ZERO, DataError, r"expected \[0, 1\]"),
        (pictures(2) - 0.5, ZERO, DataError, r"expected \[0, 1\]"),
        (pictures(2) * float("nan"), ZERO, NumericalError, "pixel"),
        (pictures(2), ZERO[:1], DataError, "expected 2 integers"),
        (pictures(2), ZERO.float(), DataError, "expected 2 integers"),
        (pictures(2), ZERO - 1, DataError, "expected 2 integers"),
        (pictures(2), ZERO + CLASSES, DataError, "label 5 is outside the model's 5 classes"),
    ],
)
def test_bad_pictures_or_labels_are_named(images, labels, error, words):
    for call in (attacked, lambda *args, **norm: robust_correct(*args[:3], [args[3]], **norm)):
        with pytest.raises(error, match=words):
            call(small_model(), images, labels, Attack(name="fgsm", eps=1), **NORM)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 4), (2, 3, 1)])
def test_a_model_that_gives_no_logits_is_named(shape):
    with pytest.raises(ConfigError, match=r"expected \(2, classes\) logits"):
        attacked(Constant(torch.zeros(shape)), pictures(2), ZERO, Attack(name="fgsm", eps=1), **NORM)


def test_autoattack_refuses_fewer_classes_than_its_loss_needs():
    logits = torch.tensor([[1.0, 0.0, 0.0]] * 2)
    with pytest.raises(ConfigError, match="3 classes"):
        attacked(Constant(logits), pictures(2), ZERO, Attack(name="autoattack", eps=1), **NORM)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "cw"},
        {"norm": "l1"},
        {"eps": -1},
        {"eps": float("nan")},
        {"steps": 0},
        {"step_size": 0},
        {"restarts": 0},
        {"restarts": 2, "random_start": False},
        {"seed": -1},
        {"name": "fgsm", "steps": 5},
        {"name": "fgsm", "restarts": 2},
        {"name": "autoattack", "step_size": 1.0},
        {"name": "autoattack", "random_start": False},
    ],
    ids=str,
)
def test_a_parameter_outside_what_it_may_be_is_named(wrong):
    field = list(wrong)[-1] if "restarts" not in wrong else "restarts"
    with pytest.raises(ConfigError, match=f"^{field} of an attack is"):
        Attack(**{"name": "pgd", "eps": 8, **wrong})


def test_pgd_steps_by_two_and_a_half_eps_over_all_steps_unless_told():
    assert Attack(name="pgd", eps=8, steps=10).step == 2
    assert Attack(name="pgd", eps=8, step_size=1.5).step == 1.5


def test_two_attacks_of_one_label_are_refused():
    twice = [Attack(name="pgd", eps=1, steps=steps) for steps in (1, 2)]
    with pytest.raises(ConfigError, match="pgd_linf_1, pgd_linf_1"):
        robust_correct(small_model(), pictures(2), ZERO, twice, **NORM)


@pytest.mark.parametrize(("name", "package"), [("fgsm", "foolbox"), ("pgd", "foolbox"), ("autoattack", "pyautoattack")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(trained, name, package, monkeypatch):
    model, images, labels = trained
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as caught:
        attacked(model, images, labels, Attack(name=name, eps=1), **NORM)
    assert f"attack {name!r} needs the package {package!r}" in caught.value.message
    assert caught.value.hint == "pip install 'battle-of-the-backbones[adversarial]'"


def test_importing_the_module_needs_no_attack_package(monkeypatch):
    for package in ("foolbox", "eagerpy", "pyautoattack"):
        monkeypatch.setitem(sys.modules, package, None)
    spec = importlib.util.spec_from_file_location("fresh_adversarial", adversarial.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.Attack(name="pgd", eps=8).label == "pgd_linf_8"


def test_to_pixels_undoes_the_loader_exactly_and_the_model_sees_what_the_loader_gave():
    levels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 16, 16, 3)
    given = InputConfig(image_size=16, mean=MEAN, std=STD, interpolation="bicubic", crop_pct=1.0)
    loaded = normalise(levels, given)
    pixels = to_pixels(loaded, **NORM)
    assert torch.equal(pixels, levels.movedim(-1, -3).float() / 255)
    assert torch.equal(adversarial._Pixels(nn.Identity(), MEAN, STD)(pixels), loaded)
