"""Every architecture of the catalogue gives pooled vectors, lets gradients through and has layers to decay."""

from __future__ import annotations

import pytest
import torch

from bob.backbones.catalogue import catalogue, find, resolve_input
from bob.backbones.loader import build_backbone, estimate_batch_norm, prepare
from bob.core.errors import ConfigError

LARGE_M = 30
ARCHS = {entry.arch: entry.params_m for entry in catalogue()}
WALK = [pytest.param(arch, marks=[pytest.mark.slow] if params_m >= LARGE_M else []) for arch, params_m in ARCHS.items()]


def random_model(arch, size=64, **kwargs):
    control = find(f"{arch}.random")
    given = resolve_input(control, resolution="fixed", image_size=size).image_size
    return build_backbone(control, weights_path=None, image_size=given, seed=0, **kwargs)


@pytest.mark.parametrize("arch", WALK)
def test_every_architecture_pools_to_its_width_and_every_layer_learns(arch):
    model = random_model(arch)
    pictures = torch.randn(2, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0))
    features = model.train()(pictures)
    assert features.shape == (2, model.width)
    assert torch.isfinite(features).all()
    features.square().sum().backward()
    groups = model.layer_groups()
    assert 4 <= len(groups) <= 30
    named = [name for group in groups for name, _ in group]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    reached = [any(p.grad is not None and bool(p.grad.abs().sum() > 0) for _, p in group) for group in groups]
    assert all(reached), f"groups without a gradient: {[i for i, ok in enumerate(reached) if not ok]}"
    # Position embeddings are smaller at this size: up to 1.1 M for a backbone of 518 px.
    assert 0 <= ARCHS[arch] + 0.01 - sum(p.numel() for p in model.parameters()) / 1e6 < 1.2
    assert model.pooling != "none"


@pytest.mark.parametrize(
    ("arch", "size"), [("vit_tiny_patch16_224", 128), ("swinv2_tiny_window8_256", 128), ("hiera_tiny_224", 96)]
)
def test_transformers_are_built_for_the_size_that_was_asked_for(arch, size):
    model = random_model(arch, size)
    assert model.image_size == size
    assert model(torch.zeros(1, 3, size, size)).shape == (1, model.width)


def test_groups_run_from_the_stem_to_the_new_head():
    model = random_model("tf_efficientnet_lite0", num_classes=7)
    groups = model.layer_groups()
    assert groups[0][0][0] == "arch_module.conv_stem.weight"
    assert [name for name, _ in groups[-1]] == ["head.weight", "head.bias"]
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert model.features(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_a_new_head_starts_small_so_that_the_first_loss_is_that_of_chance():
    model = random_model("resnet18", num_classes=10)
    assert 0.008 < float(model.head.weight.detach().std()) < 0.012
    assert float(model.head.bias.detach().abs().max()) == 0.0


def test_a_control_is_the_same_for_a_seed_and_leaves_the_callers_generator_alone():
    torch.manual_seed(123)
    wanted = torch.rand(3)
    torch.manual_seed(123)
    first, second = random_model("resnet18"), random_model("resnet18")
    assert torch.equal(torch.rand(3), wanted)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = build_backbone(find("resnet18.random"), weights_path=None, image_size=64, seed=1)
    assert not torch.equal(other.arch_module.conv1.weight, first.arch_module.conv1.weight)


def test_a_size_that_an_architecture_cannot_take_is_an_error():
    with pytest.raises(ConfigError, match="takes multiples of 16 pixels: image_size 100"):
        build_backbone(find("vit_tiny_patch16_224.random"), weights_path=None, image_size=100, seed=0)


@pytest.mark.parametrize(("arch", "expected"), [("resnet18", True), ("vit_tiny_patch16_224", False)])
def test_batch_norm_is_reported(arch, expected):
    assert random_model(arch).has_batch_norm is expected


@pytest.mark.parametrize(("arch", "laid_out"), [("resnet18", True), ("vit_tiny_patch16_224", False)])
def test_preparing_changes_the_layout_of_convolutional_networks_and_no_number(arch, laid_out):
    model = random_model(arch)
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = model(pictures)
        prepared = prepare(model, "cpu")
        after = prepared(pictures)
    assert (prepared.memory_format is torch.channels_last) is laid_out
    assert torch.allclose(before, after, atol=1e-5)


def test_batch_norm_statistics_become_the_plain_average_over_the_batches():
    model = random_model("resnet18")
    pictures = torch.randn(3, 8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 + 1
    with torch.no_grad():
        stem = [model.arch_module.conv1(batch) for batch in pictures]
    wanted_mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in stem]).mean(0)
    wanted_var = torch.stack([out.var(dim=(0, 2, 3)) for out in stem]).mean(0)
    weights = {name: value.clone() for name, value in model.named_parameters()}
    model.train()
    model.arch_module.layer1.eval()
    estimate_batch_norm(model, pictures)
    norm = model.arch_module.bn1
    assert torch.allclose(norm.running_mean, wanted_mean, atol=1e-4)
    assert torch.allclose(norm.running_var, wanted_var, atol=1e-3)
    assert (norm.momentum, norm.training, model.arch_module.layer1.training) == (0.1, True, False)
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())


def test_estimating_the_statistics_twice_gives_the_same_bits():
    pictures = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    models = [random_model("resnet18"), random_model("resnet18")]
    for model in models:
        estimate_batch_norm(model, pictures)
    pairs = zip(models[0].buffers(), models[1].buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_statistics_need_a_batch_but_only_where_there_is_batch_norm():
    with pytest.raises(ConfigError, match="at least one batch"):
        estimate_batch_norm(random_model("resnet18"), [])
    estimate_batch_norm(random_model("vit_tiny_patch16_224"), iter(()))
