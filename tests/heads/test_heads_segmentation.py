"""Segmentation heads: the same four on every pyramid, at any canvas, reproducible and able to learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bob.backbones.catalogue import find
from bob.backbones.pyramid import build_pyramid
from bob.backbones.weights import locate
from bob.core.errors import ConfigError, UnknownNameError
from bob.heads.head_registry import heads_that
from bob.heads.segmentation_heads import build_segmenter, pyramid_needs

SEG_HEADS = heads_that("semantic")
CLASSES = 5
CANVAS = (64, 96)
FAMILIES = (
    "tf_efficientnet_lite0",
    "vit_tiny_patch16_224",
    "convnext_atto",
    pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
)


class ToyPyramid(nn.Module):
    """A pyramid of one strided convolution per level: enough to test what stands on it."""

    def __init__(self, head: str) -> None:
        super().__init__()
        levels, stride = pyramid_needs(head)
        self.strides = tuple(min(level, stride) for level in levels)
        self.channels = tuple(8 * (place + 1) for place in range(len(levels)))
        self.no_decay_names = frozenset({"body.0.bias"})
        convolutions = [nn.Conv2d(3, c, s, stride=s) for c, s in zip(self.channels, self.strides, strict=True)]
        self.body = nn.ModuleList(convolutions)
        self.neck = nn.Identity()
        self.canvas = (96, 96)

    def forward(self, pictures):
        return [level(pictures) for level in self.body]

    def layer_groups(self):
        named = [(place, level.named_parameters()) for place, level in enumerate(self.body)]
        return [[(f"body.{place}.{name}", parameter) for name, parameter in level] for place, level in named]


def toy(head, *, seed=0, classes=CLASSES):
    torch.manual_seed(7)
    return build_segmenter(ToyPyramid(head), head=head, classes=classes, channels=32, seed=seed)


def real(backbone, head, *, frozen=False, classes=CLASSES, channels=32, weights_path=None):
    levels, stride = pyramid_needs(head)
    settings = {"canvas": CANVAS, "levels": levels, "output_stride": stride, "frozen": frozen, "seed": 0}
    pyramid = build_pyramid(find(backbone), weights_path=weights_path, **settings)
    return build_segmenter(pyramid, head=head, classes=classes, channels=channels)


def pictures(*size, count=2, seed=0):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("head", SEG_HEADS)
@pytest.mark.parametrize("size", [(64, 64), (64, 160), (96, 64)], ids=str)
def test_logits_have_the_size_of_the_pictures(head, size):
    logits = toy(head)(pictures(*size))
    assert logits.shape == (2, CLASSES, *size)


@pytest.mark.parametrize("head", SEG_HEADS)
def test_a_batch_of_one_trains(head):
    model = toy(head)
    loss = nn.functional.cross_entropy(model(pictures(64, 64, count=1)), torch.ones(1, 64, 64, dtype=torch.long))
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.head.parameters())


@pytest.mark.parametrize("head", SEG_HEADS)
def test_bfloat16_autocast_gives_float32_logits_near_the_exact_ones(head):
    model = toy(head).eval()
    images = pictures(64, 64)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(images)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("head", SEG_HEADS)
def test_the_seed_alone_decides_the_head_and_the_generator_is_left_alone(head):
    first = toy(head, seed=1)
    torch.manual_seed(1234)
    again = build_segmenter(ToyPyramid(head), head=head, classes=CLASSES, channels=32, seed=1)
    assert same(first.head, again.head)
    pyramid = ToyPyramid(head)
    before = torch.get_rng_state()
    other = build_segmenter(pyramid, head=head, classes=CLASSES, channels=32, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(first.head, other.head)


@pytest.mark.parametrize("head", SEG_HEADS)
def test_a_new_head_has_no_strong_opinion(head):
    model = toy(head)
    probabilities = model(pictures(64, 96)).softmax(dim=1)
    assert probabilities.shape[1] == CLASSES
    assert probabilities.sub(1 / CLASSES).abs().mean() < 0.15


@pytest.mark.parametrize("head", SEG_HEADS)
def test_every_parameter_is_in_exactly_one_layer_under_its_own_name(head):
    model = toy(head)
    listed = [(name, parameter) for layer in model.layers() for name, parameter in layer]
    assert sorted(name for name, _ in listed) == sorted(name for name, _ in model.named_parameters())
    assert all(model.get_parameter(name) is parameter for name, parameter in listed)
    assert all(name.startswith("head.") for name, _ in model.layers()[-1])
    assert model.no_decay_names == {"pyramid.body.0.bias"}
    assert model.head_params_m == sum(p.numel() for p in model.head.parameters()) / 1e6


@pytest.mark.parametrize("head", SEG_HEADS)
@pytest.mark.parametrize("arch", FAMILIES)
def test_every_head_takes_a_training_step_on_every_family(arch, head):
    model = real(f"{arch}.random", head)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    listed = {name for layer in model.layers() for name, _ in layer}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        logits = model(pictures(*CANVAS))
        nn.functional.cross_entropy(logits, torch.arange(CANVAS[1]).remainder(CLASSES).expand(2, *CANVAS)).backward()
        optimiser.step()
    assert logits.shape == (2, CLASSES, *CANVAS)
    assert listed == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved <= listed
    assert len(moved) > 0.9 * len(listed)  # an update may be too small for float32


@pytest.mark.parametrize("head", SEG_HEADS)
def test_on_a_frozen_backbone_only_what_is_new_learns(head):
    model = real("tf_efficientnet_lite0.random", head, frozen=True)
    model(pictures(*CANVAS)).square().mean().backward()
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in model.named_parameters() if not name.startswith("pyramid.body.")}


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "convnext_atto"])
def test_the_linear_head_is_linear_on_every_family(arch):
    model = real(f"{arch}.random", "linear", frozen=True).eval()
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all(name.startswith(("head.norms.", "head.levels.")) for name in learned)
    maps = model.pyramid(pictures(*CANVAS))
    assert [level.shape[1] for level in maps] == list(model.pyramid.channels)
    assert [CANVAS[0] // level.shape[2] for level in maps] == list(model.pyramid.strides)


@pytest.mark.parametrize("head", SEG_HEADS)
def test_two_pictures_are_learned_by_heart_from_packaged_weights(head, tmp_path):
    backbone = "tf_efficientnet_lite0.in1k"
    file = locate(find(backbone), weights_dirs=[], cache_dir=tmp_path)
    model = real(backbone, head, classes=2, weights_path=file.path)
    truth = torch.zeros(2, *CANVAS, dtype=torch.long)
    truth[0, 16:48, 16:48] = 1
    truth[1, 16:48, 48:80] = 1
    images = pictures(*CANVAS) * 0.2 + (truth[:, None] - 0.5) * torch.tensor([1.0, -0.5, 0.3])[:, None, None]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(images), truth)
        loss.backward()
        optimiser.step()
    right = model.eval()(images).argmax(dim=1) == truth
    assert right[truth == 1].float().mean() > 0.75
    assert right[truth == 0].float().mean() > 0.75


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"])
def test_deeplab_runs_real_backbones_at_output_stride_16_without_resampling(arch):
    model = real(f"{arch}.random", "deeplabv3plus")
    seen = {}
    model.head.decoder.aspp.register_forward_hook(lambda _, given, __: seen.update(top=given[0].shape[-2:]))
    model(pictures(*CANVAS))
    assert seen["top"] == (CANVAS[0] // 16, CANVAS[1] // 16)
    assert not model.pyramid.emulated_stride


def test_deeplab_joins_stride_4_with_stride_16_and_dilates_by_6_12_18():
    model = toy("deeplabv3plus")
    seen = {}
    model.head.decoder.aspp.register_forward_hook(lambda _, given, __: seen.update(top=given[0].shape[-2:]))
    model.head.decoder.block1.register_forward_hook(lambda _, given, __: seen.update(low=given[0].shape[-2:]))
    model(pictures(64, 96))
    assert seen == {"top": (4, 6), "low": (16, 24)}
    rates = {m.dilation[0] for m in model.head.decoder.aspp.modules() if isinstance(m, nn.Conv2d)}
    assert rates == {1, 6, 12, 18}


def test_the_linear_head_equals_one_classifier_on_the_resized_and_joined_levels():
    model = toy("linear").eval()
    maps = model.pyramid(pictures(64, 96))
    joined = torch.cat([nn.functional.interpolate(level, (16, 24), mode="bilinear") for level in maps], dim=1)
    weight = torch.cat([layer.weight for layer in model.head.levels], dim=1)
    expected = nn.functional.conv2d(joined / (1 + 1e-5) ** 0.5, weight, model.head.levels[0].bias)
    torch.testing.assert_close(model.head(maps), expected, rtol=1e-4, atol=1e-6)


def test_evaluation_of_one_picture_does_not_depend_on_its_batch():
    for head in SEG_HEADS:
        model = toy(head).eval()
        images = pictures(64, 64, count=3)
        torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-6)


def test_unfit_requests_are_refused_with_the_reason():
    with pytest.raises(UnknownNameError, match="Did you mean 'upernet'"):
        pyramid_needs("upernett")
    with pytest.raises(ConfigError, match="1 classes"):
        toy("fcn", classes=1)
    with pytest.raises(ConfigError, match="stride 4 and the top map at 16"):
        build_segmenter(ToyPyramid("upernet"), head="deeplabv3plus", classes=2)
    with pytest.raises(ConfigError, match="at least two levels"):
        build_segmenter(ToyPyramid("fcn"), head="upernet", classes=2)
