"""A pyramid on a rectangle is filled from the same checkpoint, completely; users' own modules get one as well."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from bob.backbones.catalogue import find
from bob.backbones.positions import resize_left_over
from bob.backbones.pyramid import build_pyramid
from bob.backbones.weights import locate
from bob.core.errors import ConfigError, WeightsError
from bob.core.plugins import load_plugin

CANVAS = (96, 160)
RESIZED = ("pos_embed", "relative_position_bias_table")
# One checkpoint of each way to hold positions, at its native square size: cells of its grid, tokens before them.
POSITIONS = {
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": ("pos_embed", (6, 10), 1),
    "vit_small_patch14_dinov2.lvd142m": ("pos_embed", (7, 12), 1),
    "eva02_tiny_patch14_224.mim_in22k": ("pos_embed", (7, 12), 1),
    "hiera_tiny_224.mae": ("pos_embed", (24, 40), 0),
    "resnet50_clip.openai": ("head.pos_embed", (3, 5), 1),
}
NAMES = (*POSITIONS, "swin_tiny_patch4_window7_224.ms_in1k", "swinv2_tiny_window8_256.ms_in1k")
SLOW = ("resnet50_clip.openai",)


def checkpoint(name, folder, **kwargs):
    torch.manual_seed(7)
    model = timm.create_model(name, **kwargs)
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def expected_positions(name, saved):
    key, grid, prefix = POSITIONS[name]
    value = saved[key] if saved[key].ndim == 3 else saved[key][None]
    resized = resample_abs_pos_embed(value, list(grid), num_prefix_tokens=prefix)
    return key, resized.reshape(-1, value.shape[-1])


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NAMES])
def test_every_tensor_comes_from_a_square_checkpoint_on_a_rectangle(name, tmp_path):
    path = checkpoint(name, tmp_path)
    model = build_pyramid(find(name), weights_path=path, canvas=CANVAS, seed=1)
    saved, own = load_file(path), model.body.arch_module.state_dict()
    for key, value in own.items():
        if value.shape == saved[key].shape:
            assert torch.equal(value, saved[key]), key
        else:
            assert any(word in key for word in RESIZED), key
    if name in POSITIONS:
        key, wanted = expected_positions(name, saved)
        assert torch.allclose(own[key].flatten(0, -2), wanted, atol=1e-6)
    with torch.no_grad():
        maps = model(torch.randn(1, 3, *CANVAS))
    assert [tuple(features.shape[2:]) for features in maps] == [(24, 40), (12, 20), (6, 10), (3, 5)]
    assert all(torch.isfinite(features).all() for features in maps)


def test_a_grid_with_as_many_cells_is_resized_as_well(tmp_path):
    # 2 x 98 cells are as many as the checkpoint's 14 x 14: timm would take them for the same.
    name, grid = "vit_tiny_patch16_224.augreg_in21k_ft_in1k", (2, 98)
    path = checkpoint(name, tmp_path)
    model = build_pyramid(find(name), weights_path=path, canvas=(grid[0] * 16, grid[1] * 16), levels=(32,), seed=0)
    saved = load_file(path)["pos_embed"]
    own = model.body.arch_module.pos_embed
    assert own.shape == saved.shape
    assert math.isqrt(saved.shape[1] - 1) == 14
    assert torch.allclose(own, resample_abs_pos_embed(saved, list(grid), num_prefix_tokens=1), atol=1e-6)
    assert not torch.allclose(own, saved, atol=1e-3)


def test_what_an_older_timm_leaves_on_the_square_grid_is_resized_and_nothing_twice():
    model = timm.create_model("vit_tiny_patch16_224", img_size=(32, 1568), depth=1)
    saved = {"pos_embed": torch.randn(model.pos_embed.shape)}
    model.pos_embed.data = saved["pos_embed"].clone()
    wanted = resample_abs_pos_embed(saved["pos_embed"], [2, 98], num_prefix_tokens=1)
    for _ in range(2):
        resize_left_over(model, saved)
        assert torch.allclose(model.pos_embed, wanted, atol=1e-6)


def test_a_checkpoint_that_lacks_a_tensor_is_refused_though_no_map_needs_it(tmp_path):
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    state = load_file(checkpoint(name, tmp_path))
    path = tmp_path / "less.safetensors"
    save_file({key: value for key, value in state.items() if key != "blocks.11.mlp.fc2.weight"}, path)
    with pytest.raises(WeightsError, match=r"missing: blocks.11.mlp.fc2.weight"):
        build_pyramid(find(name), weights_path=path, canvas=CANVAS, seed=0)


@pytest.mark.parametrize("output_stride", [32, 16])
def test_the_packaged_weights_give_timms_own_maps(output_stride, tmp_path):
    backbone = find("tf_efficientnet_lite0.in1k")
    path = locate(backbone, weights_dirs=[], cache_dir=tmp_path).path
    model = build_pyramid(backbone, weights_path=path, canvas=CANVAS, output_stride=output_stride, seed=0)
    timms = timm.create_model(backbone.arch, features_only=True, output_stride=output_stride, out_indices=(1, 2, 3, 4))
    packaged = list(torch.load(path, weights_only=True).values())
    own = timms.state_dict()
    timms.load_state_dict(dict(zip(own, packaged[: len(own)], strict=True)))
    given = torch.randn(1, 3, *CANVAS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for ours, theirs in zip(model(given), timms.eval()(given), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


PLUGIN = """
import torch
from torch import nn
from bob.backbones.catalogue import register
from bob.backbones.backbone import Backbone, InputConfig

INPUT = InputConfig(image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0)
{body}
register(Backbone(name="tiny_net.mine", family="mine", pretrain_method="supervised", pretrain_data="mine",
                  params_m=0.003, license="MIT", input=INPUT, size_multiple={multiple}), build=build)
"""
STRIDED = """
def build(image_size):
    return nn.Sequential(nn.Conv2d(3, 24, {stride}, stride={stride}), nn.BatchNorm2d(24), nn.Conv2d(24, 32, 1))
"""
READS_VALUES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.unused = nn.Conv2d(3, 32, 16, stride=16), nn.Linear(2, 2)
    def forward(self, x):
        return self.conv(x) if float(x.sum()) < 1e9 else None
def build(image_size):
    return Net()
"""
TAKES_CANVAS = """
class Net(nn.Module):
    def __init__(self, canvas):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 16, stride=16)
        self.positions = nn.Parameter(torch.zeros(32, canvas[0] // 16, canvas[1] // 16))
    def forward(self, x):
        return self.conv(x) + self.positions
def build(image_size, canvas=None):
    return Net(canvas or (image_size, image_size))
"""
VECTOR = """
def build(image_size):
    return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
SQUARE_ONLY = """
def build(image_size):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 4, stride=4)
        def forward(self, x):
            return self.conv(x) + torch.zeros(8, image_size // 4, image_size // 4)
    return Net()
"""


@pytest.fixture
def own_backbone(tmp_path, fresh_plugins):
    def write(body, multiple=1):
        path = tmp_path / "mine.py"
        path.write_text(PLUGIN.format(body=body, multiple=multiple))
        load_plugin(path)
        return find("tiny_net.mine")

    return write


@pytest.mark.parametrize(
    ("body", "multiple"),
    [
        (STRIDED.format(stride=4), 1),
        (STRIDED.format(stride=16), 1),
        (STRIDED.format(stride=12), 12),
        (STRIDED.format(stride=7), 1),
        (READS_VALUES, 1),
        (TAKES_CANVAS, 16),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_users_map_of_any_stride_becomes_a_pyramid(own_backbone, body, multiple, frozen):
    model = build_pyramid(
        own_backbone(body, multiple), weights_path=None, canvas=(64, 96), frozen=frozen, seed=0
    ).train()
    maps = model(torch.randn(2, 3, 64, 96))
    assert [tuple(features.shape) for features in maps] == [(2, 256, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    sum((features * torch.rand_like(features)).sum() for features in maps).backward()
    grouped = {name for group in model.layer_groups() for name, _ in group}
    assert grouped == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any(name.startswith("body.") for name in grouped) is not frozen
    assert not any("unused" in name for name in grouped)


def test_a_users_module_that_gives_only_vectors_is_told_what_is_needed(own_backbone):
    with pytest.raises(ConfigError, match=r"'tiny_net.mine' gives one vector per picture, shape \(1, 8\)") as caught:
        build_pyramid(own_backbone(VECTOR), weights_path=None, canvas=(64, 96), seed=0)
    assert "a map (N, C, H, W)" in str(caught.value)
    assert "before it is pooled" in str(caught.value)


def test_a_users_module_that_fails_on_a_rectangle_is_told_of_canvas(own_backbone):
    with pytest.raises(ConfigError, match=r"'tiny_net.mine' fails on a picture of 64 x 96 pixels") as caught:
        build_pyramid(own_backbone(SQUARE_ONLY), weights_path=None, canvas=(64, 96), seed=0)
    assert "canvas=None" in str(caught.value)
