"""A classifier's classes and a shifted set's: found by name, never guessed, and masked as ImageNet-A's authors do."""

from __future__ import annotations

import numpy as np
import pytest

from bob.core.errors import DataError
from bob.data.class_map import class_places, masked
from bob.data.imagenet import wnids

SOURCE = ("traffic light", "Maltese_dog", "crane", "cat-fish", "crane", "Crane")


def test_exact_names_are_found_wherever_they_stand():
    places = class_places(("b", "a", "c"), ("c", "b"))
    assert places.dtype == np.int64 and places.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("name", "place"), [("Traffic_Light", 0), ("traffic-light", 0), ("maltese dog", 1), ("CAT FISH", 3), ("Crane", 5)]
)
def test_case_and_separators_are_alike_where_no_name_is_exact(name, place):
    assert class_places(SOURCE, [name]).tolist() == [place]


def test_an_exact_name_is_preferred_to_one_that_is_alike():
    assert class_places(("Bat", "bat"), ("bat",)).tolist() == [1]


@pytest.mark.parametrize("name", ["crane", "CRANE"])
def test_a_name_of_several_source_classes_is_refused(name):
    with pytest.raises(DataError, match=f"'{name}' fits [23] source classes: 'crane' \\(class 2\\), 'crane'"):
        class_places(SOURCE, [name])


def test_two_shifted_classes_of_one_source_class_are_refused():
    with pytest.raises(DataError, match="'a b' and 'a_b' both fit the source class 'A-B'"):
        class_places(("A-B", "c"), ("a b", "a_b"))


def test_up_to_five_missing_classes_are_named_with_what_was_meant():
    with pytest.raises(
        DataError, match=r"no class for 7 .*'dgo'\. Did you mean 'dog'\?; 'x1'; .*'x4' \.\.\."
    ) as caught:
        class_places(("dog", "cat"), ("cat", "dgo", *(f"x{number}" for number in range(1, 7))))
    assert "x5" not in str(caught.value)


@pytest.mark.parametrize(("source", "shifted"), [((), ("a",)), (("a",), ())])
def test_no_class_at_all_is_refused(source, shifted):
    with pytest.raises(DataError, match="at least one of each"):
        class_places(source, shifted)


def test_the_places_of_imagenet_a_and_r_are_those_that_the_timm_package_lists():
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("timm").submodule_search_locations[0]) / "data" / "_info"
    for name in ("imagenet_a", "imagenet_r"):
        shifted = (folder / f"{name}_synsets.txt").read_text().split()
        places = class_places(wnids(), shifted)
        assert places.tolist() == [int(one) for one in (folder / f"{name}_indices.txt").read_text().split()]
        assert len(shifted) == 200 == masked(1000, places).sum()


def test_the_mask_gives_the_arg_max_over_the_shifted_classes_as_the_authors_take_it():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (300, 12)).astype(float)  # many ties
    places = np.sort(rng.permutation(12)[:5])
    mask = masked(12, places)
    assert mask.dtype == bool and mask.tolist() == [place in places for place in range(12)]
    theirs = scores[:, places].argmax(axis=1)
    ours = np.where(mask, scores, -np.inf).argmax(axis=1)
    assert np.array_equal(places[theirs], ours) and (ours != scores.argmax(axis=1)).any()


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], "at least one"),
        ([0.0, 1.0], "integer index"),
        ([np.nan], "integer index"),
        ([[0, 1]], "integer index"),
        ([0, 3], "place 3 is no index of 3 classes"),
        ([-1], "place -1"),
    ],
)
def test_a_mask_of_what_is_no_place_is_refused(places, words):
    with pytest.raises(DataError, match=words):
        masked(3, np.array(places))
