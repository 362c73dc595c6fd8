"""ODIN (Liang et al. 2018, arXiv 1706.02690): softmax at a high temperature after a step to the predicted class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bob.core.errors import ConfigError, DataError, NumericalError

TEMPERATURE = 1000.0
EPSILON = 0.0014


def odin_scores(
    model: nn.Module,
    images: Tensor,
    *,
    std: Sequence[float],
    temperature: float = TEMPERATURE,
    epsilon: float = EPSILON,
) -> Tensor:
    """Score pictures by a gradient pass and a second forward pass; higher is more in-distribution.

    With p the softmax of ``logits / temperature`` and y its largest class, a picture x becomes
    ``x - epsilon / std * sign(gradient of -log p_y)``; the score is the largest p of that. As in OpenOOD v1.5
    ``epsilon`` is a share of the pixel range [0, 1], so it is divided by the ``std`` that normalised each channel, and
    a gradient of zero counts as positive. The softmax is in float64: at T = 1000 all probabilities are close to 1 / c.

    The model runs in evaluation mode, so no picture's score depends on its batch. Its parameters need no gradient;
    their flags, their gradients and each module's mode are afterwards what they were.

    Args:
        model: Returns (n, c) logits.
        images: (n, channels, H, W), normalised, on the model's device.
        std: What each channel was divided by, channels of them.
        temperature: Above 0.
        epsilon: 0 or more.

    Returns:
        (n,) in float64, in [1 / c, 1].

    Raises:
        ConfigError: A parameter is outside what it may be.
        DataError: There is no picture.
        NumericalError: A logit or a gradient is not finite.
        ValueError: ``std`` does not have one positive number per channel.
    """
    _check(images, std, temperature, epsilon)
    with _frozen(model), torch.inference_mode(False):
        x = images.detach().clone()
        step = epsilon / torch.tensor(std, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        gradient = _gradient(model, x, temperature)
        moved = x - step * torch.where(gradient >= 0, 1.0, -1.0).to(x.dtype)
        with torch.no_grad():
            return torch.softmax(_logits(model, moved) / temperature, dim=1).amax(dim=1)


def _gradient(model: nn.Module, images: Tensor, temperature: float) -> Tensor:
    with torch.enable_grad():
        x = images.clone().requires_grad_(True)
        logits = _logits(model, x)
        # A sum, not a mean: the sign of a tiny gradient must not vanish in a large batch.
        loss = nn.functional.cross_entropy(logits / temperature, logits.detach().argmax(dim=1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
    if not torch.isfinite(gradient).all():
        raise NumericalError("ODIN's input gradient is not finite.", hint="Run ODIN with precision fp32.")
    return gradient


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    logits = model(images).double()
    if not torch.isfinite(logits).all():
        raise NumericalError("the logits of ODIN's pass are not finite.", hint="Run ODIN with precision fp32.")
    return logits


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.requires_grad_(False)
        model.eval()
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def _check(images: Tensor, std: Sequence[float], temperature: float, epsilon: float) -> None:
    if images.ndim != 4 or len(std) != images.shape[1] or not all(value > 0 for value in std):
        raise ValueError(f"std {tuple(std)} is not one positive number per channel of images {tuple(images.shape)}.")
    if len(images) == 0:
        raise DataError("there is no picture to score: expected at least one.", hint="Check the data set's splits.")
    if not temperature > 0 or not epsilon >= 0:
        raise ConfigError(
            f"temperature={temperature:g}, epsilon={epsilon:g}: expected above 0 and not below 0.",
            hint=f"OpenOOD's are {TEMPERATURE:g} and {EPSILON:g}.",
        )
