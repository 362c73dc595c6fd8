"""Every catalogue entry is what timm says; names, controls and inputs resolve or fail with the next step."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version
from places import REPOSITORY

import bob
from bob.backbones import catalogue as cat
from bob.backbones import described_timm as described
from bob.backbones.backbone import Backbone
from bob.core.errors import BobError, ConfigError, UnknownNameError
from bob.core.settings import cache_dir_in_use

NAMES = [entry.name for entry in cat.catalogue()]


def facts_of(entry: Backbone) -> dict:
    return json.loads(json.dumps({**vars(entry), "input": vars(entry.input)}))


def timm_is_older_than_pinned() -> bool:
    pinned = re.search(r"^timm==(\S+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)[1]
    return Version(version("timm")) < Version(pinned)


def licenses_stated_here(license_: str) -> set[str]:
    """What timm may say of this licence: an older timm than the pinned one leaves most of them out."""
    return {license_, "unknown"} if timm_is_older_than_pinned() else {license_}


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_what_timm_says(name):
    from bob.backbones.describe_timm import describe

    entry = facts_of(cat.find(name))
    truth = describe(name)
    # timm 1.0.20 leaves more of this one's attention pool out together with its classifier.
    allowed = 4.3 if name == "resnet50_clip.openai" and timm_is_older_than_pinned() else 0.1
    assert abs(entry.pop("params_m") - truth.pop("params_m")) <= allowed
    assert truth.pop("license") in licenses_stated_here(entry["license"])
    assert {key: entry[key] for key in truth} == truth


def test_the_catalogue_is_large_unique_and_covers_the_study():
    assert len(NAMES) == len(set(NAMES)) >= 25
    methods = {entry.pretrain_method for entry in cat.catalogue()}
    assert {"supervised", "DINO", "DINOv2", "MAE", "CLIP"} <= methods
    families = {entry.family for entry in cat.catalogue()}
    assert {"resnet", "convnext", "vit", "swin", "swinv2", "efficientnet", "mobilenet", "regnet", "hiera"} <= families


def test_planning_with_the_catalogue_imports_neither_torch_nor_pandas():
    code = (
        "import sys; from bob.backbones import catalogue, weights; from pathlib import Path\n"
        "catalogue.match({'params_m': '< 30'}); b = catalogue.find('tf_efficientnet_lite0.in1k')\n"
        "weights.locate(b, weights_dirs=[], cache_dir=Path(sys.argv[1]))\n"
        "print([m for m in ('torch', 'timm', 'pandas', 'scipy', 'huggingface_hub') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(Path(sys.executable).parent)], capture_output=True, text=True, check=False
    )
    assert out.stdout.strip() == "[]", out.stderr


@pytest.fixture
def told_names(monkeypatch):
    """Stand in for the child process: timm knows these two beside the catalogue."""
    known = ["vit_small_patch8_224.dino", "resnet26.bt_in1k"]
    asked = []

    def answer(argument):
        asked.append(argument)
        if argument == "--names":
            return [*NAMES, *known]
        return {**facts_of(cat.find("resnet50.a1_in1k")), "name": argument}

    monkeypatch.setattr(described, "_ask_child", answer)
    return asked


def test_a_misspelt_name_offers_the_closest_and_the_command_that_lists(told_names):
    with pytest.raises(UnknownNameError) as caught:
        cat.find("vit_smal_patch16_224.dino")
    text = str(caught.value)
    assert "backbone 'vit_smal_patch16_224.dino' is not known. Did you mean 'vit_small_patch16_224.dino'?" in text
    matching = len(cat.select("dino"))
    assert f"'bob list backbones --filter dino' shows the {matching} that match." in text


@pytest.mark.parametrize(
    ("cut", "whole"), [("resnet50", "resnet50.a1_in1k"), ("vit_small_patch8", "vit_small_patch8_224.dino")]
)
def test_a_name_without_its_tag_offers_the_first_that_continues_it(told_names, cut, whole):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{whole}'"):
        cat.find(cut)


def test_a_control_of_an_unknown_architecture_offers_the_closest_control(told_names):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet50\.random'"):
        cat.find("resnt50.random")


def test_a_checkpoint_outside_the_catalogue_is_described_once_and_cached(told_names):
    first = cat.find("resnet26.bt_in1k")
    again = cat.find("resnet26.bt_in1k")
    assert first == again
    assert first.name == "resnet26.bt_in1k"
    assert told_names == ["--names", "resnet26.bt_in1k"]


def test_a_damaged_cached_description_is_made_again(told_names):
    cat.find("resnet26.bt_in1k")
    [path] = cache_dir_in_use().rglob("facts-*.json")
    path.write_text('{"name": "resn')
    assert cat.find("resnet26.bt_in1k").name == "resnet26.bt_in1k"
    assert told_names.count("resnet26.bt_in1k") == 2


def test_the_child_process_describes_any_timm_checkpoint_for_real():
    found = described.describe("resnet26.bt_in1k")
    assert (found.family, found.input.image_size) == ("resnet", 224)
    assert found.license in licenses_stated_here("Apache-2.0")
    assert 13 < found.params_m < 15


@pytest.mark.slow
def test_a_name_that_timm_cannot_describe_says_so_with_the_next_command():
    with pytest.raises(BobError, match=r"no architecture 'resnet49'.*") as caught:
        described.describe("resnet49.a1_in1k")
    assert "bob doctor" in str(caught.value)


def test_a_control_has_the_input_of_the_first_entry_of_its_architecture():
    control = cat.find("vit_small_patch16_224.random")
    first = next(entry for entry in cat.catalogue() if entry.arch == "vit_small_patch16_224")
    assert control.is_control
    assert control.input == first.input
    assert (control.pretrain_method, control.pretrain_data, control.package) == ("none", "none", None)


def test_controls_are_never_listed_or_matched():
    assert not any(entry.is_control for entry in cat.catalogue())
    assert not cat.match({"tag": "random"})


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [
        ("vit_small_patch16_224.dino", 128, 128),
        ("vit_small_patch14_dinov2.lvd142m", 128, 126),
        ("vit_small_patch14_dinov2.lvd142m", 224, 224),
        ("swin_tiny_patch4_window7_224.ms_in1k", 100, 96),
        ("swin_tiny_patch4_window7_224.ms_in1k", 112, 128),
        ("resnet50.a1_in1k", 131, 131),
    ],
)
def test_a_fixed_size_is_rounded_to_what_the_architecture_takes(name, asked, given):
    entry = cat.find(name)
    found = cat.resolve_input(entry, resolution="fixed", image_size=asked)
    assert found.image_size == given
    assert (found.mean, found.std, found.crop_pct) == (entry.input.mean, entry.input.std, entry.input.crop_pct)


def test_native_resolution_is_the_checkpoints_own():
    entry = cat.find("swinv2_tiny_window8_256.ms_in1k")
    assert cat.resolve_input(entry, resolution="native", image_size=64).image_size == 256


@pytest.mark.parametrize(("resolution", "size"), [("fixd", 128), ("fixed", 0), ("fixed", 31)])
def test_a_wrong_resolution_is_refused_with_what_is_expected(resolution, size):
    with pytest.raises(ConfigError, match="expected"):
        cat.resolve_input(cat.find("resnet50.a1_in1k"), resolution=resolution, image_size=size)


def test_a_description_is_kept_in_the_cache_that_was_named_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr("bob.backbones.described_timm._ask_child", lambda argument: ["someones_net.v1"])
    bob.plan(backbones="tf_efficientnet_lite0.in1k", data="scenes", cache=tmp_path / "named")
    assert described.known_names() == ("someones_net.v1",)
    assert list((tmp_path / "named").rglob("names.json"))
    assert not list((tmp_path / "user-cache").rglob("names.json"))
