"""Masks of colours and of odd values: read with a table, or refused with the lines that settle it."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from data_helpers import first_seed, mask_folders, picture
from PIL import Image

from bob.core.errors import BobError, DataError
from bob.data.annotations import IGNORE
from bob.data.dense_pictures import open_dense
from bob.data.resolve import resolve_dataset

SPLITS = {"train": 3, "val": 3, "test": 3}
COLOURS = ((128, 64, 128), (0, 0, 255), (70, 70, 70))
TABLES = {
    "class_dict.csv": "name,r,g,b\nroad,128,64,128\ncar,0,0,255\nhouse,70,70,70\n",
    "classes.csv": "\ufeffName; R; G; B\nroad;128;64;128\ncar;0;0;255\nhouse;70;70;70\n",
    "label_colors.txt": "128 64 128\troad\n0 0 255\tcar\n\n70 70 70\t\thouse\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nroad:128,64,128::\ncar:0,0,255::\nhouse:70,70,70:a,b:\n",
    "classes.txt": "road 128 64 128\ncar 0 0 255\nhouse 70 70 70",
    "classes.txt ": "road #804080\ncar #0000FF\nhouse\t#464646\n",
}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return mask_folders(tmp_path / "set", SPLITS)


def every(root):
    return sorted(root.glob("*/masks/*.png"))


def stored(path):
    with Image.open(path) as image:
        return np.asarray(image)


def rewrite(root, change):
    """Replace each mask by what ``change`` makes of its labels."""
    for path in every(root):
        made = change(stored(path))
        (made if isinstance(made, Image.Image) else Image.fromarray(made)).save(path)
    return root


def coloured(labels, colours=COLOURS):
    return np.array(colours, dtype=np.uint8)[labels]


def resolved(root, cache):
    return resolve_dataset(str(root), cache_dir=cache)


def opened(root, cache, split="train"):
    return open_dense(resolved(root, cache), split, annotation="semantic", cache_dir=cache)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_table_of_colours_tells_the_classes(root, cache, name, mode):
    labels = stored(root / "train" / "masks" / "001.png")
    rewrite(root, lambda labels: Image.fromarray(coloured(labels)).convert(mode, palette=Image.Palette.ADAPTIVE))
    (root / name.strip()).write_text(TABLES[name], encoding="utf-8")
    train = opened(root, cache)
    assert train.classes == ("road", "car", "house") and train.dropped == ()
    assert train.semantic(1).dtype == np.uint8 and (train.semantic(1) == labels).all()


def test_without_a_table_the_lines_to_write_are_printed_and_settle_it(root, cache):
    rewrite(root, coloured)
    with pytest.raises(DataError, match=r"9 masks .* hold colours and not class numbers") as error:
        resolved(root, cache)
    lines = [line.strip() for line in str(error.value.hint).splitlines() if line.strip().startswith("name_")]
    assert {line.partition(" ")[2] for line in lines} == {" ".join(map(str, colour)) for colour in COLOURS}
    (root / "classes.txt").write_text("\n".join(lines))
    assert resolved(root, cache).classes == ("name_1", "name_2", "name_3")


def test_at_most_20_lines_are_printed(root, cache):
    rewrite(root, lambda labels: coloured(np.arange(1200).reshape(30, 40) % 30, [(n, n, 2 * n) for n in range(30)]))
    with pytest.raises(DataError, match="there are 30 colours") as error:
        resolved(root, cache)
    assert str(error.value.hint).count("name_") == 20 and "(and 10 more colours)" in str(error.value.hint)


def test_pixels_called_ignore_are_no_class_and_void_is_one_unless_it_is_called_so(root, cache, caplog):
    labels = stored(root / "train" / "masks" / "000.png")
    rewrite(root, coloured)
    (root / "class_dict.csv").write_text("name,r,g,b\nVoid,128,64,128\nignore,0,0,255\nhouse,70,70,70\n")
    with caplog.at_level(logging.WARNING, logger="bob"):
        train = opened(root, cache)
    assert train.classes == ("Void", "house") and "'Void' is a class like the others" in caplog.text
    assert (train.semantic(0) == np.array([0, IGNORE, 1])[labels]).all()


def test_one_class_may_have_several_colours(root, cache):
    rewrite(root, coloured)
    (root / "classes.txt").write_text("road 128 64 128\ncar 0 0 255\nroad 70 70 70\n")
    assert set(np.unique(opened(root, cache).semantic(0))) == {0, 1} and resolved(root, cache).classes_present == 2


def test_blended_edges_are_ignored_and_a_colour_that_the_table_lacks_is_refused(tmp_path, cache, caplog):
    root = mask_folders(tmp_path / "set", {"train": 2, "val": 2, "test": 2})
    for path in every(root):
        pixels = coloured(np.arange(12_000).reshape(100, 120) % 3)
        pixels[0, :10] = [(n, n, n) for n in range(1, 11)]
        Image.fromarray(pixels).save(path)
        picture(first_seed(*path.parts[-3:]), (120, 100)).save(path.parent.parent / "images" / f"{path.stem}.jpg")
    (root / "classes.txt").write_text(TABLES["classes.txt"])
    with caplog.at_level(logging.WARNING, logger="bob"):
        train = opened(root, cache)
    assert "0.08% of the masks' pixels have rare colours" in caplog.text
    assert (train.semantic(0)[0, :10] == IGNORE).all() and train.dropped == ()
    assert (train.semantic(0) == IGNORE).sum() == 10
    pixels[0, :12] = (9, 8, 7)
    Image.fromarray(pixels).save(root / "val" / "masks" / "001.png")
    with pytest.raises(
        DataError, match=r"the colour 9 8 7, which classes\.txt lacks, has 0\.1% .*val/masks/001"
    ) as error:
        resolved(root, cache)
    assert "name_1 9 8 7" in str(error.value.hint)


def test_grey_masks_beside_a_table_are_its_colours_or_the_numbers_of_its_rows(root, cache):
    labels = stored(root / "train" / "masks" / "000.png")
    (root / "class_dict.csv").write_text(TABLES["class_dict.csv"])
    assert opened(root, cache).classes == ("road", "car", "house") and (opened(root, cache).semantic(0) == labels).all()
    rewrite(root, lambda labels: np.array([0, 200, 255], dtype=np.uint8)[labels])
    with pytest.raises(DataError, match=r"value 200 is neither a colour in class_dict\.csv nor the number") as error:
        resolved(root, cache)
    assert "name_200 200 200 200" in str(error.value.hint)
    (root / "class_dict.csv").write_text("name,r,g,b\nsky,0,0,0\nsea,200,200,200\nlight,255,255,255\n")
    assert (opened(root, cache).semantic(0) == labels).all()
    rewrite(root, lambda labels: (labels // 100).astype(np.uint8))
    (root / "class_dict.csv").write_text("name,r,g,b\nsky,2,2,2\nsea,1,1,1\nlight,0,0,0\n")
    with pytest.raises(DataError, match=r"grey value . is a colour in class_dict\.csv and the number of another row"):
        resolved(root, cache)


def test_palettes_of_the_same_colours_in_another_order_are_refused(root, cache):
    turned = {"000": (0, 1, 2), "001": (2, 0, 1), "002": (0, 1, 2)}
    for path in every(root):
        order = turned[path.stem]
        image = Image.fromarray(np.argsort(order).astype(np.uint8)[stored(path)])
        image.putpalette([value for index in order for value in COLOURS[index]])
        image.save(path)
    with pytest.raises(DataError, match="have the same colours in another order"):
        resolved(root, cache)
    (root / "label_colors.txt").write_text(TABLES["label_colors.txt"])
    train = opened(root, cache)
    assert train.classes == ("road", "car", "house") and set(np.unique(train.semantic(1))) == {0, 1, 2}


def test_two_tables_that_differ_are_refused_and_names_alone_do_not_hide_colours(root, cache):
    rewrite(root, coloured)
    (root / "class_dict.csv").write_text(TABLES["class_dict.csv"])
    (root / "classes.txt").write_text("road\ncar\nhouse\n")
    assert resolved(root, cache).classes == ("road", "car", "house")
    (root / "classes.txt").write_text("road\ncar\ntree\n")
    with pytest.raises(DataError, match=r"classes\.txt and class_dict\.csv name different classes"):
        resolved(root, cache)
    (root / "classes.txt").write_text("road 1 2 3\ncar 0 0 255\n")
    with pytest.raises(DataError, match=r"classes\.txt and class_dict\.csv give the colours of the classes, and they"):
        resolved(root, cache)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("class_dict.csv", "name,r,g,b\nroad,128,64,300\n", "row 1: 'road,128,64,300' has no name with three numbers"),
        ("class_dict.csv", "name,r,g,b\nroad,128\n", "row 1: 'road,128' has no name with three numbers"),
        ("class_dict.csv", "name,r,g,b\n", "names no colour"),
        ("class_dict.csv", "name,r,g,b\nroad,1,2,3\nRoad,1,2,4\n", "differ in case"),
        ("classes.txt", "road 1 2 3\ncar 1 2 3\n", "the colour 1 2 3 means 'road' and 'car'"),
        ("classes.txt", "road 1 2 3\ncar 1 2 4\nhouse\n", "row 3: 'house' has no name with three numbers"),
        ("label_colors.txt", "1 2 3\n", "row 1: '1 2 3' has no name"),
        ("labelmap.txt", "road:::\n", "row 1: 'road:::' has no name with three numbers"),
        ("classes.txt", "ignore 1 2 3\n", "holds no class"),
        ("class_dict.csv", b"name,r,g,b\n\xff\xfe,1,2,3\n", "is no UTF-8 text"),
    ],
)
def test_rows_that_cannot_be_right_are_named(root, cache, name, text, words):
    rewrite(root, coloured)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=words):
        resolved(root, cache)


def lines_of(text, start):
    return [line.strip() for line in text.splitlines() if line.strip().startswith((start, "ignore"))]


def test_numbers_that_no_mask_has_are_said_with_the_lines_that_leave_them_out(root, cache, caplog):
    labels = stored(root / "train" / "masks" / "000.png")
    rewrite(root, lambda labels: np.array([1, 2, 4], dtype=np.uint8)[labels])
    with caplog.at_level(logging.WARNING, logger="bob"):
        assert resolved(root, cache).classes == ("0", "1", "2", "3", "4")
    assert "no mask has the labels 0, 3" in caplog.text
    lines = lines_of(caplog.text, "name_")
    assert lines == ["ignore", "name_1", "name_2", "ignore", "name_4"]
    (root / "classes.txt").write_text("\n".join(lines))
    train = opened(root, cache)
    assert train.classes == ("name_1", "name_2", "name_4") and (train.semantic(0) == labels).all()


@pytest.mark.parametrize("values", [[0, 7, 200], [0, 85, 170, 255]])
def test_the_lines_for_few_values_far_apart_settle_them(tmp_path, cache, values):
    root = mask_folders(tmp_path / "set", SPLITS, labels=len(values))
    labels = stored(root / "train" / "masks" / "000.png")
    rewrite(root, lambda labels: np.array(values, dtype=np.uint8)[labels])
    with pytest.raises(DataError, match=f"hold the labels {', '.join(map(str, values))} alone") as error:
        resolved(root, cache)
    (root / "classes.txt").write_text("\n".join(lines_of(str(error.value.hint), "name_")))
    train = opened(root, cache)
    assert train.classes == tuple(f"name_{value}" for value in values) and (train.semantic(0) == labels).all()


def test_the_lines_for_a_label_that_train_lacks_leave_it_out(root, cache):
    for path in (root / "train" / "masks").iterdir():
        Image.fromarray(np.minimum(stored(path), 1)).save(path)
    with pytest.raises(DataError, match="no training pixel for the classes 2, which test has") as error:
        resolved(root, cache)
    lines = lines_of(str(error.value.hint), "name_")
    assert lines == ["name_0", "name_1", "ignore"]
    (root / "classes.txt").write_text("\n".join(lines))
    assert resolved(root, cache).classes == ("name_0", "name_1")


def test_the_lines_for_named_masks_of_0_and_255_settle_them(root, cache):
    rewrite(root, lambda labels: ((labels > 0) * 255).astype(np.uint8))
    (root / "classes.txt").write_text("ground\ncrop\n")
    with pytest.raises(DataError, match="hold 0 and 255 alone, and 255 is ignored") as error:
        resolved(root, cache)
    (root / "classes.txt").write_text(
        "\n".join([*lines_of(str(error.value.hint), "ground"), *lines_of(str(error.value.hint), "crop")])
    )
    train = opened(root, cache)
    assert train.classes == ("ground", "crop") and set(np.unique(train.semantic(0))) == {0, 1}


def test_masks_of_one_bit_are_background_and_foreground(root, cache):
    labels = stored(root / "train" / "masks" / "000.png") > 0
    rewrite(root, lambda labels: Image.fromarray(labels > 0))
    train = opened(root, cache)
    assert train.classes == ("background", "foreground") and (train.semantic(0) == labels).all()
    Image.fromarray((labels * 255).astype(np.uint8)).save(root / "val" / "masks" / "000.png")
    with pytest.raises(DataError, match="have one bit a pixel, the others hold 255"):
        resolved(root, cache)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, ">u2"])
def test_wide_whole_numbers_are_read_and_decimal_ones_refused(root, cache, kind):
    labels = stored(root / "train" / "masks" / "000.png")

    def write(kind):
        for path in list(root.glob("*/masks/*")):
            Image.fromarray(stored(path).astype(kind)).save(path.with_suffix(".tif"))
            if path.suffix != ".tif":
                path.unlink()

    write(kind)
    assert (opened(root, cache).semantic(0) == labels).all()
    write(np.float32)
    with pytest.raises(DataError, match=r"no mask holds a class number: .*\.tif: the mask holds decimal numbers"):
        resolved(root, cache)


def valid(root, cache):
    """Resolve and read a data set: BobError, or maps of known classes."""
    try:
        spec = resolved(root, cache)
        part = open_dense(spec, "train", annotation="semantic", cache_dir=cache)
    except BobError as error:
        assert str(error)
        return False
    assert len(spec.classes) == len(set(spec.classes)) < 254
    for index in range(len(part)):
        found = part.semantic(index)
        assert found.dtype == np.uint8 and found.shape == tuple(part.sizes[index])
        assert set(np.unique(found).tolist()) <= {*range(len(spec.classes)), IGNORE}
    return True


def spoilt(content, rng):
    """Return bytes with one thing wrong: flipped, cut off, doubled, put in."""
    content, at = bytearray(content), int(rng.integers(0, len(content)))
    junk = (b"\x00", b"NaN", b"-1", b"9" * 40, b"\xff\xfe", b",,,", b"\n\n", b" " * 500, b"#gggggg", "\u0663".encode())
    kind = rng.integers(0, 5)
    if kind == 0:
        content[at] ^= int(rng.integers(1, 256))
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        content[at : at + int(rng.integers(0, 4))] = junk[rng.integers(0, len(junk))]
    elif kind == 3:
        content += content[at:]
    else:
        for place in rng.integers(0, len(content), 8).tolist():
            content[place] = int(rng.integers(0, 256))
    return bytes(content)


def test_no_spoilt_table_is_more_than_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # a thousand small files of cache
    rng = np.random.default_rng(7)
    root = mask_folders(tmp_path / "set", {"train": 1, "val": 1, "test": 1})
    rewrite(root, coloured)
    tables = {**TABLES, "classes.txt  ": "road\nignore\ncar\n", "classes.txt   ": "road\n1 2 3\ncar\n"}
    names = list(tables)
    good = 0
    for turn in range(500):
        name = names[turn % len(names)]
        path = root / name.strip()
        path.write_bytes(spoilt(tables[name].encode(), rng))
        good += valid(root, tmp_path / "cache")
        path.unlink()
    assert 20 < good < 480


def test_no_spoilt_mask_is_more_than_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    rng = np.random.default_rng(8)
    sets = [mask_folders(tmp_path / name, {"train": 1, "val": 1, "test": 1}) for name in ("grey", "coloured")]
    rewrite(sets[1], coloured)
    (sets[1] / "classes.txt").write_text(TABLES["classes.txt"])
    good = 0
    for turn in range(500):
        root = sets[turn % 2]
        path = root / "train" / "masks" / "000.png"
        content = path.read_bytes()
        if turn % 5:
            path.write_bytes(spoilt(content, rng))
        else:
            mode = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16")[turn // 10 % 10]
            size = (40, 30) if turn % 3 else (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
            image = Image.new(mode, size) if mode == "I;16" else picture(turn, size).convert(mode)
            image.save(path, format="TIFF" if mode in ("F", "CMYK", "I") else "PNG")
        good += valid(root, tmp_path / "cache")
        path.write_bytes(content)
    assert 5 < good < 480
