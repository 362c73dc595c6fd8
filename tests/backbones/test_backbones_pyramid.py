"""Every architecture gives the same pyramid: maps at the strides asked for, which let gradients through or freeze."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bob.backbones.catalogue import catalogue, find
from bob.backbones.loader import build_backbone, estimate_batch_norm, prepare
from bob.backbones.pyramid import STRIDES, PyramidModel, build_pyramid
from bob.backbones.resample import Resample
from bob.backbones.simple_pyramid import LevelNorms, SimplePyramid
from bob.core.errors import ConfigError

LARGE_M = 30
CANVAS = (64, 96)
ARCHS = {entry.arch: entry.params_m for entry in catalogue()}
WALK = [pytest.param(arch, marks=[pytest.mark.slow] if params_m >= LARGE_M else []) for arch, params_m in ARCHS.items()]


def pyramid(arch, canvas=CANVAS, seed=0, **kwargs):
    return build_pyramid(find(f"{arch}.random"), weights_path=None, canvas=canvas, seed=seed, **kwargs)


def pictures(canvas=CANVAS, count=2):
    return torch.randn(count, 3, *canvas, generator=torch.Generator().manual_seed(0))


def sizes(model):
    return [(model.canvas[0] // stride, model.canvas[1] // stride) for stride in model.strides]


def backward(model, canvas=CANVAS):
    torch.manual_seed(0)  # some transformers drop whole layers at random while they train
    maps = model.train()(pictures(canvas))
    # A map's plain sum would stop at a norm, whose outputs always add up to nothing.
    sum((features * torch.rand_like(features)).square().sum() for features in maps).backward()
    return maps


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, before):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("arch", WALK)
def test_every_architecture_gives_the_pyramid_learns_in_every_layer_and_freezes(arch):
    model = pyramid(arch)
    assert model.body.features(pictures(model.body.canvas)).shape == (2, model.body.width)
    before = copied(model)
    maps = backward(model)
    assert model.strides == STRIDES
    assert [tuple(features.shape) for features in maps] == [
        (2, channels, *size) for channels, size in zip(model.channels, sizes(model), strict=True)
    ]
    assert all(torch.isfinite(features).all() for features in maps)
    assert not model.emulated_stride

    groups = model.layer_groups()
    assert 4 <= len(groups) <= 31
    reached = [any(p.grad is not None and bool(p.grad.abs().sum() > 0) for _, p in group) for group in groups]
    assert all(reached), f"groups without a gradient: {[i for i, ok in enumerate(reached) if not ok]}"
    parameters = dict(model.named_parameters())
    grouped = {name: parameter for group in groups for name, parameter in group}
    assert all(parameters[name] is parameter for name, parameter in grouped.items())
    assert set(grouped) == {name for name, p in parameters.items() if p.grad is not None}
    assert set(grouped) == {name for name, p in parameters.items() if p.requires_grad}
    assert changed(model, before) == set(), "statistics moved"

    again = {"taps": model._taps, "canvas": CANVAS, "strides": STRIDES, "name": arch}
    model.zero_grad()
    assert_freezes(PyramidModel(model.body, frozen=True, **again))


def assert_freezes(model):
    before = copied(model)
    maps = model.train()(pictures())
    own = list(model.neck.parameters())
    assert not any(module.training for module in model.body.modules())
    assert not any(parameter.requires_grad for parameter in model.body.parameters())
    assert [len(group) for group in model.layer_groups()] == ([len(own)] if own else [])
    assert all(features.requires_grad is bool(own) for features in maps)
    if own:
        sum((features * torch.rand_like(features)).sum() for features in maps).backward()
        torch.optim.SGD(own, lr=0.1).step()
    assert changed(model, before) == {name for name in before if name.startswith("neck.")}


@pytest.mark.parametrize(
    ("arch", "emulated"),
    [
        ("tf_efficientnet_lite0", False),
        ("mobilenetv2_100", False),
        ("mobilenetv3_small_100", False),
        ("mobilenetv4_conv_small", False),
        ("resnet18", False),
        ("regnety_008", False),
        ("convnext_atto", False),
        ("vit_tiny_patch16_224", False),
        ("eva02_tiny_patch14_224", False),
        ("swin_tiny_patch4_window7_224", True),
        pytest.param("resnet50_clip", False, marks=pytest.mark.slow),
        pytest.param("swinv2_tiny_window8_256", True, marks=pytest.mark.slow),
        pytest.param("hiera_tiny_224", True, marks=pytest.mark.slow),
    ],
)
def test_an_output_stride_of_16_keeps_the_last_level_there(arch, emulated):
    model = pyramid(arch, output_stride=16)
    maps = backward(model)
    assert (model.strides, model.emulated_stride) == ((4, 8, 16, 16), emulated)
    assert [features.shape[2:] for features in maps] == sizes(model)
    assert all(p.grad is not None for group in model.layer_groups() for _, p in group)


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("arch", ["mobilenetv3_small_100", "mobilenetv4_conv_small"])
def test_networks_that_are_dilated_here_equal_timms_own_dilated_features(arch, output_stride):
    model = pyramid(arch, output_stride=output_stride)
    timms = timm.create_model(arch, features_only=True, output_stride=output_stride).eval()
    state = model.body.arch_module.state_dict()
    timms.load_state_dict({name: state[name] for name in timms.state_dict()})
    given = pictures().double()
    with torch.no_grad():
        wanted = timms.double()(given)[-len(STRIDES) :]
        for ours, theirs in zip(model.double()(given), wanted, strict=True):
            assert torch.allclose(ours, theirs)


def test_dilation_changes_the_grid_of_the_top_and_no_weight():
    plain, dilated = pyramid("resnet18"), pyramid("resnet18", output_stride=16)
    assert changed(dilated, plain.state_dict()) == set()
    with torch.no_grad():
        pairs = list(zip(plain(pictures()), dilated(pictures()), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs[:3])
    assert pairs[3][0].shape != pairs[3][1].shape


@pytest.mark.parametrize("arch", ["resnet18", "tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("levels", [(4, 8), (8, 16, 32), (32,)])
def test_only_what_the_chosen_levels_need_is_trained(arch, levels):
    model = pyramid(arch, levels=levels)
    maps = backward(model)
    assert model.strides == levels
    assert [features.shape[2:] for features in maps] == sizes(model)
    grouped = {name for group in model.layer_groups() for name, _ in group}
    assert grouped == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert grouped == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("arch", ["resnet18", "tf_efficientnet_lite0", "eva02_tiny_patch14_224"])
def test_the_body_still_pools_as_the_backbone_does(arch):
    canvas = (64, 64)
    model = pyramid(arch, canvas)
    side = model.body.image_size
    backbone = build_backbone(find(f"{arch}.random"), weights_path=None, image_size=side, seed=0)
    given = pictures((side, side))
    with torch.no_grad():
        assert torch.equal(model.body.features(given), backbone(given))
    assert (model.body.width, model.body.pooling) == (backbone.width, backbone.pooling)


def test_statistics_stay_while_affine_weights_of_batch_norm_learn():
    model = pyramid("resnet18").train()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert model.training and model.body.arch_module.layer1.training
    assert norms and not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)
    model.eval().train()
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_controls_statistics_are_estimated_through_the_pyramid(frozen):
    model = pyramid("resnet18", frozen=frozen).train()
    assert model.has_batch_norm
    given = pictures(count=4) * 2 + 1
    with torch.no_grad():
        stem = model.body.arch_module.conv1(given)
    estimate_batch_norm(model, [given])
    assert torch.allclose(model.body.arch_module.bn1.running_mean, stem.mean(dim=(0, 2, 3)), atol=1e-4)
    assert not any(module.training for module in model.modules() if isinstance(module, _BatchNorm))
    assert model.training
    top = model.eval()(given)[-1]
    assert 0.05 < float(top.detach().std()) < 20


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_preparing_changes_the_layout_and_no_number(arch):
    model = pyramid(arch)
    with torch.inference_mode():
        before = model(pictures())
        assert prepare(model, "cpu") is model
        after = model(pictures())
    assert model.body.memory_format is torch.channels_last
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True))


def test_the_neck_is_the_same_for_a_seed_and_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(2)
    torch.manual_seed(5)
    first, second, other = (pyramid("vit_tiny_patch16_224", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), wanted)
    assert changed(second, first.state_dict()) == set()
    assert "neck.levels.0.0.weight" in changed(other, first.state_dict())
    assert any(name == "body.arch_module.pos_embed" for name in first.no_decay_names)


def test_necks_are_those_of_the_published_detectors():
    assert isinstance(pyramid("resnet18").neck, nn.Identity)
    assert isinstance(pyramid("convnext_atto").neck, LevelNorms)
    plain = pyramid("vit_tiny_patch16_224")
    assert plain.channels == (256,) * 4
    finest = [type(layer).__name__ for layer in plain.neck.levels[0]]
    assert finest[:4] == ["ConvTranspose2d", "LayerNorm2d", "GELU", "ConvTranspose2d"]
    assert [getattr(layer, "out_channels", None) for layer in plain.neck.levels[0]][:4:3] == [96, 48]
    assert [len(level) for level in plain.neck.levels] == [8, 5, 4, 5]


@pytest.mark.parametrize("base", [4, 8, 16, 32])
def test_a_simple_pyramid_makes_every_stride_from_a_map_of_any(base):
    neck = SimplePyramid(24, base=base, strides=STRIDES, channels=16)
    maps = neck([torch.randn(1, 24, 64 // base, 96 // base)])
    assert [tuple(features.shape) for features in maps] == [(1, 16, 64 // s, 96 // s) for s in STRIDES]


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_the_map_of_a_plain_transformer_is_its_last_blocks_normalised(arch):
    model = pyramid(arch, canvas=(32, 64))
    given = pictures(model.body.canvas)
    module = model.body.arch_module
    with torch.no_grad():
        (features,) = model._taps.maps(module, given)
        tokens = module.forward_features(given)[:, module.num_prefix_tokens :]
        wanted = module.fc_norm(tokens) if isinstance(module.norm, nn.Identity) else tokens
    assert torch.allclose(features.flatten(2).transpose(1, 2), wanted, atol=1e-5)
    assert torch.allclose(features.mean(dim=1), torch.zeros(()), atol=1e-4)


def test_resampling_puts_each_cell_where_it_is_in_the_picture():
    # Cells of 14 pixels whose value is the position of their centre, read off at centres of cells of 16 pixels.
    across = (torch.arange(7) + 0.5) * 14
    down = (torch.arange(5) + 0.5) * 14
    given = torch.stack([across.expand(5, 7), down[:, None].expand(5, 7)])[None]
    moved = Resample((5, 7), (14, 14), target=(4, 6), stride=16)(given)
    assert torch.allclose(moved[0, 0], ((torch.arange(6) + 0.5) * 16).clamp(max=91).expand(4, 6))
    assert torch.allclose(moved[0, 1], ((torch.arange(4) + 0.5) * 16).clamp(max=63)[:, None].expand(4, 6))


def test_resampling_to_half_the_stride_is_torchs_bilinear_upsampling():
    given = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    moved = Resample((4, 5), (32, 32), target=(8, 10), stride=16)(given)
    assert torch.allclose(moved, nn.functional.interpolate(given, scale_factor=2, mode="bilinear"), atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"canvas": (64, 100)}, "canvas 64 x 100 is impossible: expected multiples of 32 pixels"),
        ({"canvas": (0, 32)}, "canvas 0 x 32 is impossible"),
        ({"levels": (8, 4)}, r"levels \[8, 4\] are impossible"),
        ({"levels": (2, 4)}, r"levels \[2, 4\] are impossible"),
        ({"levels": ()}, r"levels \[\] are impossible"),
        ({"output_stride": 12}, "output_stride 12 is impossible"),
    ],
)
def test_an_impossible_pyramid_is_a_clear_error(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        pyramid("resnet18", **kwargs)
