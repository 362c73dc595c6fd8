"""A map is averaged over its height and width, wherever they stand in what a module gives; else it is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bob.backbones.backbone_model import BackboneModel
from bob.core.errors import ConfigError


class _Net(nn.Module):
    """A convolution whose map is given in different forms; ``only`` refuses any other canvas."""

    def __init__(self, gives, *, channels: int = 32, stride: int = 8, only: int | None = None) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, channels, stride, stride=stride)
        self.gives, self.only = gives, only

    def forward(self, x):
        if self.only is not None and x.shape[-1] != self.only:
            raise AssertionError(f"{x.shape[-1]} pixels")
        return self.gives(self.body(x))


def _first(y):
    return y


def _last(y):
    return y.permute(0, 2, 3, 1)


@pytest.mark.parametrize("only", [None, 64], ids=["any canvas", "one canvas"])
def test_channels_first_and_last_give_the_same_features(only) -> None:
    nets = [_Net(_first, only=only), _Net(_last, only=only)]
    nets[1].load_state_dict(nets[0].state_dict())
    first, last = (BackboneModel(net, image_size=64).eval() for net in nets)
    assert first.width == last.width == 32
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(first(pictures), last(pictures), atol=1e-6)


def test_as_many_channels_as_the_map_is_high_are_told_by_another_canvas() -> None:
    net = _Net(_last, channels=8)
    assert BackboneModel(net, image_size=64).map_axes == (1, 2)
    assert BackboneModel(_Net(_first, channels=8), image_size=64).map_axes == (2, 3)


@pytest.mark.parametrize(("gives", "axes"), [(_first, (2, 3)), (_last, (1, 2))])
def test_an_oblong_canvas_that_is_the_only_one_tells_by_its_shape(gives, axes) -> None:
    net = _Net(gives, only=96)
    assert BackboneModel(net, image_size=96, canvas=(64, 96)).map_axes == axes


def test_what_one_canvas_cannot_tell_is_refused() -> None:
    with pytest.raises(ConfigError, match="which axes are height and width cannot be told"):
        BackboneModel(_Net(_last, channels=8, only=64), image_size=64)


def test_a_map_that_is_pooled_already_is_told_by_its_shape() -> None:
    pool = nn.AdaptiveAvgPool2d(1)
    assert BackboneModel(_Net(pool), image_size=64).width == 32
    assert BackboneModel(_Net(lambda y: _last(pool(y))), image_size=64).width == 32


@pytest.mark.parametrize(
    ("gives", "shown"),
    [
        (lambda y: {"tokens": y}, "gives a dict"),
        (lambda y: (y, y), "gives a tuple"),
        (lambda y: y.flatten(2).transpose(1, 2), r"gives shape \(1, 64, 32\)"),
    ],
)
def test_other_answers_are_refused_by_name(gives, shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        BackboneModel(_Net(gives), image_size=64)


@pytest.mark.parametrize("side", [1, 7])
def test_a_map_of_one_size_on_an_oblong_canvas_is_averaged(side: int) -> None:
    net = _Net(nn.AdaptiveAvgPool2d(side))
    assert BackboneModel(net, image_size=96, canvas=(64, 96)).map_axes == (2, 3)
    as_many = _Net(nn.AdaptiveAvgPool2d(8), channels=8)
    assert BackboneModel(as_many, image_size=64).map_axes == (2, 3)
