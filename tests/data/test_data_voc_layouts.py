"""VOC's XML files as people have them: without lists, beside the pictures, exported by tools, damaged."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from data_helpers import class_folders, picture
from voc_files import voc_object, voc_page, voc_pages, voc_year

from bob.core.errors import BobError, DataError
from bob.data import voc_layout
from bob.data.dense_pictures import open_dense
from bob.data.resolve import resolve_dataset
from bob.data.voc_layout import Page, has_voc_parts
from bob.data.voc_parse import parse_voc


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def resolved(root, cache, prefix=""):
    return resolve_dataset(f"{prefix}{root}", cache_dir=cache)


def opened(spec, cache, split):
    return open_dense(spec, split, annotation="boxes", cache_dir=cache)


# Where the XML files and the pictures of a split lie.
DIVIDED = {
    "a VOC folder for each": ("{}/Annotations", "{}/JPEGImages"),
    "images with annotations in each": ("{}/annotations", "{}/images"),
    "beside the pictures": ("{}", "{}"),
    "beside the pictures of images": ("images/{}", "images/{}"),
    "splits on both lower levels": ("annotations/{}", "images/{}"),
    "splits of the pictures alone": ("annotations", "images/{}"),
    "splits of the XML files alone": ("Annotations/{}", "JPEGImages"),
    "pictures in the root's splits": ("xml", "{}"),
}


@pytest.mark.parametrize("layout", DIVIDED)
def test_splits_are_found_wherever_tools_put_them(root, cache, layout):
    for split, start, count in (("train", 0, 8), ("valid", 20, 3), ("test", 40, 4)):
        pages, pictures = (root / place.format(split) for place in DIVIDED[layout])
        voc_pages(pages, pictures, range(start, start + count))
    spec = resolved(root, cache)
    assert (spec.kind, spec.classes, spec.license) == ("voc", ("cat", "dog"), "unknown")
    assert dict(spec.sizes) == {"train": 8, "val": 3, "test": 4}
    test = opened(spec, cache, "test")
    assert len(test) == 4 and test.dropped == () and test.faults == {}
    assert test.instances(0).boxes.tolist() == [[2, 3, 10, 12], [0, 0, 40, 30]]
    assert resolved(root, cache, "voc:").fingerprint == spec.fingerprint


@pytest.mark.parametrize(
    ("pages", "pictures"),
    [("Annotations", "JPEGImages"), ("annotations", "images"), ("", ""), ("images", "images"), ("annotations", "")],
)
def test_undivided_files_are_split_70_10_20(root, cache, pages, pictures):
    voc_pages(root / pages, root / pictures, range(20))
    (root / pages / "classes.txt").write_text("dog\ncat\n")
    spec = resolved(root, cache)
    assert spec.kind == "voc" and dict(spec.sizes) == {"train": 14, "val": 2, "test": 4}


def test_the_prefix_reads_folders_within_folders(root, cache):
    for name in ("a", "b"):
        voc_pages(root / name, root / name, range(10))
    with pytest.raises(DataError, match="look like boxes in VOC's format"):
        resolved(root, cache)
    assert dict(resolved(root, cache, "voc:").sizes) == {"train": 14, "val": 2, "test": 4}


def test_xml_files_of_another_kind_and_folders_of_classes_are_not_taken_for_voc(root, cache):
    class_folders(root / "train", {"cat": 4, "labels": 4})
    (root / "train" / "labels" / "a.xml").write_text("<svg></svg>")
    (root / "train" / "notes.xml").write_text("<html></html>")
    assert not has_voc_parts(root) and resolved(root, cache).kind == "imagefolder"
    (root / "other").mkdir()
    with pytest.raises(DataError, match="holds no VOC annotations as far as its folders tell"):
        resolved(root / "other", cache, "voc:")


def test_each_folder_is_looked_at_once_however_many_layouts_there_are(root, monkeypatch):
    voc_pages(root / "images", root / "images", range(3))
    (root / "images" / "train").mkdir()
    for path in (root / "images").glob("*.xml"):
        path.unlink()
    looked = []
    look = voc_layout._look
    monkeypatch.setattr(voc_layout, "_look", lambda folder: looked.append(folder) or look(folder))
    assert not has_voc_parts(root)
    assert sorted(looked) == [root, root / "images", root / "images" / "train"]


def test_a_test_split_without_xml_is_left_out_and_another_is_an_error(root, cache, caplog):
    voc_pages(root / "train", root / "train", range(8))
    voc_pages(root / "val", root / "val", range(3))
    (root / "test").mkdir()
    picture(0).save(root / "test" / "0.jpg")
    assert dict(resolved(root, cache).sizes) == {"train": 7, "val": 1, "test": 3}
    assert "the split test has no XML files with pictures: it is left out" in caplog.text
    for path in (root / "val").glob("*.xml"):
        path.unlink()
    with pytest.raises(DataError, match="the split val has no XML files"):
        resolved(root, cache)


def test_names_that_two_files_or_two_splits_share_are_refused(root, cache):
    voc_pages(root / "annotations" / "train", root / "images", range(8))
    voc_pages(root / "annotations" / "test", root / "images", [7])
    with pytest.raises(DataError, match=r"images/7\.jpg belongs to both train and test"):
        resolved(root, cache)
    shutil.rmtree(root)
    voc_pages(root, root, range(8))
    picture(0).save(root / "3.png")
    with pytest.raises(DataError, match=r"3\.jpg and 3\.png .* have the same name but for the suffix"):
        resolved(root, cache)
    for split in ("train", "val", "valid"):
        voc_pages(root / split, root / split, range(3))
    with pytest.raises(DataError, match="holds both val and valid"):
        resolved(root, cache)
    (root / "valid").rename(root / "Val")
    with pytest.raises(DataError, match="holds both Val and val"):
        resolved(root, cache)


def test_a_picture_without_xml_and_xml_without_a_picture_are_left_out_by_name(root, cache):
    voc_pages(root / "train", root / "train", range(10))
    voc_pages(root / "test", root / "test", range(60))
    (root / "test" / "3.xml").unlink()
    (root / "test" / "5.jpg").unlink()
    test = opened(resolved(root, cache), cache, "test")
    assert sorted(test.dropped) == ["test/3.jpg", "test/5.jpg"] and len(test) == 58


@pytest.mark.parametrize("lists", [False, True])
def test_the_files_own_name_decides_and_the_stated_one_where_no_picture_has_it(root, cache, lists):
    names = "\n".join(map(str, range(8))) + "\n"
    voc_year(root, {"train": names, "test": "moved\n8\n"}, count=10)
    if not lists:
        shutil.rmtree(root / "ImageSets")
    (root / "Annotations" / "9.xml").rename(root / "Annotations" / "moved.xml")
    (root / "Annotations" / "moved.xml").write_text(voc_page(voc_object("cat"), filename="C:\\mine\\9.png"))
    (root / "Annotations" / "0.xml").write_text(voc_page(voc_object(), voc_object("cat"), filename="1.jpg"))
    spec = resolved(root, cache)
    found = {}
    for split in dict(spec.sizes):
        part = opened(spec, cache, split)
        assert part.dropped == ()
        found |= {path: len(part.instances(place).labels) for place, path in enumerate(part.ids)}
    assert len(found) == 10 and found["JPEGImages/9.jpg"] == 1 and found["JPEGImages/0.jpg"] == 2


def test_two_xml_files_that_state_one_picture_are_refused(root, cache):
    voc_pages(root / "Annotations", root / "JPEGImages", range(8))
    (root / "Annotations" / "7.xml").unlink()
    for name in ("x", "y"):
        (root / "Annotations" / f"{name}.xml").write_text(voc_page(voc_object(), filename="7.jpg"))
    with pytest.raises(DataError, match=r"Annotations/x\.xml and Annotations/y\.xml both state"):
        resolved(root, cache)


NAMES = "0\n1\n2\n3\n4\n5\n"


@pytest.mark.parametrize(
    ("lists", "sizes"),
    [
        ({"train": "0 -1\n1  1\n2 0\n3 1\n4 1\n5 1\n", "test": "6\n7 1"}, {"train": 5, "val": 1, "test": 2}),
        ({"train": NAMES.replace("\n", ".jpg\n"), "test": "6.jpg\n7.JPG"}, {"train": 5, "val": 1, "test": 2}),
        ({"train": "\ufeff" + NAMES, "test": "./JPEGImages/6.jpg\nVOC/JPEGImages/7.jpg"}, {"train": 5, "test": 2}),
        ({"trainval": NAMES, "test": "6\n7\n"}, {"train": 5, "val": 1, "test": 2}),
        ({"trainval": NAMES + "6\n7\n", "val": "6\n7\n"}, {"train": 5, "val": 1, "test": 2}),
        ({"trainval": NAMES + "6\n7\n", "train": NAMES, "val": "6\n", "test": "7\n"}, {"train": 6, "val": 1}),
        ({"default": NAMES + "6\n7\n"}, {"train": 5, "val": 1, "test": 2}),
        ({"train": NAMES, "val": "6\n", "test": "a\nb\n"}, {"train": 5, "val": 1, "test": 1}),
    ],
)
def test_lists_are_read_as_tools_write_them(root, cache, lists, sizes):
    spec = resolved(voc_year(root, lists), cache)
    assert sizes.items() <= dict(spec.sizes).items()
    for split in dict(spec.sizes):
        assert len(opened(spec, cache, split)) == dict(spec.sizes)[split]


def test_a_name_with_a_space_is_a_name(root, cache):
    voc_year(root, {"train": NAMES, "test": "a 1\n"})
    voc_pages(root / "Annotations", root / "JPEGImages", ["a 1"])
    assert opened(resolved(root, cache), cache, "test").ids == ("JPEGImages/a 1.jpg",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0\n1 2\n", r"train\.txt, line 2: '1 2' has '2' where a flag"),
        (b"0 1 1\n", "line 1: '0 1 1' has '1 1' where a flag"),
        (b"0\n/data/JPEGImages/1.jpg\n", "line 2: .* is no plain name"),
        (b"JPEGImages/../1.jpg\n", "is no plain name"),
        (b"images/1.jpg\n", "is no plain name"),
        (b"0\n\xff\xfe\n", "no UTF-8 text: byte 2 is 0xff"),
        (b"\n \n", "has no list"),
    ],
)
def test_a_line_that_is_no_name_is_refused_with_its_number(root, cache, content, words):
    voc_year(root, {})
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        resolved(root, cache, "voc:")


def test_lists_without_voc_folders_are_not_passed_over(root, cache):
    voc_year(root, {"train": NAMES})
    (root / "JPEGImages").rename(root / "images")
    with pytest.raises(DataError, match="has lists in ImageSets, but not both"):
        resolved(root, cache)


def undivided(root, page):
    voc_pages(root / "Annotations", root / "JPEGImages", range(20), page)
    return root


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(0.1, 0.2, 0.5, 0.6)], r"40 of 40 boxes have four numbers from 0 to 1"),
        ([(25, 3, 12, 20)], r"40 of 40 boxes end before they begin and would fit as left, top, width and height"),
        ([(60, 60, 300, 200)], r"40 of 40 boxes leave their pictures"),
    ],
)
def test_boxes_of_another_convention_are_refused_over_the_files_of_a_split(root, cache, boxes, words):
    page = voc_page(*(voc_object(box=box) for box in boxes), voc_object("cat", boxes[0]))
    with pytest.raises(DataError, match=words) as error:
        resolved(undivided(root, page), cache)
    assert "xmin, ymin, xmax, ymax in pixels" in str(error.value.hint)


def test_exchanged_corners_are_a_fault_and_fractions_and_missing_sizes_are_read(root, cache):
    good = voc_page(*[voc_object("cat", (1, 1, 40, 30))] * 20, size=None)
    undivided(root, good)
    mixed = voc_page(
        voc_object(box=("3.5", "4.25", "10.0", "12")), voc_object(box=(30, 4, 10, 12)), *[voc_object()] * 9
    )
    for index in range(20):
        (root / "Annotations" / f"{index}.xml").write_text(mixed if index % 10 == 0 else good)
    spec = resolved(root, cache)
    parts = [opened(spec, cache, split) for split in dict(spec.sizes)]
    assert sum(part.faults.get("a box with no area", 0) for part in parts) == 2
    first = next((part, part.ids.index("JPEGImages/0.jpg")) for part in parts if "JPEGImages/0.jpg" in part.ids)
    assert first[0].instances(first[1]).boxes[0].tolist() == [2.5, 3.25, 10, 12]
    assert all(part.sizes.tolist() == [[30, 40]] * len(part) for part in parts)


def test_difficult_as_text_is_what_it_says_and_other_words_are_a_fault(root, cache):
    words = ("False", "0", "true", 1, "", "unclear", *["0"] * 30)
    page = voc_page(*(voc_object(difficult=word) for word in words), voc_object("cat"))
    test = opened(resolved(undivided(root, page), cache), cache, "test")
    assert test.faults == {"a difficult that is neither 0 nor 1": 4}
    assert test.instances(0).crowd.tolist()[:6] == [False, False, True, True, False, False]


def test_names_in_another_case_are_refused(root, cache):
    with pytest.raises(DataError, match="the classes 'Dog' and 'dog' differ in case"):
        resolved(undivided(root, voc_page(voc_object(), voc_object("Dog"), voc_object("cat"))), cache)


PAGE = voc_page(voc_object(), voc_object("cat"))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + PAGE.encode(),
        PAGE.encode("utf-16"),
        PAGE.replace("<annotation>", '<annotation xmlns="urn:mine">').encode(),
        PAGE.replace("<annotation>", '<annotation verified="yes">').encode(),
    ],
)
def test_marks_encodings_and_namespaces_change_nothing(root, cache, content):
    undivided(root, PAGE)
    for path in (root / "Annotations").glob("*.xml"):
        path.write_bytes(content)
    assert resolved(root, cache).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<?xml version='1.0' encoding='gb2312'?>" + PAGE, "cannot be decoded|cut off or damaged"),
        ("<?xml version='1.0' encoding='nonsense'?>" + PAGE, "cannot be decoded|cut off or damaged"),
        ("", "cut off or damaged at line 1"),
        ("<a>" * 100_000, "cut off or damaged"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + PAGE, "defines entities"),
    ],
)
def test_xml_that_cannot_be_read_is_an_error_that_names_the_file(root, cache, content, words):
    undivided(root, PAGE)
    (root / "Annotations" / "5.xml").write_text(content)
    with pytest.raises(DataError, match=words) as error:
        resolved(root, cache)
    assert "5.xml" in error.value.message


WORDS = ("", "nan", "inf", "-1", "1e308", "1" * 400, "None", "0.5", "<b>1</b>", "\u0663", "dog", "1_0", "-inf", "[1]")
TAGS = ("name", "xmin", "ymax", "width", "height", "bndbox", "size", "difficult", "object")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return an XML file with something changed as damage or carelessness would."""
    text, way = content.decode(), rng.randrange(5)
    if way == 0:
        broken = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        return bytes(broken)
    if way == 1:
        return content[: rng.randrange(len(content))]
    tag = rng.choice(TAGS)
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start)
    if way == 2:
        return (text[:start] + f"<{tag}>{rng.choice(WORDS)}" + text[end:]).encode()
    element = text[start : end + len(tag) + 3]
    return (text[:start] + element * (0 if way == 3 else 2) + text[end + len(tag) + 3 :]).encode()


def test_500_changed_files_give_valid_boxes_or_a_plain_error(root):
    rng = random.Random(0)
    objects = (voc_object(difficult=0), voc_object("cat", (1, 1, 40, 30), difficult=1))
    good = voc_page(*objects, filename="x.jpg").encode()
    root.mkdir()
    picture(0).save(root / "x.jpg")
    refused = 0
    for _ in range(500):
        (root / "x.xml").write_bytes(mutated(good, rng))
        try:
            pages = {"all": [Page("x.xml", "x.jpg")]}
            parsed = parse_voc(root, pages, {"all": []}, frozenset(("x.xml", "x.jpg")), is_devkit=False)
        except BobError:
            refused += 1
            continue
        table = parsed.splits["all"]
        boxes = np.array(table._boxes, dtype=float).reshape(-1, 4)
        height, width = table.sizes[0]
        assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= -1).all()
        assert (boxes[:, 2] <= width + 1).all() and (boxes[:, 3] <= height + 1).all()
        assert all(0 <= label < len(parsed.classes) for label in table._labels)
    assert 100 < refused < 400


def test_boxes_in_two_formats_are_asked_about_and_a_prefix_settles_it(root, cache):
    voc_pages(root / "annotations", root / "images", range(8))
    (root / "labels").mkdir()
    for place in range(8):
        (root / "labels" / f"{place}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    with pytest.raises(DataError, match="annotations of two kinds") as asked:
        resolved(root, cache)
    assert f"voc:{root}" in str(asked.value) and f"yolo:{root}" in str(asked.value)
    assert resolve_dataset(f"voc:{root}", cache_dir=cache).kind == "voc"
    assert resolve_dataset(f"yolo:{root}", cache_dir=cache).kind == "yolo"
