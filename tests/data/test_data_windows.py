"""Sliding windows: every pixel is covered, none is favoured, and the average is the plain one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bob.core.errors import ConfigError
from bob.data.windows import WindowAverage, windows

CASES = [
    ((70, 100), (32, 64), 0.0),
    ((70, 100), (32, 64), 0.5),
    ((64, 64), (64, 64), 0.5),
    ((65, 64), (64, 64), 0.9),
    ((33, 7), (32, 32), 0.25),
    ((5, 6), (32, 64), 0.5),
    ((100, 100), (10, 10), 1 / 3),
]


@pytest.mark.parametrize(("size", "window", "overlap"), CASES, ids=str)
def test_every_pixel_is_covered_and_no_window_reaches_beyond_the_picture(size, window, overlap):
    seen = np.zeros(size, dtype=int)
    places = windows(size, window, overlap)
    for top, left in places:
        assert top + min(window[0], size[0]) <= size[0]
        assert left + min(window[1], size[1]) <= size[1]
        seen[top : top + window[0], left : left + window[1]] += 1
    assert seen.min() >= 1
    assert len(set(places)) == len(places)
    assert places[-1] == (max(0, size[0] - window[0]), max(0, size[1] - window[1]))


@pytest.mark.parametrize(("size", "window", "overlap"), CASES, ids=str)
def test_neighbours_share_at_least_the_overlap(size, window, overlap):
    tops = sorted({top for top, _ in windows(size, window, overlap)})
    lefts = sorted({left for _, left in windows(size, window, overlap)})
    for starts, side in ((tops, window[0]), (lefts, window[1])):
        assert all(
            second - first <= max(1, side * (1 - overlap) + 1e-6) for first, second in itertools.pairwise(starts)
        )


def test_without_overlap_a_picture_of_whole_windows_is_tiled():
    assert windows((64, 96), (32, 32), 0.0) == [(0, 0), (0, 32), (0, 64), (32, 0), (32, 32), (32, 64)]
    assert windows((100, 30), (100, 100), 0.9) == [(0, 0)]
    assert [top for top, _ in windows((130, 1), (100, 1), 0.9)] == [0, 10, 20, 30]


@pytest.mark.parametrize(("size", "window", "overlap"), CASES, ids=str)
def test_a_constant_comes_out_constant(size, window, overlap):
    average = WindowAverage(3, size)
    constant = np.array([0.1, 0.7, 0.2], dtype=np.float32)[:, None, None]
    for place in windows(size, window, overlap):
        average.add(np.broadcast_to(constant, (3, *window)), place)
    np.testing.assert_allclose(average.result(), np.broadcast_to(constant, (3, *size)), rtol=1e-6)


@pytest.mark.parametrize(("size", "window", "overlap"), CASES, ids=str)
def test_the_average_equals_that_of_all_windows_kept(size, window, overlap):
    rng = np.random.default_rng(0)
    average, kept = WindowAverage(2, size), []
    for top, left in windows(size, window, overlap):
        values = rng.normal(size=(2, *window)).astype(np.float32)
        average.add(values, (top, left))
        alone = np.full((2, *size), np.nan)
        part = values[:, : size[0] - top, : size[1] - left]
        alone[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        kept.append(alone)
    np.testing.assert_allclose(average.result(), np.nanmean(kept, axis=0), rtol=1e-4, atol=1e-6)
    assert average.result().dtype == np.float32


def test_a_pixel_that_no_window_saw_is_an_error():
    average = WindowAverage(2, (4, 4))
    average.add(np.ones((2, 4, 3), dtype=np.float32), (0, 0))
    with pytest.raises(ConfigError, match="4 of 16 pixels"):
        average.result()


@pytest.mark.parametrize(
    "case", [((0, 5), (4, 4), 0.5), ((5, 5), (4, 0), 0.5), ((5, 5), (4, 4), 1.0), ((5, 5), (4, 4), -0.1)]
)
def test_impossible_windows_are_refused(case):
    with pytest.raises(ConfigError, match="overlap"):
        windows(*case)
