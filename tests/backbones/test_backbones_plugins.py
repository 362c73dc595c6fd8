"""A user's own backbone works from one file, with an identity made of its weights or its code."""

from __future__ import annotations

import hashlib
import re
import textwrap

import pytest
import torch
from safetensors.torch import save_file

from bob.backbones import user_backbones
from bob.backbones.catalogue import catalogue, find, match
from bob.backbones.loader import build_backbone, build_classifier
from bob.backbones.weights import locate
from bob.core.errors import BobError, UnknownNameError, WeightsError, WeightsMissingError
from bob.core.plugins import load_plugin

HEADER = """
from bob.backbones.catalogue import register
from bob.backbones.backbone import Backbone, InputConfig

INPUT = InputConfig(image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0)

def spec(name="tiny_net.mine"):
    return Backbone(name=name, family="mine", pretrain_method="supervised", pretrain_data="mine", params_m=0.003,
                    license="MIT", input=INPUT)
"""
MAP = """
def build(image_size):
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 24, 4, stride=4), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 1))
"""
CALL = "\nregister(spec(), build=build{more})\n"


pytestmark = pytest.mark.usefixtures("fresh_plugins")


@pytest.fixture
def plugin(tmp_path):
    def write(body=MAP, more="", call=CALL, name="mine.py"):
        path = tmp_path / name
        path.write_text(HEADER + body + call.format(more=more))
        return path

    return write


def weights_file(path):
    from torch import nn

    torch.manual_seed(3)
    layers = nn.Sequential(nn.Conv2d(3, 24, 4, stride=4), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 1))
    save_file(layers.state_dict(), path)
    return layers.eval()


def test_a_file_adds_a_backbone_to_the_catalogue_and_its_filters(plugin):
    load_plugin(plugin())
    assert catalogue()[-1].name == "tiny_net.mine"
    assert [entry.name for entry in match({"family": "mine"})] == ["tiny_net.mine"]
    assert find("tiny_net.mine").source == "mine.py:build"


def test_a_map_is_averaged_into_a_vector_and_its_layers_are_grouped(plugin):
    load_plugin(plugin())
    model = build_backbone(find("tiny_net.mine"), weights_path=None, image_size=64, seed=0)
    pictures = torch.randn(2, 3, 64, 64)
    assert model.width == 32
    assert torch.allclose(model(pictures), model.arch_module(pictures).mean(dim=(2, 3)))
    assert len(model.layer_groups()) == 3


def test_weights_beside_the_file_are_loaded_strictly_and_are_the_identity(plugin, tmp_path):
    own = weights_file(tmp_path / "tiny.safetensors")
    load_plugin(plugin(more=', weights="tiny.safetensors"'))
    file = locate(find("tiny_net.mine"), weights_dirs=[], cache_dir=tmp_path / "cache")
    assert file.source == "user"
    assert file.sha256 == hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    model = build_backbone(find("tiny_net.mine"), weights_path=file.path, image_size=64, seed=0)
    assert torch.equal(model.arch_module[3].weight, own[3].weight)


def test_without_weights_the_code_is_the_identity_and_a_change_of_it_is_another(plugin, tmp_path):
    path = plugin()
    load_plugin(path)
    first = locate(find("tiny_net.mine"), weights_dirs=[], cache_dir=tmp_path / "cache")
    assert (first.source, first.sha256) == ("code", hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_text(path.read_text() + "\n# changed\n")
    load_plugin(path)
    assert locate(find("tiny_net.mine"), weights_dirs=[], cache_dir=tmp_path / "cache").sha256 != first.sha256


def test_the_control_of_an_own_architecture_is_random_and_loads_nothing(plugin, tmp_path):
    own = weights_file(tmp_path / "tiny.safetensors")
    load_plugin(plugin(more=', weights="tiny.safetensors"'))
    control = find("tiny_net.random")
    assert (control.is_control, control.pretrain_method) == (True, "none")
    one, two, other = (build_backbone(control, weights_path=None, image_size=64, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.arch_module[3].weight, two.arch_module[3].weight)
    assert not torch.equal(one.arch_module[3].weight, other.arch_module[3].weight)
    assert not torch.equal(one.arch_module[3].weight, own[3].weight)


def test_an_own_backbone_that_brings_its_weights_has_no_control(plugin, monkeypatch):
    monkeypatch.setattr("bob.backbones.catalogue.known_names", lambda: ("resnet50.a1_in1k",))
    load_plugin(plugin())
    with pytest.raises(UnknownNameError, match=r"build.*brings its weights"):
        find("tiny_net.random")


def test_weights_that_do_not_fit_or_are_not_there_are_errors(plugin, tmp_path):
    load_plugin(plugin(more=', weights="tiny.safetensors"'))
    with pytest.raises(WeightsMissingError, match=r"names '.*tiny.safetensors'"):
        locate(find("tiny_net.mine"), weights_dirs=[], cache_dir=tmp_path / "cache")
    save_file({"0.weight": torch.zeros(24, 3, 4, 4)}, tmp_path / "tiny.safetensors")
    with pytest.raises(WeightsError, match=r"missing: 0\.bias"):
        path = tmp_path / "tiny.safetensors"
        build_backbone(find("tiny_net.mine"), weights_path=path, image_size=64, seed=0)


def test_loading_the_same_file_again_does_nothing(plugin):
    path = plugin()
    load_plugin(path)
    before = user_backbones.user_backbone("tiny_net.mine")
    load_plugin(path)
    assert user_backbones.user_backbone("tiny_net.mine") is before


@pytest.mark.parametrize(
    ("body", "call", "message"),
    [
        (MAP, "\nregister(spec('resnet50.a1_in1k'), build=build)\n", "in the catalogue already"),
        (MAP, "\nregister(spec('tiny_net'), build=build)\n", "must be 'arch.tag'"),
        (MAP, "\nregister(spec('tiny_net.random'), build=build)\n", "must be 'arch.tag'"),
        ("\n1 / 0\n", "", "fails when it is loaded: ZeroDivisionError"),
        ("\ndef broken(:\n", "", "fails when it is loaded: SyntaxError"),
        (MAP, "", "registers nothing"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what_is_wrong(plugin, body, call, message):
    with pytest.raises(BobError, match=re.escape(message)):
        load_plugin(plugin(body=body, call=call))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BobError, match=r"nowhere.py' is not there"):
        load_plugin(tmp_path / "nowhere.py")


def test_a_module_that_cannot_be_pooled_is_an_error(plugin):
    load_plugin(plugin(body="\ndef build(image_size):\n    from torch import nn\n    return nn.Flatten(2)\n"))
    with pytest.raises(BobError, match=r"gives shape \(1, 3, 4096\) for one picture"):
        build_backbone(find("tiny_net.mine"), weights_path=None, image_size=64, seed=0)


def test_a_timm_like_module_is_used_through_its_own_pooling(plugin):
    body = """
    def build(image_size):
        import timm
        return timm.create_model("resnet10t", num_classes=1000)
    """
    load_plugin(plugin(body=textwrap.dedent(body)))
    entry = find("tiny_net.mine")
    model = build_backbone(entry, weights_path=None, image_size=64, seed=0)
    assert (model.width, model.pooling) == (512, "mean")
    assert build_classifier(entry, weights_path=None, image_size=64)(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_an_installed_package_adds_a_backbone_through_its_entry_point(tmp_path, monkeypatch):
    call = "\nregister(spec('packaged_net.v1'), build='own_nets:build')\n"
    (tmp_path / "own_nets.py").write_text(HEADER + MAP + call)
    info = tmp_path / "own_nets-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-nets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bob.plugins]\nown_nets = own_nets\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = locate(find("packaged_net.v1"), weights_dirs=[], cache_dir=tmp_path / "cache")
    assert (file.source, file.path) == ("code", tmp_path / "own_nets.py")
    assert build_backbone(find("packaged_net.v1"), weights_path=None, image_size=64, seed=0).width == 32


def test_the_documented_example_works(tmp_path, monkeypatch):
    from torch import nn

    text = user_backbones.__doc__.partition("::\n")[2].partition("\n``build(image_size")[0]
    path = tmp_path / "my_backbone.py"
    path.write_text(textwrap.dedent(text))
    save_file(nn.Sequential(nn.Conv2d(3, 64, 4, stride=4), nn.ReLU()).state_dict(), tmp_path / "tiny_net.safetensors")
    load_plugin(path)
    file = locate(find("tiny_net.mine"), weights_dirs=[], cache_dir=tmp_path / "cache")
    assert build_backbone(find("tiny_net.mine"), weights_path=file.path, image_size=64, seed=0).width == 64
