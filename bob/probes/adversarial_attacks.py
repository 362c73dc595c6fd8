"""Adversarial robustness: pictures changed within a small ball so that a classifier errs (FGSM, PGD, AutoAttack).

An attack works on pixels in [0, 1]; the backbone's own mean and standard deviation are applied inside the attacked
function, so that ``eps`` means the same for every backbone. FGSM and PGD are foolbox's, AutoAttack is its authors'
(pyautoattack); both come with the optional extra ``adversarial`` and are imported only when an attack runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.core.errors import ConfigError, DataError, NumericalError
from bob.data.loading import derived_seed

NAMES = ("fgsm", "pgd", "autoattack")
NORMS = ("linf", "l2")
LEVELS = 255
STEP_SHARE = 2.5
MOST_TARGETS = 9
LEAST_CLASSES = 4
SLACK = 1e-5  # what float32 may round off a picture's norm, relative to eps and absolute in the range [0, 1]
SURE = -20.0
INSTALL = "pip install 'battle-of-the-backbones[adversarial]'"
PACKAGES = {"fgsm": "foolbox", "pgd": "foolbox", "autoattack": "pyautoattack"}
FOOLBOX = {
    ("fgsm", "linf"): "LinfFastGradientAttack",
    ("fgsm", "l2"): "L2FastGradientAttack",
    ("pgd", "linf"): "LinfPGD",
    ("pgd", "l2"): "L2PGD",
}


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One untargeted attack; all lengths are in pixel levels, of which the range [0, 1] has 255.

    Attributes:
        name: "fgsm": one step of length ``eps`` along the gradient's sign, or along the gradient itself under L2
            (Goodfellow et al. 2015, arXiv 1412.6572). "pgd": projected steps from a random start (Madry et al. 2018,
            arXiv 1706.06083). "autoattack": the standard ensemble of APGD-CE, targeted APGD-DLR, targeted FAB and
            Square (Croce and Hein 2020, arXiv 2003.01690); it has no parameters of its own.
        norm: "linf" bounds each pixel's change, "l2" the root of a picture's summed squared changes.
        eps: The bound. The field's are 4 (ImageNet) and 8 (CIFAR) under L-inf; 127.5 (0.5 in the range [0, 1], CIFAR)
            and 765 (3.0, ImageNet) under L2. 0 changes nothing.
        steps: PGD's steps.
        step_size: PGD's step; None is 2.5 * eps / steps, with which each point of the ball is within reach of each
            start (Madry et al. 2018, on L2).
        random_start: Whether PGD starts at a point drawn uniformly from the ball, not at the picture.
        restarts: PGD's starts; a picture counts as right only if it is right after each of them.
        seed: Decides the starts.

    Raises:
        ConfigError: A value outside what it may be, or a parameter of PGD for an attack that has none.
    """

    name: str
    norm: str = "linf"
    eps: float
    steps: int = 20
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _expect(self.name in NAMES, "name", self.name, f"one of {', '.join(NAMES)}")
        _expect(self.norm in NORMS, "norm", self.norm, f"one of {', '.join(NORMS)}")
        _expect(math.isfinite(self.eps) and self.eps >= 0, "eps", self.eps, "a finite number from 0, in pixel levels")
        _expect(self.steps >= 1, "steps", self.steps, "at least 1")
        _expect(self.restarts >= 1, "restarts", self.restarts, "at least 1")
        step = self.step_size
        _expect(
            step is None or (math.isfinite(step) and step > 0), "step_size", step, "a finite number above 0, or None"
        )
        _expect(self.random_start or self.restarts == 1, "restarts", self.restarts, "1 without a random start")
        _expect(0 <= self.seed < 2**63, "seed", self.seed, "from 0 to 2^63 - 1")
        if self.name != "pgd":
            self._expect_no_pgd_parameters()

    @property
    def label(self) -> str:
        """Short name of attack, norm and bound, such as ``pgd_linf_8``."""
        return f"{self.name}_{self.norm}_{self.eps:g}"

    @property
    def step(self) -> float:
        """PGD's step in pixel levels."""
        return STEP_SHARE * self.eps / self.steps if self.step_size is None else self.step_size

    def _expect_no_pgd_parameters(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in ("steps", "step_size", "random_start", "restarts"):
                value = getattr(self, field.name)
                _expect(
                    value == field.default, field.name, value, f"its default, since {self.name!r} has no such thing"
                )


def require_packages(attacks: Sequence[Attack]) -> None:
    """Raise ConfigError if the package of one of the attacks is missing: before hours of training, not after them."""
    for attack in attacks:
        _library(PACKAGES[attack.name], attack)


def to_pixels(images: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn a loader's normalised 8-bit pictures back into pixels in [0, 1], rounded to whole pixel levels.

    Args:
        images: (n, 3, H, W) float32, normalised with ``mean`` and ``std``.
        mean: Per channel, of the range [0, 1].
        std: Per channel.
    """
    levels = (images.double() * _channels(std, images).double() + _channels(mean, images).double()) * LEVELS
    return levels.round().clamp(0, LEVELS).float().div(LEVELS)


def attacked(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Return adversarial pictures (n, 3, H, W), float32, within ``eps`` of the given ones and within [0, 1].

    A picture that the model already gets wrong is returned as it is. FGSM and PGD treat each picture by itself: PGD's
    start depends on the seed and the picture's pixels, not on its batch. AutoAttack draws per batch: the same seed and
    batch give the same pictures. Results are floats, not rounded to pixel levels. The model is in evaluation mode
    meanwhile; its modes, its gradients and torch's random state are as before afterwards. Running out of memory is the
    caller's to handle: half the batch goes through in half the memory.

    Args:
        model: Maps (n, 3, H, W), normalised, to (n, classes) logits, on the device of ``images``.
        images: (n, 3, H, W) float32 pixels in [0, 1].
        labels: (n,) integers in [0, classes).
        attack: What to do.
        mean: What the model's input is normalised with, per channel, of the range [0, 1].
        std: Likewise.

    Raises:
        DataError: No pictures; or pictures, labels or their shapes that are not as above.
        ConfigError: Too few classes for the attack, or its package is missing.
        NumericalError: NaN among the pixels; a logit or a gradient that is not finite; a package that left the ball.
    """
    labels = _checked(images, labels)
    pixels = _Pixels(model, mean, std)
    with _frozen(pixels):
        return _found(pixels, images, labels, _right(pixels, images, labels), attack)


def robust_correct(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[Attack],
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, np.ndarray]:
    """Return which pictures (n,) are still classified right after each attack, by ``Attack.label``; first ``clean``.

    A picture that is wrong in ``clean`` is wrong under every attack, without being attacked. All passes are of the
    model as it is (no autocast of ours), so ``clean`` is the base that a drop is to be measured from.

    Args:
        model: As for ``attacked``, and so are the others and the errors.
        images: Pixels in [0, 1].
        labels: One per picture.
        attacks: Of different labels, else a ConfigError.
        mean: Per channel.
        std: Per channel.
    """
    names = [attack.label for attack in attacks]
    if len(set(names)) != len(names):
        raise ConfigError(f"attacks {', '.join(names)}: each label is expected once.", hint="Run them in turn.")
    labels = _checked(images, labels)
    pixels = _Pixels(model, mean, std)
    with _frozen(pixels):
        clean = _right(pixels, images, labels)
        results = {"clean": clean}
        for attack in attacks:
            found = _found(pixels, images, labels, clean, attack)
            results[attack.label] = clean & _right(pixels, found, labels)
    return {name: right.cpu().numpy() for name, right in results.items()}


class _Pixels(nn.Module):
    """A classifier as a function of pixels in [0, 1], normalised exactly as ``bob.data.transforms`` does it."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.mean, self.std = tuple(mean), tuple(std)

    def forward(self, pixels: Tensor) -> Tensor:
        normalised = (pixels - _channels(self.mean, pixels)) / _channels(self.std, pixels)
        if normalised.requires_grad:
            normalised.register_hook(_expect_finite)
        return self.model(normalised).float()


def _expect_finite(gradient: Tensor) -> None:
    if not torch.isfinite(gradient).all():  # torch's sign of NaN is 0: the picture would look robust
        raise NumericalError("a pixel's gradient is not finite: expected finite ones.", hint="Try precision fp32.")


def _log_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over pictures of the cross-entropy's logarithm.

    Its gradient points where that of the cross-entropy does, but never vanishes: float32 rounds the latter to 0 for a
    model surer than 1 - 1e-7, which would look robust. With m the others' log-sum-exp less the own logit, the
    cross-entropy is softplus(m), whose logarithm is m far below 0.
    """
    own = logits.gather(1, labels[:, None]).squeeze(1)
    margin = logits.scatter(1, labels[:, None], -math.inf).logsumexp(dim=1) - own
    return torch.where(margin < SURE, margin, nn.functional.softplus(margin.clamp(min=SURE)).log()).sum()


def _found(pixels: nn.Module, images: Tensor, labels: Tensor, right: Tensor, attack: Attack) -> Tensor:
    found = images.detach().clone(memory_format=torch.contiguous_format)
    if attack.eps == 0 or not right.any():
        return found
    run = _autoattacked if attack.name == "autoattack" else _ascended
    found[right] = run(pixels, found[right], labels[right], attack)
    _expect_within(images, found, attack)
    return found


def _ascended(pixels: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    """FGSM or PGD: the result of the first start that fools the model, or of the first one."""
    found = _ascended_once(pixels, images, labels, attack, 0)
    for restart in range(1, attack.restarts):
        left = _right(pixels, found, labels).nonzero().flatten()
        if len(left) == 0:
            break
        again = _ascended_once(pixels, images[left], labels[left], attack, restart)
        fooled = ~_right(pixels, again, labels[left])
        found[left[fooled]] = again[fooled]
    return found


def _ascended_once(pixels: nn.Module, images: Tensor, labels: Tensor, attack: Attack, restart: int) -> Tensor:
    foolbox = _library(PACKAGES[attack.name], attack)
    options: dict[str, Any] = {"random_start": False}
    if attack.name == "pgd":
        options = {"random_start": attack.random_start, "steps": attack.steps, "abs_stepsize": attack.step / LEVELS}
    runner = getattr(foolbox.attacks, FOOLBOX[attack.name, attack.norm])(**options)
    # Foolbox draws all starts from torch's global state, which would make a picture's depend on its batch.
    runner.get_random_start = lambda x, epsilon: x + _starts(images, attack, restart)
    runner.get_loss_fn = lambda target, _: lambda x: type(x)(_log_cross_entropy(target(x).raw, labels))
    target = foolbox.PyTorchModel(pixels, bounds=(0, 1), device=images.device)
    return runner.run(target, images, labels, epsilon=attack.eps / LEVELS).detach()


def _starts(images: Tensor, attack: Attack, restart: int) -> Tensor:
    """Draw one point of the ball per picture, uniformly, by seed, restart and the picture's 8-bit pixels."""
    levels = (images * LEVELS).round().to(torch.uint8).cpu().numpy()
    seeds = [derived_seed(attack.seed, restart, zlib.crc32(picture.tobytes())) for picture in levels]
    draws = [_draw(images.shape[1:], attack.norm, torch.Generator().manual_seed(seed)) for seed in seeds]
    return (torch.stack(draws) * (attack.eps / LEVELS)).to(images.device, images.dtype)


def _draw(shape: torch.Size, norm: str, generator: torch.Generator) -> Tensor:
    if norm == "linf":
        return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    radius = torch.rand((), generator=generator, dtype=torch.float64) ** (1 / direction.numel())
    return direction * (radius / direction.norm())


def _autoattacked(pixels: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> Tensor:
    library = _library(PACKAGES[attack.name], attack)
    classes = _logits(pixels, images[:1]).shape[1]
    if classes < LEAST_CLASSES:
        raise ConfigError(
            f"the model has {classes} classes: autoattack's targeted loss is defined from {LEAST_CLASSES} on.",
            hint="Use pgd with restarts instead.",
        )
    with _global_state_kept():
        runner = library.AutoAttack(
            pixels,
            norm={"linf": "Linf", "l2": "L2"}[attack.norm],
            eps=attack.eps / LEVELS,
            seed=attack.seed,
            device=images.device,
            version="standard",
        )
        runner.apgd_targeted.n_target_classes = runner.fab.n_target_classes = min(MOST_TARGETS, classes - 1)
        found, _ = runner.run_standard_evaluation(images, labels, batch_size=len(images))
    return found.detach()


def _library(package: str, attack: Attack) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            # A row keeps the message alone: it names the extra too.
            f"attack {attack.name!r} needs the package {package!r} of the extra 'adversarial', which cannot be "
            f"imported: {error}.",
            hint=INSTALL,
        ) from error


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and gradients towards the pixels alone; all flags as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        with torch.inference_mode(False), torch.enable_grad():
            model.eval().requires_grad_(False)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def _global_state_kept() -> Iterator[None]:
    """AutoAttack seeds torch's global generators, and clears the trace function of a debugger or of coverage."""
    trace = sys.gettrace()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            sys.settrace(trace)


def _logits(pixels: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits = pixels(images)
    if logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        raise ConfigError(
            f"the model gives shape {tuple(logits.shape)}: expected ({len(images)}, classes) logits, 2 classes or more."
        )
    if not torch.isfinite(logits).all():
        raise NumericalError("a logit is not finite: expected finite ones.", hint="Try precision fp32.")
    return logits


def _right(pixels: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    logits = _logits(pixels, images)
    if int(labels.max()) >= logits.shape[1]:
        raise DataError(f"label {int(labels.max())} is outside the model's {logits.shape[1]} classes, counted from 0.")
    return logits.argmax(dim=1) == labels


def _checked(images: Tensor, labels: Tensor) -> Tensor:
    """Return the labels as int64 on the pictures' device, after checking both."""
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0 or images.dtype != torch.float32:
        found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise DataError(f"pictures are {found}: expected float32 (n, 3, H, W), none of them 0.")
    if labels.shape != (len(images),) or labels.is_floating_point() or int(labels.min()) < 0:
        raise DataError(f"labels have shape {tuple(labels.shape)}: expected {len(images)} integers from 0.")
    if not torch.isfinite(images).all():
        raise NumericalError("a pixel is not finite: expected numbers in [0, 1].")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise DataError(f"pixels go from {low:g} to {high:g}: expected [0, 1].", hint="Call to_pixels first.")
    return labels.to(images.device, torch.int64)


def _expect_within(images: Tensor, found: Tensor, attack: Attack) -> None:
    change = (found.double() - images.double()).flatten(1)
    length = float((change.abs().amax(1) if attack.norm == "linf" else change.norm(dim=1)).max()) * LEVELS
    low, high = float(found.min()), float(found.max())
    if not (length <= attack.eps * (1 + SLACK) + SLACK * LEVELS and low >= 0 and high <= 1):  # NaN too
        raise NumericalError(
            f"attack {attack.label} moved a picture by {length:g} pixel levels, to pixels from {low:g} to {high:g}: "
            f"expected at most {attack.eps:g} levels, within [0, 1].",
            hint="The attack's package is at fault: try another version of it.",
        )


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(tuple(values), dtype=torch.float32, device=like.device).view(-1, 1, 1)


def _expect(holds: bool, field: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{field} of an attack is {value!r}: expected {expected}.")
