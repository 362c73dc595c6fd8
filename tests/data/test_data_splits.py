"""Splits and caps depend on the data alone: stratified, balanced, nested, and stable when pictures are added."""

from __future__ import annotations

import numpy as np
import pytest

from bob.core.errors import DataError
from bob.data.splits import arrange, balanced_subset


def _listing(counts):
    ids = [f"{label}/{index}" for label, count in enumerate(counts) for index in range(count)]
    return ids, np.repeat(np.arange(len(counts)), counts)


def test_a_cap_is_balanced_and_smaller_caps_are_nested():
    ids, labels = _listing([50, 50, 50, 3])
    larger = balanced_subset(ids, labels, 43)
    counts = np.bincount(labels[larger], minlength=4)
    assert counts.sum() == 43 and counts[3] == 3 and set(counts[:3]) <= {13, 14}
    for cap in range(1, 43):
        smaller = balanced_subset(ids, labels, cap)
        assert len(smaller) == cap and set(smaller) <= set(larger)
        larger_counts = np.bincount(labels[smaller], minlength=4)[:3]
        assert larger_counts.max() - larger_counts.min() <= 1
    assert balanced_subset(ids, labels, None).tolist() == list(range(153))
    assert balanced_subset(ids, labels, 900).tolist() == list(range(153))


def test_the_choice_does_not_depend_on_the_order_of_the_listing():
    ids, labels = _listing([20, 20])
    order = np.random.default_rng(0).permutation(40)
    chosen = {ids[index] for index in balanced_subset(ids, labels, 10)}
    shuffled_ids = [ids[index] for index in order]
    assert {shuffled_ids[index] for index in balanced_subset(shuffled_ids, labels[order], 10)} == chosen


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_tiny_classes_keep_a_training_picture(count):
    ids, labels = _listing([count, 30])
    parts = arrange({"all": (ids, labels)})
    together = np.concatenate([indices for _, indices in parts.values()])
    assert sorted(together) == list(range(count + 30))
    assert 0 in labels[parts["train"][1]]


def test_test_only_data_have_only_a_test_split_and_nothing_is_an_error():
    ids, labels = _listing([3, 3])
    assert set(arrange({"test": (ids, labels)})) == {"test"}
    assert set(arrange({"val": (ids, labels)})) == {"test"}
    assert set(arrange({"val": (ids, labels), "test": (ids, labels)})) == {"val", "test"}
    with pytest.raises(DataError, match="no picture"):
        arrange({"train": ([], labels[:0])})
