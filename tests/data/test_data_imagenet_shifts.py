"""ImageNet's shifted test sets as their authors lay them out: a label is the classifier's, not the folders' order."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from data_helpers import class_folders, picture
from PIL import Image

from bob.core.errors import ConfigError, DataError, DataMissingError
from bob.data.class_map import class_places
from bob.data.imagenet import wnid_labels, wnids
from bob.data.pictures import open_split
from bob.data.readers.imagenet_shifts import REAL_COUNT
from bob.data.resolve import fetch_dataset, resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def real_folder(root, right, *, pictures=None, name="ILSVRC2012_val_{:08d}.JPEG", below=""):
    """Write ROOT/real.json with ``right[number]``, and the pictures of these numbers (or of ``pictures``)."""
    lists = [right.get(number, []) for number in range(1, REAL_COUNT + 1)]
    (root / below).mkdir(parents=True, exist_ok=True)
    (root / "real.json").write_text(json.dumps(lists))
    for number in right if pictures is None else pictures:
        picture(number).save(root / below / name.format(number))
    return root


@pytest.mark.parametrize("count", [200, 1000])
def test_folders_by_wordnet_id_are_all_test_and_know_their_classes(tmp_path, cache, count):
    """ImageNet-A and -R have 200 classes, ImageNet-Sketch 1,000."""
    chosen = sorted(np.random.default_rng(count).permutation(1000)[:count].tolist())
    for place in chosen:
        (tmp_path / "set" / wnids()[place]).mkdir(parents=True)
        picture(place, (8, 8)).save(tmp_path / "set" / wnids()[place] / "one.jpg")
    spec = resolve_dataset(f"imagenet:{tmp_path / 'set'}", cache_dir=cache)
    assert dict(spec.sizes) == {"test": count} and len(spec.classes) == count
    assert class_places(wnids(), spec.classes).tolist() == chosen == wnid_labels(spec.classes).tolist()


@pytest.mark.parametrize("prefix", ["imagenet:", ""])
def test_a_severity_of_imagenet_c_is_all_test_and_named_after_its_corruption(tmp_path, cache, prefix):
    for corruption in ("fog", "gaussian_noise"):
        class_folders(tmp_path / "imagenet-c" / corruption / "3", {"n01440764": 2, "n07753592": 1}, suffix=".JPEG")
    specs = [
        resolve_dataset(f"{prefix}{tmp_path}/imagenet-c/{corruption}/3", cache_dir=cache)
        for corruption in ("fog", "gaussian_noise")
    ]
    assert [spec.name for spec in specs] == ["fog-3", "gaussian_noise-3"]
    assert dict(specs[0].sizes) == {"test": 3}
    test = open_split(specs[0], "test", cache_dir=cache)
    assert wnid_labels(test.classes)[test.labels].tolist() == [0, 0, 954]


def test_a_folder_that_is_only_called_3_keeps_its_name(tmp_path, cache):
    root = class_folders(tmp_path / "sets" / "3", {"cat": 5, "dog": 5})
    assert resolve_dataset(str(root), cache_dir=cache).name == "3"


def test_imagenet_v2_folders_are_class_indices_whatever_the_order_of_their_names(tmp_path, cache):
    counts = {"0": 1, "1": 1, "2": 2, "10": 1, "100": 1, "954": 1, "999": 1}
    root = class_folders(tmp_path / "imagenetv2-matched-frequency-format-val", counts, suffix=".jpeg")
    spec = resolve_dataset(f"imagenet_v2:{root}", cache_dir=cache)
    assert (spec.name, spec.kind, dict(spec.sizes)) == (root.name, "imagenet_v2", {"test": 8})
    assert spec.classes == wnids() and spec.annotations == ("label",)
    test = open_split(spec, "test", cache_dir=cache)
    assert [int(name.split("/")[0]) for name in test.ids] == test.labels.tolist() == [0, 1, 2, 2, 10, 100, 954, 999]
    assert test.label_sets is None and test.labels.dtype == np.int64
    assert spec.classes[test.labels[6]] == "n07753592"  # banana
    with Image.open(root / "10" / "000.jpeg") as stored:
        assert test.load(4).tobytes() == stored.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"0": 1, "1000": 1}, "'1000' is no class index"),
        ({"n01440764": 1}, "'n01440764' is no class index"),
        ({"7": 1, "007": 1}, "both class 7"),
        ({"0": 0}, "hold no picture"),
    ],
)
def test_a_folder_that_is_not_imagenet_v2_is_named(tmp_path, cache, counts, words):
    root = class_folders(tmp_path / "v2", counts)
    with pytest.raises(DataError, match=words):
        resolve_dataset(f"imagenet_v2:{root}", cache_dir=cache)


@pytest.mark.parametrize("kind", ["imagenet_v2", "imagenet_real"])
def test_a_folder_that_is_not_there_is_a_missing_data_set(tmp_path, cache, kind):
    for ask in (resolve_dataset, fetch_dataset):
        with pytest.raises(DataMissingError, match="nowhere"):
            ask(f"{kind}:{tmp_path}/nowhere", cache_dir=cache)


RIGHT = {1: [970, 795], 293: [0], 50_000: [999, 3, 5]}


@pytest.mark.parametrize(
    ("below", "name"),
    [
        ("", "ILSVRC2012_val_{:08d}.JPEG"),
        ("val", "ILSVRC2012_val_{:08d}.JPEG"),
        ("val/n01440764", "ILSVRC2012_val_{:08d}.JPEG"),
        ("n01440764", "ILSVRC2012_val_{:08d}_n01440764.JPEG"),
    ],
)
def test_real_labels_follow_the_pictures_number_in_every_layout(tmp_path, cache, below, name):
    root = real_folder(tmp_path / "real", RIGHT, pictures=[*RIGHT, 2], below=below, name=name)
    spec = resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)
    assert (spec.name, dict(spec.sizes), spec.annotations) == ("imagenet_real", {"test": 3}, ("label_sets",))
    assert spec.classes == wnids()
    test = open_split(spec, "test", annotation="label_sets", cache_dir=cache)
    assert test.label_sets == ((970, 795), (0,), (999, 3, 5)) and test.labels.tolist() == [970, 0, 999]
    numbers = [int(one.rpartition("/")[2].split("_")[2].removesuffix(".JPEG")) for one in test.ids]
    assert numbers == [1, 293, 50_000] and test.load(2).size == (40, 30) and test.dropped == ()


def test_a_subset_keeps_each_pictures_own_label_set(tmp_path, cache):
    right = {number: [number, number + 1] for number in range(1, 21)}
    spec = resolve_dataset(f"imagenet_real:{real_folder(tmp_path / 'real', right)}", cache_dir=cache)
    some = open_split(spec, "test", annotation="label_sets", cap=7, cache_dir=cache)
    assert len(some) == 7 == len(some.label_sets)
    for name, labels in zip(some.ids, some.label_sets, strict=True):
        assert labels[0] == int(name[15:23])


def test_several_labels_are_never_taken_for_one(tmp_path, cache):
    spec = resolve_dataset(f"imagenet_real:{real_folder(tmp_path / 'real', RIGHT)}", cache_dir=cache)
    with pytest.raises(DataError, match="has every class that is right for each picture, not a class"):
        open_split(spec, "test", cache_dir=cache)
    plain = resolve_dataset(str(class_folders(tmp_path / "plain", {"a": 5, "b": 5})), cache_dir=cache)
    with pytest.raises(DataError, match="has a class for each picture, not every class that is right"):
        open_split(plain, "test", annotation="label_sets", cache_dir=cache)
    with pytest.raises(DataError, match="has a class for each picture, not label_set"):
        open_split(plain, "test", annotation="label_set", cache_dir=cache)
    with pytest.raises(ConfigError, match="'boxes' is of objects or pixels"):
        open_split(plain, "test", annotation="boxes", cache_dir=cache)


def test_a_labelled_picture_that_is_missing_is_left_out_by_name(tmp_path, cache, caplog):
    right = {number: [number] for number in range(1, 41)}
    root = real_folder(tmp_path / "real", right, pictures=[number for number in right if number != 7])
    spec = resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)
    test = open_split(spec, "test", annotation="label_sets", cache_dir=cache)
    assert test.dropped == ("ILSVRC2012_val_00000007.JPEG",) and (7,) not in test.label_sets and len(test) == 39
    assert "ILSVRC2012_val_00000007.JPEG" in caplog.text
    for number in (8, 9):
        (root / f"ILSVRC2012_val_{number:08d}.JPEG").unlink()
    with pytest.raises(DataError, match="changed since the job was planned"):
        open_split(spec, "test", annotation="label_sets", cache_dir=cache)
    spec = resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)
    with pytest.raises(DataError, match="3 of 40 pictures are bad"):
        open_split(spec, "test", annotation="label_sets", cache_dir=cache)


def test_one_digit_of_real_json_changes_the_fingerprint(tmp_path, cache):
    root = real_folder(tmp_path / "real", RIGHT)
    before = resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)
    real_folder(root, {**RIGHT, 293: [1]})
    assert resolve_dataset(f"imagenet_real:{root}", cache_dir=cache).fingerprint != before.fingerprint
    with pytest.raises(DataError, match="changed since"):
        open_split(before, "test", annotation="label_sets", cache_dir=cache)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has no real.json"),
        ("[[1], ", "no JSON file"),
        ("{}", "holds a dict; 50000 lists"),
        ("[[1], [2]]", "holds 2 entries; 50000 lists"),
        ([[1000]], r"ILSVRC2012_val_00000001 are \[1000\]; a list of indices from 0 to 999"),
        ([[], [-1]], r"ILSVRC2012_val_00000002 are \[-1\]"),
        ([[True]], "val_00000001 are"),
        ([[1.0]], "val_00000001 are"),
        ([3], "val_00000001 are 3"),
    ],
)
def test_a_real_json_that_cannot_be_right_is_named(tmp_path, cache, content, words):
    root = real_folder(tmp_path / "real", RIGHT)
    if isinstance(content, list):
        content = json.dumps(content + [[]] * (REAL_COUNT - len(content)))
    (root / "real.json").unlink()
    if content is not None:
        (root / "real.json").write_text(content)
    with pytest.raises(DataError, match=words):
        resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("n01440764_10026.JPEG", "n01440764_10026.JPEG is no validation picture"),
        ("ILSVRC2012_val_00050001.JPEG", "00050001.JPEG is no validation picture"),
        ("again/ILSVRC2012_val_00000001.JPEG", "are the same validation picture"),
    ],
)
def test_pictures_that_are_none_of_the_50000_are_named(tmp_path, cache, extra, words):
    root = real_folder(tmp_path / "real", RIGHT)
    (root / extra).parent.mkdir(exist_ok=True)
    picture(0).save(root / extra)
    with pytest.raises(DataError, match=words):
        resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)


def test_a_folder_without_validation_pictures_is_named(tmp_path, cache):
    root = real_folder(tmp_path / "real", RIGHT, pictures=[])
    with pytest.raises(DataError, match="holds no validation picture"):
        resolve_dataset(f"imagenet_real:{root}", cache_dir=cache)


def test_the_authors_labels_fit_if_the_timm_package_has_them(tmp_path, cache):
    """The list as published: 50,000 entries, of which 3,163 are empty (46,837 pictures are scored)."""
    from importlib.util import find_spec
    from pathlib import Path

    published = Path(find_spec("timm").submodule_search_locations[0]) / "data" / "_info" / "imagenet_real_labels.json"
    if not published.is_file():
        pytest.skip("this timm does not carry the reassessed labels")
    root = real_folder(tmp_path / "real", {}, pictures=[2])
    (root / "real.json").write_bytes(published.read_bytes())
    assert dict(resolve_dataset(f"imagenet_real:{root}", cache_dir=cache).sizes) == {"test": 46_837}


def test_planning_with_them_imports_nothing_heavy(tmp_path, cache):
    root = class_folders(tmp_path / "v2", {"0": 1, "10": 1})
    real = real_folder(tmp_path / "real", RIGHT)
    code = f"""
import sys
from pathlib import Path
from bob.data.resolve import resolve_dataset
for text in ("imagenet_v2:{root}", "imagenet_real:{real}"):
    resolve_dataset(text, cache_dir=Path({str(cache)!r}))
sys.exit(str([name for name in ("torch", "torchvision", "pandas", "scipy", "timm") if name in sys.modules]) )
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.stderr.strip() == "[]"
