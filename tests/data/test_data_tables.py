"""Tables that list pictures with their classes: what is found, what is refused, and that no input ends otherwise."""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from data_helpers import class_folders, first_seed, picture

from bob.core.errors import BobError, DataError
from bob.data.pictures import open_split, require_annotation
from bob.data.readers import READERS
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


@pytest.fixture
def in_process(monkeypatch):
    """Describe in this process: a child would take a second each."""
    monkeypatch.setattr(
        "bob.data.describe_dataset._ask",
        lambda kind, target, root, cache: READERS.get(kind).describe(target, root, cache),
    )


def pictures(folder, count=12, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture(first_seed(*folder.parts[-2:]) + index, (8, 8)).save(folder / f"{index}{suffix}")


def table(root, lines, *, name="labels.csv", folder="img", count=12):
    pictures(root / folder, count)
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def rows(count=12, form="img/{n}.png,{label}"):
    return [form.format(n=n, label=("dog", "cat")[n % 2], split=SPLITS[n // 2 % 4]) for n in range(count)]


SPLITS = ("train", "train", "val", "test")
HEADER = "path,label"
DIVIDED = ["path,label,split", *rows(form="img/{n}.png,{label},{split}")]


def resolved(text, cache):
    return resolve_dataset(str(text), cache_dir=cache)


def labels(spec, cache):
    """Return the class of every picture by id, in all splits."""
    found = {}
    for split, _ in spec.sizes:
        part = open_split(spec, split, annotation=spec.annotations[0], cache_dir=cache)
        found |= {one: spec.classes[label] for one, label in zip(part.ids, part.labels.tolist(), strict=True)}
    return found


def refused(text, cache, match):
    with pytest.raises(DataError, match=match) as error:
        resolved(text, cache)
    return error.value


def test_a_table_beside_a_folder_of_pictures_is_read_by_its_columns(root, cache):
    spec = resolved(table(root, DIVIDED), cache)
    assert spec.kind == "table" and spec.classes == ("cat", "dog") and spec.annotations == ("label",)
    assert dict(spec.sizes) == {"train": 8, "val": 2, "test": 2}
    assert labels(spec, cache)["img/3.png"] == "cat"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("labels.csv", lambda text: text.encode()),
        ("labels.csv", lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()),
        ("labels.csv", lambda text: text.replace(",", ";").encode()),
        ("labels.csv", lambda text: text.encode("utf-16")),
        ("labels.tsv", lambda text: text.replace(",", "\t").encode()),
        ("labels.jsonl", lambda text: json_lines(text).encode()),
        ("labels.ndjson", lambda text: json_lines(text).encode()),
    ],
)
def test_every_form_of_text_says_the_same(name, write, root, cache):
    table(root, DIVIDED)
    (root / "labels.csv").unlink()
    (root / name).write_bytes(write("\n".join(DIVIDED) + "\n"))
    for text in (root, root / name, f"table:{root}", f"table:{root / name}"):
        spec = resolved(text, cache)
        assert spec.name == "set" and dict(spec.sizes) == {"train": 8, "val": 2, "test": 2}
        assert labels(spec, cache)["img/2.png"] == "dog"


def json_lines(text):
    return "\n".join(json.dumps(row) for row in csv.DictReader(io.StringIO(text)))


def test_quoted_commas_latin_1_and_blank_lines_are_read_and_latin_1_is_said(root, cache, caplog):
    lines = ["path,label", *(f'img/{n}.png,"{("Käse, alt", "wine")[n % 2]}"' for n in range(12)), ",", ""]
    table(root, [])
    (root / "labels.csv").write_bytes("\n".join(lines).encode("latin-1"))
    assert resolved(root, cache).classes == ("Käse, alt", "wine")
    assert "read as Latin-1" in caplog.text


def test_metadata_in_split_folders_and_one_at_the_top(root, cache):
    for split in ("train", "test"):
        table(root / split, ["file_name,label", *rows(form="{n}.png,{label}")], name="metadata.csv", folder=".")
    assert dict(resolved(root, cache).sizes) == {"train": 10, "val": 2, "test": 12}
    for split in ("train", "test"):
        (root / split / "metadata.csv").unlink()
    both = [line for split in ("train", "test") for line in rows(form=split + "/{n}.png,{label}")]
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *both]))
    spec = resolved(root, cache)
    assert dict(spec.sizes) == {"train": 10, "val": 2, "test": 12}
    assert labels(spec, cache)["test/1.png"] == "cat"


def test_a_table_per_split_with_ids_without_suffix_as_kaggle_has_them(root, cache, caplog):
    table(root, ["id,breed", *rows(form="{n},{label}")], name="train.csv", folder="train")
    table(root, ["id,breed", *rows(6, form="{n},{label}")], name="val.csv", folder="val", count=6)
    table(root, ["id", *(str(n) for n in range(4))], name="test.csv", folder="test", count=5)
    (root / "sample_submission.csv").write_text("id,breed\n0,cat\n1,cat\n")
    spec = resolved(root, cache)
    assert dict(spec.sizes) == {"train": 10, "val": 2, "test": 6}
    assert "labels of split test are hidden" in caplog.text and "1 pictures are not listed" in caplog.text
    assert labels(spec, cache)["val/1.png"] == "cat"


def test_pictures_spread_over_folders_are_found_by_name(root, cache):
    pictures(root / "part_1", 6)
    pictures(root / "part_2", 12)
    for n in range(6):
        (root / "part_2" / f"{n}.png").unlink()
    (root / "meta.csv").write_text("\n".join(["image_id,dx", *rows(form="{n},{label}")]))
    error = refused(root, cache, "folders could be the classes of its pictures, but by meta.csv part_1/0.png has")
    assert f"table:{root}" in error.hint and f"folder:{root}" in error.hint
    assert labels(resolved(f"table:{root}", cache), cache)["part_2/7.png"] == "cat"
    assert resolved(f"folder:{root}", cache).classes == ("part_1", "part_2")


def test_columns_are_said_by_options_and_asked_for_by_name(root, cache):
    lines = ["foto,genus,width", *(f"img/{n}.png,{('rosa', 'viola')[n % 2]},{n}" for n in range(12))]
    error = refused(table(root, lines), cache, "no column is called as labels are .* 'genus', 'width'")
    assert "?label=genus" in error.hint
    assert resolved(f"table:{root}?label=genus", cache).classes == ("rosa", "viola")
    assert resolved(f"table:{root / 'labels.csv'}?path=FOTO&label=genus", cache).classes == ("rosa", "viola")
    refused(f"table:{root}?label=genius", cache, "Did you mean 'genus'")
    refused(f"table:{root}?labels=genus", cache, "Did you mean 'label'")
    refused(f"table:{root}?label=genus&pictures=../x", cache, "leads out")


def test_of_several_label_columns_names_come_before_their_numbers_and_none_is_guessed(root, cache):
    lines = ["path,label,class_name", *(f"img/{n}.png,{n % 2},{('dog', 'cat')[n % 2]}" for n in range(12))]
    assert resolved(table(root, lines), cache).classes == ("cat", "dog")
    lines = ["path,species,breed", *(f"img/{n}.png,{n % 2},{n % 3}" for n in range(12))]
    refused(table(root, lines), cache, "several label columns: 'species', 'breed'")


def test_numbers_are_names_and_are_one_class_however_they_are_written(root, cache):
    values = [3, 3.0, "3", "3.0", 10, 10.0, "10", "10.0", 3, 10, 3, 10]
    table(root, [], name="labels.csv")
    (root / "labels.csv").unlink()
    lines = [json.dumps({"image": f"img/{n}.png", "label": value}) for n, value in enumerate(values)]
    (root / "labels.jsonl").write_text("\n".join(lines))
    spec = resolved(root, cache)
    assert spec.classes == ("3", "10") and labels(spec, cache)["img/7.png"] == "10"


def test_measured_values_and_boxes_are_no_classes(root, cache):
    refused(table(root, [HEADER, *(f"img/{n}.png,{n / 8}" for n in range(12))]), cache, "measured values, no classes")
    lines = ["filename,class,xmin,ymin", *rows(form="img/{n}.png,{label},1,2")]
    refused(table(root, lines), cache, "'xmin', 'ymin' look like boxes")


@pytest.mark.parametrize(
    ("column", "values", "sizes"),
    [
        ("is_valid", ("True", "False"), {"train": 5, "val": 1, "test": 6}),
        ("is_test", ("1.0", "0"), {"train": 5, "val": 1, "test": 6}),
        ("is_training_image", ("0", "1"), {"train": 5, "val": 1, "test": 6}),
        ("Subset", ("dev", "Training"), {"train": 5, "val": 1, "test": 6}),
    ],
)
def test_splits_by_columns_of_flags_and_names(column, values, sizes, root, cache):
    lines = [f"path,label,{column}", *(f"img/{n}.png,{('a1', 'b1')[n // 2 % 2]},{values[n % 2]}" for n in range(12))]
    spec = resolved(table(root, lines), cache)
    assert sum(dict(spec.sizes).values()) == 12 and dict(spec.sizes)["test"] == sizes["test"]


def test_folds_and_unknown_splits_are_refused_and_may_be_passed_over(root, cache):
    lines = ["path,label,fold", *rows(form="img/{n}.png,{label},1")]
    refused(table(root, lines), cache, "folds of a cross-validation")
    assert sum(dict(resolved(f"table:{root}?split=none", cache).sizes).values()) == 12
    lines = ["path,label,split", *rows(form="img/{n}.png,{label},holdout")]
    refused(table(root, lines), cache, "line 2: column 'split' holds 'holdout'")


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (rows(), "first line names the picture 'img/0.png'; a header"),
        ([HEADER, *rows(), "img/3.png,cat,x"], "line 14: 3 cells, and the header has 2"),
        ([HEADER, *rows(), "img/3.png"], "line 14: 1 cells, and the header has 2"),
        ([HEADER, *rows(), 'img/3.png,"cat'], "line 14: unexpected end of data"),
        ([HEADER, *rows(), "img/3.png,dog"], r"img/3.png is listed again, with another label \(dog\) than by .*line 5"),
        ([*DIVIDED, "img/3.png,cat,test"], "img/3.png is in test, and by labels.csv, line 5 in train"),
        ([HEADER, *rows(), "../0.png,cat"], "line 14: '../0.png' leads out"),
        ([HEADER, *rows(), "/etc/0.png,cat"], "line 14: '/etc/0.png' leads out"),
        ([HEADER, *rows(), ",cat"], "line 14: an empty cell is no path"),
        ([HEADER, *rows(), "\0"], "line 14: a NUL byte"),
        (["path,label,label", *rows(form="img/{n}.png,{label},x")], "two columns are called 'label'"),
        ([HEADER], "none of labels.csv names pictures"),
        ([HEADER, *rows(8), *(f"img/{n}.png," for n in range(8, 12))], "4 of 12 pictures of split all have no label"),
        ([HEADER, *rows(12, "img/{n}.PNG,{label}")], "img/0.png differs in case alone"),
        ([HEADER, *rows(), "img/12.png,cat"], r"1 of 13 listed pictures .* missing, such as img/12.png \(listed, but"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(lines, match, root, cache):
    table(root, lines)
    refused(f"table:{root}", cache, match)


def test_a_missing_picture_is_a_bad_one_and_other_files_of_its_name_are_not_taken(root, cache, caplog):
    lines = [f"{n}.png,{n % 2},{'train' if n < 41 else ('val', 'test')[n % 4 // 2]}" for n in range(61)]
    table(root, ["path,label,split", *lines], count=61)
    (root / "img" / "40.png").unlink()
    pictures(root / "old", 0)
    picture(1, (8, 8)).save(root / "old" / "40.png")
    spec = resolved(f"table:{root}", cache)
    found = labels(spec, cache)
    assert len(found) == 60 and "old/40.png" not in found
    assert "img/40.png (FileNotFoundError: not in img/; only old/40.png has its name)" in caplog.text


def test_a_few_unlabelled_or_repeated_lines_are_said_and_counted_once(root, cache, caplog):
    table(root, [HEADER, *rows(40), "img/40.png,", "img/3.png,cat"], count=41)
    assert sum(dict(resolved(root, cache).sizes).values()) == 40
    assert "1 pictures of split all have no label and are left out: img/40.png" in caplog.text
    assert "1 lines list a picture again" in caplog.text


def test_names_that_fit_two_files_are_asked_about(root, cache):
    pictures(root / "small")
    table(root, ["id,label", *rows(form="{n},{label}")])
    refused(f"table:{root}", cache, "'0' may be (img|small)/0.png or")
    assert set(labels(resolved(f"table:{root}?pictures=small", cache), cache)) == {f"small/{n}.png" for n in range(12)}


def test_absolute_paths_in_the_folder_and_backslashes_are_fine(root, cache):
    lines = [HEADER, *(f"{root}/img/{n}.png,{n % 2}" if n % 3 else f"img\\{n}.png,{n % 2}" for n in range(12))]
    assert len(labels(resolved(table(root, lines), cache), cache)) == 12


def test_one_hot_columns_are_classes_and_several_ones_are_several_classes(root, cache):
    lines = ["id,cat,dog,eel", *(f"{n},{int(n % 3 == 0)},{int(n % 3 == 1)},{int(n % 3 == 2)}" for n in range(12))]
    spec = resolved(table(root, lines), cache)
    assert spec.classes == ("cat", "dog", "eel") and labels(spec, cache)["img/4.png"] == "dog"
    lines[1:3] = ["0,1,1,0", "1,0,1,"]
    spec = resolved(table(root, lines), cache)
    assert spec.annotations == ("multilabel",)
    with pytest.raises(DataError, match="not a class"):
        require_annotation(spec, "label")
    stored = READERS.get("table").open(spec, cache_dir=cache)["all"]
    np.testing.assert_array_equal(stored.values[:3], np.float32([[1, 1, 0], [0, 1, np.nan], [0, 0, 1]]))


@pytest.mark.parametrize("cell", ["cat|dog", "cat;dog", '"[""cat"", ""dog""]"', "\"['dog', 'cat']\""])
def test_lists_of_labels_are_several_classes(cell, root, cache):
    spec = resolved(table(root, [HEADER, *rows(11), f"img/11.png,{cell}"]), cache)
    assert spec.annotations == ("multilabel",) and spec.classes == ("cat", "dog")
    values = READERS.get("table").open(spec, cache_dir=cache)["all"].values
    assert values[11].tolist() == [1, 1] and values[0].tolist() == [0, 1]


def test_folders_of_classes_stay_folders_beside_a_table_about_something_else(root, cache, caplog):
    class_folders(root, {"cat": 4, "dog": 4})
    before = resolved(root, cache).fingerprint
    paths = [f"{name}/{n:03d}.jpg" for name in ("cat", "dog") for n in range(4)]
    for lines in (["what,why", "a,b"], ["path,width", *(f"{path},40" for path in paths)]):
        (root / "notes.csv").write_text("\n".join(lines))
        assert resolved(root, cache).fingerprint == before
    (root / "notes.csv").write_text("\n".join(["path,label", *(f"{path},{path[:3]}" for path in paths)]))
    assert resolved(root, cache).fingerprint == before
    assert "gives the pictures the classes of their folders: the folders are read" in caplog.text
    (root / "notes.csv").write_text("\n".join(["path,label", *(f"{path},{path[4:7]}" for path in paths)]))
    error = refused(root, cache, "folders could be the classes of its pictures, but by notes.csv cat/000.jpg has")
    assert f"folder:{root}" in error.hint
    assert resolve_dataset(str(root), cache_dir=cache, labelled=False).fingerprint == before


def test_the_fingerprint_follows_every_cell_and_no_unlisted_picture(root, cache):
    table(root, DIVIDED)
    first = resolved(root, cache)
    picture(99, (8, 8)).save(root / "img" / "99.png")
    assert resolved(root, cache).fingerprint == first.fingerprint
    (root / "labels.csv").write_text("\n".join(DIVIDED).replace("img/3.png,cat", "img/3.png,dog"))
    assert resolved(root, cache).fingerprint != first.fingerprint
    with pytest.raises(DataError, match="changed since the job was planned"):
        open_split(first, "train", cache_dir=cache)


def parquet(path, columns, *, names=None, group=4):
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        content = content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=group)


def stored(count, first=0):
    encoded = []
    for n in range(first, first + count):
        file = io.BytesIO()
        picture(n, (8, 8)).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": f"{n}.png"})
    return encoded


def test_a_hub_export_is_read_by_split_names_with_its_class_names(root, cache, in_process):
    for shard in (0, 1):
        columns = {"image": stored(6, 6 * shard), "label": [0, 1] * 3}
        parquet(root / f"data/train-0000{shard}-of-00002.parquet", columns, names=["wolf", "bear"])
    columns = {"image": stored(4, 20), "label": [1, 0, 1, 0]}
    parquet(root / "data/test-00000-of-00001.parquet", columns, names=["wolf", "bear"])
    spec = resolved(root, cache)
    assert spec.kind == "table" and spec.classes == ("bear", "wolf")
    assert dict(spec.sizes) == {"train": 10, "val": 2, "test": 4}
    test = open_split(spec, "test", cache_dir=cache)
    again = pickle.loads(pickle.dumps(test))
    for n in range(4):
        np.testing.assert_array_equal(np.asarray(again.load(n)), np.asarray(picture(20 + n, (8, 8))))
    assert [spec.classes[label] for label in test.labels] == ["bear", "wolf", "bear", "wolf"]
    (root / "data/train-00001-of-00002.parquet").unlink()
    refused(root, cache, "1 parts are here; 00002 are expected")


def test_parquet_with_paths_and_with_plain_bytes(root, cache, in_process):
    pictures(root / "img")
    columns = {"file_name": [f"img/{n}.png" for n in range(12)], "label": [float(n % 2) for n in range(12)]}
    parquet(root / "metadata.parquet", columns)
    assert resolved(root, cache).classes == ("0", "1")
    parquet(root / "metadata.parquet", {"image": [{"bytes": None, "path": f"img/{n}.png"} for n in range(12)],
                                        "label": columns["label"]})  # fmt: skip
    assert len(labels(resolved(root, cache), cache)) == 12
    parquet(root.parent / "birds.parquet", {"image": [one["bytes"] for one in stored(12)], "label": columns["label"]})
    spec = resolved(root.parent / "birds.parquet", cache)
    assert spec.name == "birds" and len(labels(spec, cache)) == 12


def test_planning_a_table_imports_nothing_heavy(root, cache):
    parquet(root / "train.parquet", {"image": stored(12), "label": [0, 1] * 6})
    table(root.parent / "other", DIVIDED)
    texts = [str(root), str(root.parent / "other")]
    code = (
        "import sys; from pathlib import Path; from bob.data.resolve import resolve_dataset\n"
        f"[resolve_dataset(text, cache_dir=Path({str(cache)!r})) for text in {texts!r}]\n"
        "sys.exit([name for name in ('torch', 'pandas', 'pyarrow') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "" and done.returncode == 0


def mutated(text, chance):
    """Return a table's text with one thing wrong."""
    kind = chance.randrange(6)
    lines = text.split("\n")
    row = chance.randrange(len(lines))
    cells = lines[row].split(",")
    if kind == 0:
        content = bytearray(text.encode())
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(content)
    if kind == 1:
        return text[: chance.randrange(len(text))].encode()
    if kind == 2:
        cells[chance.randrange(len(cells))] = chance.choice(WRONG)
        lines[row] = ",".join(cells)
    elif kind == 3:
        del cells[chance.randrange(len(cells))]
        lines[row] = ",".join(cells)
    elif kind == 4:
        lines.insert(chance.randrange(len(lines)), lines[row])
    else:
        lines[row] = lines[chance.randrange(len(lines))]
    return "\n".join(lines).encode()


WRONG = (
    *("text", "NaN", "null", "inf", "1e999", "-1", "9" * 400, "[" * 3000, "[[1]]", '"', "\0", "..", "../..", "/", "//"),
    *(".", "a|b", "img", "img/", "C:\\x.png", "=1+1", "[]", "[1, [2]]", "{}", "0x10", "é" * 5000, "img/0.png/1.png"),
)


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_a_mutated_table_is_refused_or_read_into_valid_labels(name, root, cache):
    table(root, DIVIDED)
    (root / "labels.csv").unlink()
    good = "\n".join(DIVIDED) if name.endswith("csv") else json_lines("\n".join(DIVIDED))
    chance, outcomes = random.Random(0), {"read": 0, "refused": 0}
    reader = READERS.get("table")
    for _ in range(250):
        (root / name).write_bytes(mutated(good, chance))
        try:
            spec = reader.resolve(str(root / name), cache_dir=cache, data_dir=None)
            parts = reader.open(spec, cache_dir=cache)
        except BobError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        for part in parts.values():
            assert len(part.ids) == len(part.labels) == len(set(part.ids))
            assert ((part.labels >= 0) & (part.labels < len(spec.classes))).all()
            assert all(one.startswith("img/") and ".." not in one for one in part.ids)
    assert min(outcomes.values()) > 20


def test_a_mutated_parquet_file_is_refused_or_read_into_valid_labels(root, cache, in_process):
    parquet(root / "train.parquet", {"image": stored(12), "label": [0, 1] * 6}, names=["a1", "b1"])
    good, chance = (root / "train.parquet").read_bytes(), random.Random(0)
    for turn in range(60):
        content = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(max(0, len(content) - 1500), len(content))] = chance.randrange(256)
        (root / "train.parquet").write_bytes(content[: chance.randrange(len(content))] if turn % 4 == 0 else content)
        try:
            spec = resolved(root, cache)
            labels(spec, cache)
        except BobError:
            continue
        assert set(spec.classes) <= {"a1", "b1"}


def test_a_row_without_bytes_among_others_is_a_bad_picture_and_no_file_is_read_for_it(root, cache, in_process):
    images = stored(40)
    images[7] = {"bytes": None, "path": "7.png"}
    parquet(root / "data/train-00000-of-00001.parquet", {"image": images, "label": [0, 1] * 20})
    parquet(root / "data/test-00000-of-00001.parquet", {"image": stored(4, 50), "label": [0, 1] * 2})
    picture(7, (8, 8)).save(root / "7.png")
    train = open_split(resolved(root, cache), "train", cache_dir=cache)
    val = open_split(resolved(root, cache), "val", cache_dir=cache)
    assert len(train.dropped) + len(val.dropped) == 1


def test_links_out_of_the_folder_are_followed_by_the_child_that_reads_parquet(tmp_path, cache):
    parquet(tmp_path / "store/train-00000-of-00001.parquet", {"image": stored(12), "label": [0, 1] * 6})
    parquet(tmp_path / "store/test-00000-of-00001.parquet", {"image": stored(4, 50), "label": [0, 1] * 2})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data").symlink_to(tmp_path / "store")
    spec = resolve_dataset(f"table:{tmp_path / 'set'}", cache_dir=cache, follow_links=True)
    assert dict(spec.sizes)["test"] == 4
