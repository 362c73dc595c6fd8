"""Layer decay acts on the updates, norms and biases do not decay, and the rate rises and falls as stated."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from bob.training.optimiser import build_adamw, lr_factor, parameter_groups, set_rates


def layers_of(model: nn.Sequential) -> list[list[tuple[str, nn.Parameter]]]:
    return [list(child.named_parameters(prefix=name)) for name, child in model.named_children()]


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_the_stems_update_is_smaller_by_the_decay_to_the_power_of_its_depth(model):
    groups = parameter_groups(layers_of(model), lr=1e-3, layer_decay=0.5, weight_decay=0.0)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = build_adamw(groups)
    set_rates(optimiser, 0.25)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    # Adam's first step has the size of its rate, whatever the gradient's.
    moved = {name: float((before[name] - value.detach()).abs().mean()) for name, value in model.named_parameters()}
    assert moved["3.weight"] == pytest.approx(0.25e-3, rel=1e-3)
    for name, value in moved.items():
        assert value == pytest.approx(0.25e-3 * 0.5 ** (3 - int(name[0])), rel=1e-2), name


def test_matrices_alone_decay(model):
    model[0].weight.requires_grad_(False)
    groups = parameter_groups(
        layers_of(model), lr=1e-3, layer_decay=1.0, weight_decay=0.1, no_decay_names=frozenset({"1.weight"})
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert {name for name, value in decay.items() if value > 0} == {"3.weight"}
    assert set(decay) == {name for name, _ in model.named_parameters()} - {"0.weight"}


def test_the_rate_rises_in_a_line_to_its_peak_and_falls_in_a_cosine():
    factors = [lr_factor(step, steps=20, warmup_steps=4) for step in range(20)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[4] == 1.0
    assert factors[12] == pytest.approx(0.5)
    assert all(a > b > 0 for a, b in itertools.pairwise(factors[4:]))
    assert lr_factor(0, steps=1, warmup_steps=0) == 1.0


def test_a_transformers_position_embedding_has_no_weight_decay():
    from bob.backbones.catalogue import find
    from bob.backbones.loader import build_backbone

    model = build_backbone(find("vit_tiny_patch16_224.random"), weights_path=None, image_size=32, seed=0)
    groups = parameter_groups(
        model.layer_groups(), lr=1.0, layer_decay=1.0, weight_decay=0.05, no_decay_names=model.no_decay_names
    )
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays[id(model.arch_module.pos_embed)] == 0.0
    assert decays[id(model.arch_module.blocks[0].attn.qkv.weight)] == 0.05
