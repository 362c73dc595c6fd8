"""Resolving: every text a suite may hold, without heavy imports, and every mistake named."""

from __future__ import annotations

import subprocess
import sys

import pytest
from data_helpers import class_folders

from bob.core.errors import ConfigError, DataMissingError, UnknownNameError
from bob.data.dataset import DatasetSpec
from bob.data.known import KNOWN
from bob.data.readers import READERS
from bob.data.resolve import fetch_dataset, known_datasets, resolve_dataset

HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "datasets", "timm", "scipy")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_scenes_resolve_without_rendering_and_open_as_they_say(cache, monkeypatch):
    from bob.data.pictures import open_split

    spec = resolve_dataset("scenes", cache_dir=cache)
    assert spec.smoke and spec.root is None and dict(spec.sizes) == {"train": 400, "val": 160, "test": 400}
    test = open_split(spec, "test", cap=20, cache_dir=cache)
    assert len(test) == 20 and sorted(test.labels.tolist()) == sorted(list(range(10)) * 2)
    first = test.load(0)
    assert first.size == (160, 160) and len(list(cache.rglob("*.png"))) == 1
    stored = next(cache.rglob("*.png"))
    stored.write_bytes(stored.read_bytes()[:500])
    assert test.load(0).tobytes() == first.tobytes()
    assert test.load(0).tobytes() == first.tobytes()


def test_scenes_take_sizes_and_a_domain_which_change_the_fingerprint(cache):
    plain = resolve_dataset("scenes", cache_dir=cache)
    small = resolve_dataset("scenes:train=40,val=10", cache_dir=cache)
    fog = resolve_dataset("scenes:domain=fog", cache_dir=cache)
    assert dict(small.sizes) == {"train": 40, "val": 10, "test": 400} and fog.name == "scenes-fog"
    assert len({plain.fingerprint, small.fingerprint, fog.fingerprint}) == 3
    for wrong in ("scenes:trian=3", "scenes:train=0", "scenes:domain=fogg", "scenes:train=many"):
        with pytest.raises(ConfigError, match=wrong.partition(":")[2]):
            resolve_dataset(wrong, cache_dir=cache)


def test_resolving_and_opening_folders_and_scenes_imports_nothing_heavy(tmp_path, cache):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    code = f"""
import sys
from pathlib import Path
from bob.data.resolve import known_datasets, resolve_dataset
from bob.data.pictures import open_split
for text in ("scenes", {str(root)!r}):
    spec = resolve_dataset(text, cache_dir=Path({str(cache)!r}))
    open_split(spec, "train", cap=4, cache_dir=Path({str(cache)!r})).load(0)
known_datasets()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.parametrize("name", KNOWN.names())
def test_every_known_data_set_is_described_and_resolves_or_says_it_is_missing(name, cache, tmp_path):
    entry = next(row for row in known_datasets() if row["name"] == name)
    assert set(entry) == {"name", "kind", "classes", "license", "smoke", "overlaps"} and entry["classes"] >= 10
    assert entry["kind"] in READERS and entry["smoke"] == (name == "scenes")
    if name == "scenes":
        assert len(resolve_dataset(name, cache_dir=cache).classes) == entry["classes"]
        return
    with pytest.raises(DataMissingError, match=f"'{name}' is not on this machine") as caught:
        resolve_dataset(name, cache_dir=cache, data_dir=tmp_path)
    how = {"coco": "cocodataset.org", "ade20k": "csail.mit.edu", "cityscapes": "Register at"}
    assert how.get(name, "bob fetch") in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_name_below_the_data_directory_is_found(tmp_path, cache):
    class_folders(tmp_path / "data" / "mine", {"a": 5, "b": 5})
    assert resolve_dataset("mine", cache_dir=cache, data_dir=tmp_path / "data").name == "mine"


def test_mistakes_are_named_with_the_closest_name(cache):
    with pytest.raises(UnknownNameError, match="Did you mean 'cifar10'"):
        resolve_dataset("cifar_10", cache_dir=cache)
    with pytest.raises(UnknownNameError, match="Did you mean 'food101'"):
        resolve_dataset("torchvision:food_101", cache_dir=cache)
    with pytest.raises(DataMissingError, match="no such folder"):
        resolve_dataset("./not/here", cache_dir=cache)


@pytest.mark.parametrize("text", ["dtd", "hf:someone/pictures", "fashion_mnist"])
def test_a_download_that_fails_says_why_and_what_to_do_and_leaves_nothing(text, cache, tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise ConnectionError("the network is unreachable")

    monkeypatch.setattr("torchvision.datasets.DTD.__init__", unreachable)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.__init__", unreachable)
    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(DataMissingError, match="could not be downloaded: ConnectionError: the network") as caught:
        fetch_dataset(text, cache_dir=cache, data_dir=tmp_path / "data")
    assert "bob fetch" in str(caught.value)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_a_packages_own_reader_is_found_by_its_entry_point(cache, monkeypatch):
    class Mine:
        def resolve(self, target, *, cache_dir, data_dir):
            return DatasetSpec(
                name=target, kind="mine", root=None, fingerprint="f", classes=("a",), sizes=(("test", 1),)
            )

    monkeypatch.setitem(READERS._entries, "mine", Mine())
    assert resolve_dataset("mine:thing", cache_dir=cache).name == "thing"


def test_a_reader_looks_for_its_folder_below_the_data_directory_too(tmp_path):
    root = class_folders(tmp_path / "data" / "flowers", {"a": 5, "b": 5})
    found = resolve_dataset("folder:flowers", cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    assert found.root == str(root)
    with pytest.raises(DataMissingError, match="'flowers' is not there"):
        resolve_dataset("folder:flowers", cache_dir=tmp_path / "cache")
