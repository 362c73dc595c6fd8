"""The readers of other stores: torchvision's sets, Hugging Face folders and IDX files as they lie on disk."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import sys

import numpy as np
import pytest
from data_helpers import class_folders, picture
from PIL import Image

from bob.core.errors import DataError
from bob.data.pictures import open_split
from bob.data.resolve import fetch_dataset, resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _in_process(monkeypatch):
    """Describe in this process: a child would neither see the test's checksums nor be quick."""
    from bob.data.readers import READERS

    monkeypatch.setattr(
        "bob.data.describe_dataset._ask",
        lambda kind, target, root, cache: READERS.get(kind).describe(target, root, cache),
    )


def _cifar10(root, monkeypatch):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    for name in names:
        content = {"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": list(range(10)) * 2}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr("torchvision.datasets.CIFAR10.train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr("torchvision.datasets.CIFAR10.test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr("torchvision.datasets.CIFAR10.meta", meta)
    return folder


def test_cifar10_as_torchvision_unpacks_it(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    folder = _cifar10(tmp_path / "data", monkeypatch)
    spec = resolve_dataset("cifar10", cache_dir=cache, data_dir=tmp_path / "data")
    assert spec.classes[3] == "class 3" and dict(spec.sizes) == {"train": 90, "val": 10, "test": 20}
    test = open_split(spec, "test", cache_dir=cache)
    with (folder / "test_batch").open("rb") as file:
        content = pickle.load(file)
    assert test.labels.tolist() == content["labels"]
    assert (np.asarray(test.load(4)) == content["data"][4].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    assert resolve_dataset("torchvision:cifar10", cache_dir=cache, data_dir=tmp_path / "data") == spec
    assert fetch_dataset("cifar10", cache_dir=cache, data_dir=tmp_path / "data") == spec


def test_a_tampered_cifar_pickle_is_refused_before_it_is_unpickled(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    folder = _cifar10(tmp_path / "data", monkeypatch)

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    (folder / "test_batch").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="not found or corrupted"):
        resolve_dataset("cifar10", cache_dir=cache, data_dir=tmp_path / "data")


def _eurosat(root):
    class_folders(root / "eurosat" / "2750", {"Forest": 10, "River": 10})
    return {"train": 14, "val": 2, "test": 4}


def _dtd(root):
    class_folders(root / "dtd" / "dtd" / "images", {"banded": 6, "dotted": 6})
    labels = root / "dtd" / "dtd" / "labels"
    labels.mkdir()
    for place, split in enumerate(("train", "val", "test")):
        names = [f"{name}/{index:03d}.jpg" for name in ("banded", "dotted") for index in (2 * place, 2 * place + 1)]
        (labels / f"{split}1.txt").write_text("\n".join(names) + "\n")
    return {"train": 4, "val": 4, "test": 4}


def _food101(root):
    class_folders(root / "food-101" / "images", {"pizza": 10, "soup": 10})
    (root / "food-101" / "meta").mkdir()
    for split, span in (("train", range(8)), ("test", range(8, 10))):
        content = {name: [f"{name}/{index:03d}" for index in span] for name in ("pizza", "soup")}
        (root / "food-101" / "meta" / f"{split}.json").write_text(json.dumps(content))
    return {"train": 14, "val": 2, "test": 4}


def _pets(root):
    base = root / "oxford-iiit-pet"
    (base / "images").mkdir(parents=True)
    (base / "annotations").mkdir()
    for split, span in (("trainval", range(8)), ("test", range(8, 10))):
        lines = [f"{name}_{index} {place + 1} 1 1" for place, name in enumerate(("pug", "siamese")) for index in span]
        (base / "annotations" / f"{split}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            picture(len(line)).save(base / "images" / f"{line.split()[0]}.jpg")
    return {"train": 14, "val": 2, "test": 4}


def _aircraft(root):
    data = root / "fgvc-aircraft-2013b" / "data"
    (data / "images").mkdir(parents=True)
    (data / "variants.txt").write_text("747\nA320\n")
    for place, split in enumerate(("train", "val", "test")):
        numbers = range(10 * place, 10 * place + 4)
        lines = [f"{number:07d} {('747', 'A320')[number % 2]}" for number in numbers]
        (data / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
        for number in numbers:
            picture(number).save(data / "images" / f"{number:07d}.jpg")
    return {"train": 4, "val": 4, "test": 4}


@pytest.mark.parametrize(
    ("name", "make"),
    [("eurosat", _eurosat), ("dtd", _dtd), ("food101", _food101), ("pets", _pets), ("aircraft", _aircraft)],
)
def test_torchvisions_picture_folders(name, make, tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    sizes = make(tmp_path / "data")
    spec = resolve_dataset(name, cache_dir=cache, data_dir=tmp_path / "data")
    assert dict(spec.sizes) == sizes and len(spec.classes) == 2 and spec.kind == "torchvision"
    for split, count in sizes.items():
        pictures = open_split(spec, split, cache_dir=cache)
        assert np.bincount(pictures.labels).tolist() == [count // 2, count // 2]
        assert pictures.load(0).mode == "RGB" and not pictures.ids[0].startswith("/")


def test_a_list_that_names_a_file_outside_is_refused(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    _food101(tmp_path / "data")
    picture(0).save(tmp_path / "secret.jpg")
    content = {"pizza": ["pizza/000", "../../../secret"], "soup": ["soup/000"]}
    (tmp_path / "data" / "food-101" / "meta" / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"secret\.jpg, which lies outside"):
        resolve_dataset("food101", cache_dir=cache, data_dir=tmp_path / "data")


def test_a_described_set_resolves_without_torchvision(tmp_path, cache, monkeypatch):
    _eurosat(tmp_path / "data")
    first = resolve_dataset("eurosat", cache_dir=cache, data_dir=tmp_path / "data")
    monkeypatch.setattr("bob.data.describe_dataset._ask", lambda *_: pytest.fail("described twice"))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert resolve_dataset("eurosat", cache_dir=cache, data_dir=tmp_path / "data") == first


def test_a_describing_child_that_fails_or_crashes_is_a_named_error(tmp_path, cache):
    from bob.data.describe_dataset import description

    with pytest.raises(DataError, match="is not eurosat as torchvision unpacks it"):
        description("torchvision", "eurosat", tmp_path, "f", cache_dir=cache)
    with pytest.raises(DataError, match="could not be read as idx data: AttributeError"):
        description("idx", "x", tmp_path, "f", cache_dir=cache)
    assert not list(cache.rglob("described-*"))


def _idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def fashion(tmp_path):
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for split, count in (("train", 80), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(pixels)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(_idx(labels))
    return folder


def test_fashion_mnist_is_read_plain_and_gzipped(fashion, tmp_path, cache):
    spec = resolve_dataset("fashion_mnist", cache_dir=cache, data_dir=tmp_path / "data")
    assert spec.classes[9] == "ankle boot" and dict(spec.sizes) == {"train": 70, "val": 10, "test": 20}
    test = open_split(spec, "test", cache_dir=cache)
    raw = np.frombuffer(gzip.decompress((fashion / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    assert (np.asarray(test.load(7))[..., 1] == raw.reshape(20, 28, 28)[7]).all()
    other = resolve_dataset(f"idx:{fashion}", cache_dir=cache)
    assert other.classes == tuple("0123456789") and resolve_dataset(str(fashion), cache_dir=cache) == other


@pytest.mark.parametrize("damage", ["short", "gzip", "header", "lone"])
def test_a_damaged_idx_file_is_named(fashion, cache, damage):
    images = fashion / "t10k-images-idx3-ubyte.gz"
    content = gzip.decompress(images.read_bytes())
    if damage == "short":
        images.write_bytes(gzip.compress(content[:-9]))
    elif damage == "gzip":
        images.write_bytes(images.read_bytes()[:-400])
    elif damage == "header":
        images.write_bytes(gzip.compress(b"\x00\x00\x0d\x03" + content[4:]))
    else:
        (fashion / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-images"):
        open_split(resolve_dataset(f"idx:{fashion}", cache_dir=cache), "test", cache_dir=cache)


def _hub_table(counts=(10, 10)):
    datasets = pytest.importorskip("datasets")
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"img": [picture(index) for index in range(len(labels))], "kind": labels}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("layout", ["dict", "single", "parquet"])
def test_hugging_face_folders_find_their_columns(layout, tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    import datasets

    root, table = tmp_path / "hub", _hub_table()
    if layout == "dict":
        datasets.DatasetDict({"train": table, "test": _hub_table((3, 3))}).save_to_disk(str(root))
    elif layout == "single":
        table.save_to_disk(str(root))
    else:
        root.mkdir()
        table.to_parquet(str(root / "train-00000-of-00001.parquet"))
        _hub_table((3, 3)).to_parquet(str(root / "test-00000-of-00001.parquet"))
    spec = resolve_dataset(f"hf:{root}", cache_dir=cache)
    sizes = {"train": 14, "val": 2, "test": 4} if layout == "single" else {"train": 18, "val": 2, "test": 6}
    assert spec.classes == ("cat", "dog") and dict(spec.sizes) == sizes
    assert dict(spec.options) == {"image": "img", "label": "kind", "policy": "skip"}
    test = open_split(spec, "test", cache_dir=cache)
    assert test.load(0).size == (40, 30) and len(test) == sizes["test"]
    assert pickle.loads(pickle.dumps(test)).load(1).tobytes() == test.load(1).tobytes()


def test_a_hub_download_is_saved_whole_and_resolves_offline(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    import datasets

    calls = []
    monkeypatch.setattr(
        "datasets.load_dataset",
        lambda *names, **more: (
            calls.append(names) or datasets.DatasetDict({"train": _hub_table(), "test": _hub_table()})
        ),
    )
    spec = fetch_dataset("hf:someone/pets#small", cache_dir=cache)
    assert calls == [("someone/pets", "small")] and dict(spec.sizes)["test"] == 20
    assert fetch_dataset("hf:someone/pets#small", cache_dir=cache) == spec and len(calls) == 1


def test_a_hugging_face_folder_without_labels_names_its_columns(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    _hub_table().remove_columns(["kind"]).save_to_disk(str(tmp_path / "hub"))
    with pytest.raises(DataError, match=r"no label column.*columns are img"):
        resolve_dataset(f"hf:{tmp_path / 'hub'}", cache_dir=cache)


def _labelled(names, labels, **more):
    """Return a table of one picture a label; the red of a picture is 50 times the place of its name in the alphabet."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    called = [None if label is None or label < 0 else names[label] for label in labels]
    shades = [0 if name is None else 50 * (1 + sorted(names).index(name)) for name in called]
    rows = {"image": [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in shades], "label": labels}
    for name, (kinds, values) in more.items():
        features[name] = datasets.ClassLabel(names=kinds)
        rows[name] = values
    return datasets.Dataset.from_dict(rows, features=features)


def _saved(tables, root, layout):
    import datasets

    if layout == "saved":
        datasets.DatasetDict(tables).save_to_disk(str(root))
        return
    root.mkdir()
    for name, table in tables.items():
        table.to_parquet(str(root / f"{name}-00000-of-00001.parquet"))


@pytest.mark.parametrize("layout", ["saved", "parquet"])
def test_label_names_decide_where_splits_number_them_in_another_order(layout, tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    tables = {
        "train": _labelled(["cat", "dog"], [0, 1] * 8),
        "test": _labelled(["dog", "cat"], [0, 1, 1]),
    }
    _saved(tables, tmp_path / "hub", layout)
    spec = resolve_dataset(f"hf:{tmp_path / 'hub'}", cache_dir=cache)
    test = open_split(spec, "test", cache_dir=cache)
    assert spec.classes == ("cat", "dog") and test.labels.tolist() == [1, 0, 0]
    assert [test.load(index).getpixel((0, 0))[0] for index in range(3)] == [100, 50, 50]


def test_a_name_that_train_lacks_is_refused(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    tables = {"train": _labelled(["cat", "dog"], [0, 1] * 8), "test": _labelled(["cat", "eel"], [0, 1])}
    _saved(tables, tmp_path / "hub", "saved")
    with pytest.raises(DataError, match="no training picture for the classes eel, which test has"):
        resolve_dataset(f"hf:{tmp_path / 'hub'}", cache_dir=cache)


def test_the_column_called_label_is_the_label_and_of_several_others_none_is_guessed(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    hospitals = (list("abcde"), [0, 1, 2, 3, 4] * 4)
    table = _labelled(["healthy", "ill"], [0, 1] * 10, hospital=hospitals)
    table.save_to_disk(str(tmp_path / "two"))
    assert resolve_dataset(f"hf:{tmp_path / 'two'}", cache_dir=cache).classes == ("healthy", "ill")
    table.rename_column("label", "finding").save_to_disk(str(tmp_path / "none"))
    with pytest.raises(DataError, match="several label columns: finding, hospital"):
        resolve_dataset(f"hf:{tmp_path / 'none'}", cache_dir=cache)


def test_hidden_test_labels_leave_val_to_serve_and_a_missing_one_is_left_out_by_name(
    tmp_path, cache, monkeypatch, caplog
):
    _in_process(monkeypatch)
    names = ["cat", "dog"]
    hidden = {"train": _labelled(names, [0, 1] * 8), "validation": _labelled(names, [0, 1])}
    _saved({**hidden, "test": _labelled(names, [-1, -1])}, tmp_path / "hidden", "saved")
    spec = resolve_dataset(f"hf:{tmp_path / 'hidden'}", cache_dir=cache)
    assert dict(spec.sizes) == {"train": 14, "val": 2, "test": 2}
    assert "the labels of split test are hidden" in caplog.text
    one = {"train": _labelled(names, [0, 1] * 11 + [None]), "test": _labelled(names, [0, 1])}
    _saved(one, tmp_path / "one", "saved")
    spec = resolve_dataset(f"hf:{tmp_path / 'one'}", cache_dir=cache)
    assert "1 rows of split train have no label and are left out: 22" in caplog.text
    train = open_split(spec, "train", cache_dir=cache)
    assert "train/0000022" not in train.ids and train.load(0).size == (8, 8)
    _saved({**one, "train": _labelled(names, [0, 1, None])}, tmp_path / "many", "saved")
    with pytest.raises(DataError, match="1 of 3 samples of split train have no label"):
        resolve_dataset(f"hf:{tmp_path / 'many'}", cache_dir=cache)


def test_a_plain_column_called_label_comes_before_another_of_label_type(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    import datasets

    table = _labelled(["f", "m"], [0, 1] * 10).rename_column("label", "sex")
    rows = table.add_column("label", ["cat", "dog"] * 10)
    datasets.DatasetDict({"train": rows, "test": table}).save_to_disk(str(tmp_path / "hub"))
    spec = resolve_dataset(f"hf:{tmp_path / 'hub'}", cache_dir=cache)
    assert spec.classes == ("cat", "dog") and dict(spec.sizes) == {"train": 14, "val": 2, "test": 4}
    open_split(spec, "test", cache_dir=cache)


def test_class_names_in_some_splits_alone_and_two_splits_of_one_meaning_are_refused(tmp_path, cache, monkeypatch):
    _in_process(monkeypatch)
    import datasets

    table = _labelled(["cat", "dog"], [0, 1] * 10)
    plain = table.cast_column("label", datasets.Value("int64"))
    _saved({"train": table, "test": plain}, tmp_path / "mixed", "saved")
    with pytest.raises(DataError, match="class names in some splits and plain values in others"):
        resolve_dataset(f"hf:{tmp_path / 'mixed'}", cache_dir=cache)
    _saved({"train": table, "val": table, "validation": table}, tmp_path / "two", "saved")
    with pytest.raises(DataError, match="two splits that mean val, one is 'validation'"):
        resolve_dataset(f"hf:{tmp_path / 'two'}", cache_dir=cache)
    _saved({"train": table, "val": table, "dev": table}, tmp_path / "alias", "saved")
    assert dict(resolve_dataset(f"hf:{tmp_path / 'alias'}", cache_dir=cache).sizes)["test"] == 20
