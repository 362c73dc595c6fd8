"""ROxford5k and RParis6k: queries are cut out, the truth is the authors', and a pickle never runs."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
from data_helpers import picture
from PIL import Image

from bob.core.errors import ConfigError, DataError, DataMissingError
from bob.data.pictures import open_split
from bob.data.readers.revisited import CroppingOpener, open_truth
from bob.data.resolve import fetch_dataset, resolve_dataset
from bob.data.retrieval_truth import parse_truth

NAMES = [f"all_souls_{number:06d}" for number in range(6)]
QUERIES = ["ashmolean_000001", "bodleian_000002"]
SIZE = (40, 30)


def content():
    """Return a ground truth of six gallery pictures and two queries; the second finds nothing hard."""
    first = {"bbx": [4.4, 5.5, 30.6, 25.0], "easy": [0, 3], "hard": [5], "junk": [1]}
    second = {"bbx": [0, 0, 40, 30], "easy": [2], "hard": [], "junk": []}
    return {"imlist": list(NAMES), "qimlist": list(QUERIES), "gnd": [first, second]}


def with_arrays(said):
    """Return a ground truth with numpy arrays, as the authors' pickles may have them."""
    kinds = {"bbx": np.float64, "easy": np.int64, "hard": np.uint16, "junk": np.int32}
    gnd = [{key: np.array(value, dtype=kinds[key]) for key, value in one.items()} for one in said["gnd"]]
    return {**said, "gnd": gnd}


def folder(root, said, *, file="gnd.json", pictures=(*NAMES, *QUERIES), dumped=None):
    """Write ROOT/FILE and ROOT/jpg."""
    (root / "jpg").mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(pictures):
        picture(place, SIZE).save(root / "jpg" / f"{name}.jpg")
    if file.endswith(".json"):
        (root / file).write_text(json.dumps(said))
    else:
        (root / file).write_bytes(pickle.dumps(said, protocol=4) if dumped is None else dumped)
    return root


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def opened(root, cache):
    spec = resolve_dataset(f"revisited:{root}", cache_dir=cache)
    return spec, open_split(spec, "test", annotation="retrieval", cache_dir=cache), open_truth(spec, cache_dir=cache)


@pytest.mark.parametrize(
    ("file", "said", "name"),
    [
        ("gnd.json", content(), "set"),
        ("gnd_roxford5k.pkl", content(), "roxford5k"),
        ("gnd_rparis6k.pkl", with_arrays(content()), "rparis6k"),
    ],
)
def test_the_test_split_is_the_gallery_followed_by_the_cropped_queries(tmp_path, cache, file, said, name):
    root = folder(tmp_path / "set", said, file=file)
    spec, test, truth = opened(root, cache)
    assert (spec.name, dict(spec.sizes), spec.annotations) == (name, {"test": 8}, ("retrieval",))
    assert spec.classes == ("gallery", "query") and test.labels.tolist() == [0] * 6 + [1] * 2
    assert test.ids == truth.gallery + truth.queries
    assert truth.gallery == tuple(f"jpg/{one}.jpg" for one in NAMES)
    assert truth.queries == ("query/000/ashmolean_000001", "query/001/bodleian_000002")
    assert truth.boxes.dtype == np.float64 and truth.boxes.tolist() == [[4.4, 5.5, 30.6, 25.0], [0, 0, 40, 30]]
    assert [one.tolist() for one in truth.easy] == [[0, 3], [2]] and [one.dtype for one in truth.hard] == [np.int64] * 2
    with Image.open(root / "jpg" / "ashmolean_000001.jpg") as stored:
        theirs = stored.convert("RGB").crop((4.4, 5.5, 30.6, 25.0))  # the authors' example_process_images.py
    assert test.load(6).size == theirs.size == (27, 19) and test.load(6).tobytes() == theirs.tobytes()
    assert test.load(0).size == test.load(7).size == SIZE


def test_the_three_protocols_are_the_authors(tmp_path, cache):
    said = content()
    _, _, truth = opened(folder(tmp_path / "set", said), cache)
    for protocol, positive, junk in (
        ("easy", ("easy",), ("junk", "hard")),
        ("medium", ("easy", "hard"), ("junk",)),
        ("hard", ("hard",), ("junk", "easy")),
    ):
        positives, left_out = truth.relevance(protocol)
        for place, one in enumerate(said["gnd"]):
            assert positives[place].tolist() == sorted(index for key in positive for index in one[key])
            assert left_out[place].tolist() == sorted(index for key in junk for index in one[key])
            assert positives[place].dtype == left_out[place].dtype == np.int64
    assert not len(truth.relevance("hard")[0][1])  # a query without positives: the authors leave it out of the mean
    with pytest.raises(ConfigError, match="Did you mean 'medium'"):
        truth.relevance("medum")


def test_the_truth_follows_its_pictures_when_some_are_left_out(tmp_path, cache):
    _, test, truth = opened(folder(tmp_path / "set", content()), cache)
    some = truth.among([name for name in test.ids if name != "jpg/all_souls_000001.jpg"])
    assert len(some.gallery) == 5 and some.queries == truth.queries
    for protocol in ("easy", "medium", "hard"):
        for before, after in zip(truth.relevance(protocol), some.relevance(protocol), strict=True):
            for old, new in zip(before, after, strict=True):
                assert [some.gallery[one] for one in new] == [truth.gallery[one] for one in old if one != 1]
    alone = truth.among([*truth.gallery, truth.queries[1]])
    assert alone.queries == truth.queries[1:] and alone.easy[0].tolist() == [2] and alone.boxes.shape == (1, 4)
    for ids in (truth.gallery, truth.queries, ()):
        with pytest.raises(DataError, match="at least one of each is needed"):
            truth.among(ids)


def test_an_unreadable_gallery_picture_is_left_out_and_a_query_may_be_too(tmp_path, cache):
    said = content()
    said["imlist"] += [f"more_{number:06d}" for number in range(60)]
    root = folder(tmp_path / "set", said, pictures=[*said["imlist"], *QUERIES])
    for name in (NAMES[3], QUERIES[0]):
        (root / "jpg" / f"{name}.jpg").write_bytes(b"\xff\xd8 no picture")
    _, test, truth = opened(root, cache)
    assert set(test.dropped) == {"jpg/all_souls_000003.jpg", "query/000/ashmolean_000001"}
    some = truth.among(test.ids)
    assert some.queries == ("query/001/bodleian_000002",) and len(some.gallery) == 65


def test_one_picture_may_serve_two_queries_with_a_box_each(tmp_path, cache):
    said = content()
    said["qimlist"] = [QUERIES[0]] * 2
    _, test, _ = opened(folder(tmp_path / "set", said), cache)
    assert len(set(test.ids)) == 8 and (test.load(6).size, test.load(7).size) == ((27, 19), SIZE)


def test_neither_labels_nor_truth_are_made_up(tmp_path, cache):
    spec, _, _ = opened(folder(tmp_path / "set", content()), cache)
    with pytest.raises(DataError, match="has what its queries should find for each picture, not a class"):
        open_split(spec, "test", cache_dir=cache)
    with pytest.raises(DataError, match="has no split 'train'"):
        open_split(spec, "train", annotation="retrieval", cache_dir=cache)
    scenes = resolve_dataset("scenes", cache_dir=cache)
    with pytest.raises(DataError, match="'scenes' does not say what each query should find"):
        open_truth(scenes, cache_dir=cache)


def test_a_changed_truth_or_picture_is_another_data_set(tmp_path, cache):
    root = folder(tmp_path / "set", content())
    spec, _, _ = opened(root, cache)
    said = content()
    said["gnd"][0]["junk"] = [4]
    folder(root, said)
    assert resolve_dataset(f"revisited:{root}", cache_dir=cache).fingerprint != spec.fingerprint
    for ask in (open_truth, lambda spec, cache_dir: open_split(spec, "test", annotation="retrieval", cache_dir=cache)):
        with pytest.raises(DataError, match="changed since the job was planned"):
            ask(spec, cache_dir=cache)
    folder(root, content())
    assert resolve_dataset(f"revisited:{root}", cache_dir=cache).fingerprint == spec.fingerprint
    picture(99, SIZE).save(root / "jpg" / f"{QUERIES[1]}.jpg")
    assert resolve_dataset(f"revisited:{root}", cache_dir=cache).fingerprint != spec.fingerprint


def test_a_box_partly_outside_is_clipped_and_said_so_or_refused(tmp_path, cache, caplog):
    said = content()
    said["gnd"][0]["bbx"] = [-6, 10, 20, 45]
    root = folder(tmp_path / "set", said)
    _, test, truth = opened(root, cache)
    assert test.load(6).size == (20, 20) and truth.boxes[0].tolist() == [-6, 10, 20, 45]
    assert "gnd.json" in caplog.text and "query/000/ashmolean_000001" in caplog.text and "clipped" in caplog.text
    strict = resolve_dataset(f"revisited:{root}", cache_dir=cache, policy="error")
    with pytest.raises(DataError, match=r"query/000/ashmolean_000001: bbx .* \(clipped\)"):
        open_split(strict, "test", annotation="retrieval", cache_dir=cache)


def test_a_box_up_to_a_pixel_outside_is_rounding(tmp_path, cache, caplog):
    said = content()
    said["gnd"][1]["bbx"] = [-0.9, 0, 40.7, 31]
    _, test, _ = opened(folder(tmp_path / "set", said), cache)
    assert test.load(7).size == SIZE and "put right" not in caplog.text


@pytest.mark.parametrize("box", [[50, 0, 60, 20], [0, 31, 40, 60], [10.1, 10, 10.3, 20]])
def test_a_box_without_a_pixel_of_its_picture_is_refused(tmp_path, cache, box):
    said = content()
    said["gnd"][0]["bbx"] = box
    with pytest.raises(DataError, match=r"gnd.json: bbx .*query/000/ashmolean_000001 \(40 x 30\): no pixel"):
        opened(folder(tmp_path / "set", said), cache)


def _set(key, value, query=0):
    return lambda said: said["gnd"][query].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.pop("qimlist"), "a dict without qimlist"),
        (lambda said: said.update(imlist=[]), "imlist is no list of at least one"),
        (lambda said: said.update(imlist=[1, 2]), "imlist is no list of at least one picture name"),
        (lambda said: said.update(imlist=[NAMES[0], *NAMES[:5]]), "names 'all_souls_000000' twice"),
        (lambda said: said["gnd"].pop(), "gnd is 1 entries; one for each of 2"),
        (lambda said: said.update(gnd={"a": 1}), "gnd is a dict"),
        (lambda said: said["gnd"][1].pop("hard"), "query 'bodleian_000002' has no hard"),
        (_set("bbx", [1, 2, 3]), "bbx of query 'ashmolean_000001' is not left"),
        (_set("bbx", [1, 2, 3, float("nan")]), "bbx of query 'ashmolean_000001' is not left"),
        (_set("bbx", ["a", 2, 3, 4]), "bbx of query"),
        (_set("bbx", [10, 2, 10, 4]), "has no area"),
        (_set("easy", [6]), "easy of query 'ashmolean_000001' has index 6; imlist has 0 to 5"),
        (_set("hard", [-1], 1), "hard of query 'bodleian_000002' has index -1"),
        (_set("junk", [1.0]), "junk of query 'ashmolean_000001' is no list of indices"),
        (_set("junk", [True]), "is no list of indices"),
        (_set("junk", [[1], [2, 3]]), "is no list of indices"),
        (_set("easy", [[0, 3]]), "is no list of indices"),
        (_set("easy", ["0"]), "is no list of indices"),
        (_set("easy", 3), "is no list of indices"),
        (_set("easy", [10**30]), "is no list of indices"),
        (_set("easy", [0, 0]), "names a picture twice"),
        (_set("hard", [0]), "calls picture 0 two of easy, hard and junk"),
        (lambda said: said["qimlist"].__setitem__(0, NAMES[2]), "is in imlist itself"),
    ],
)
def test_a_ground_truth_that_cannot_be_right_names_file_and_query(tmp_path, cache, change, words):
    said = content()
    change(said)
    with pytest.raises(DataError, match=f"gnd.json: .*{words}"):
        resolve_dataset(f"revisited:{folder(tmp_path / 'set', said)}", cache_dir=cache)


def test_a_query_within_the_gallery_is_taken_if_it_is_its_own_junk(tmp_path, cache):
    said = content()
    said["qimlist"][0] = NAMES[1]
    _, test, truth = opened(folder(tmp_path / "set", said), cache)
    assert truth.queries[0] == "query/000/all_souls_000001" and len(set(test.ids)) == 8


@pytest.mark.parametrize(
    ("lost", "words"), [(QUERIES[1], "1 of the 8 .*: bodleian_000002"), (NAMES[4], "1 of the 8 .*: all_souls_000004")]
)
def test_a_picture_that_is_missing_is_named(tmp_path, cache, lost, words):
    root = folder(tmp_path / "set", content(), pictures=[name for name in (*NAMES, *QUERIES) if name != lost])
    with pytest.raises(DataError, match=f"lacks {words}"):
        resolve_dataset(f"revisited:{root}", cache_dir=cache)


def test_a_name_that_leads_out_of_the_folder_finds_nothing(tmp_path, cache):
    said = content()
    said["imlist"][0] = "../../outside"
    picture(0).save(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match="lacks 1 of the 8"):
        resolve_dataset(f"revisited:{folder(tmp_path / 'set', said)}", cache_dir=cache)


def test_folders_of_another_layout_are_named(tmp_path, cache):
    root = folder(tmp_path / "set", content())
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content()))
    with pytest.raises(DataError, match=r"must hold one of .*found: gnd_roxford5k.pkl, gnd.json"):
        resolve_dataset(f"revisited:{root}", cache_dir=cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found: none"):
        resolve_dataset(f"revisited:{tmp_path}/empty", cache_dir=cache)
    (tmp_path / "empty" / "gnd.json").write_text(json.dumps(content()))
    with pytest.raises(DataError, match="has no folder jpg"):
        resolve_dataset(f"revisited:{tmp_path}/empty", cache_dir=cache)
    (tmp_path / "empty" / "gnd.json").write_text("{")
    with pytest.raises(DataError, match="no JSON file"):
        resolve_dataset(f"revisited:{tmp_path}/empty", cache_dir=cache)
    for ask in (resolve_dataset, fetch_dataset):
        with pytest.raises(DataMissingError, match="nowhere"):
            ask(f"revisited:{tmp_path}/nowhere", cache_dir=cache)


def test_the_opener_travels_to_worker_processes(tmp_path):
    root = folder(tmp_path / "set", content())
    paths = tuple(f"jpg/{name}.jpg" for name in NAMES[:2])
    again = pickle.loads(pickle.dumps(CroppingOpener(root, paths, (None, (1, 2, 11, 7)))))
    assert again(0).size == SIZE and again(1).size == (10, 5)


class _Writes:
    """Pickles to a call that creates a file."""

    def __init__(self, path, call=os.open):
        self.path, self.call = str(path), call

    def __reduce__(self):
        return (self.call, (self.path, os.O_CREAT)) if self.call is os.open else (self.call, (f"touch {self.path}",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("call", [os.open, os.system])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, cache, protocol, call):
    target = tmp_path / "created"
    said = content()
    said["gnd"][0]["junk"] = _Writes(target, call)
    dumped = pickle.dumps(said, protocol=protocol)
    pickle.loads(dumped)  # it would
    assert target.exists()
    target.unlink()
    root = folder(tmp_path / "set", None, file="gnd_roxford5k.pkl", dumped=dumped)
    with pytest.raises(DataError, match=r"gnd_roxford5k.pkl is no pickle of plain data.*posix"):
        resolve_dataset(f"revisited:{root}", cache_dir=cache)
    assert not target.exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_lists_that_are_arrays_of_objects_say_the_same(tmp_path, protocol):
    said = with_arrays(content())
    gnd = np.empty(2, dtype=object)
    gnd[:] = said["gnd"]
    said |= {"gnd": gnd, "imlist": np.array(NAMES), "qimlist": np.array(QUERIES, dtype=object)}
    (tmp_path / "one.pkl").write_bytes(pickle.dumps(said, protocol=protocol))
    (tmp_path / "one.json").write_text(json.dumps(content()))
    mine, plain = parse_truth(tmp_path / "one.pkl"), parse_truth(tmp_path / "one.json")
    assert (mine.gallery, mine.queries) == (plain.gallery, plain.queries)
    for kind in ("easy", "hard", "junk"):
        assert [one.tolist() for one in getattr(mine, kind)] == [one.tolist() for one in getattr(plain, kind)]


@pytest.mark.parametrize("said", [[1, 2], np.arange(3), None, {"imlist": NAMES}])
def test_a_pickle_of_another_shape_is_named(tmp_path, cache, said):
    root = folder(tmp_path / "set", said, file="gnd_rparis6k.pkl")
    with pytest.raises(DataError, match=r"gnd_rparis6k.pkl: a .* without .*qimlist, gnd; a dict"):
        resolve_dataset(f"revisited:{root}", cache_dir=cache)
