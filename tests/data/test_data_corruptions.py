"""The corruptions: equal to the reference's, a function of picture and draw alone, stronger with severity."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from itertools import pairwise

import numpy as np
import pytest
from corruption_reference import STORED, fingerprint, picture, reference, seed_of, write_photographs

from bob.core.errors import ConfigError, DataError, UnknownNameError
from bob.data.corruptions import (
    BENCHMARK,
    CORRUPTIONS,
    EXTRA,
    MIN_SIDE,
    SEVERITIES,
    check_corruptions,
    corrupt,
    corruption_rng,
    drops,
    frost_available,
    photographs,
)
from bob.data.corruptions.image_filters import motion

ANSWERS = json.loads(STORED.read_text())
EVERY_CASE = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
WITHOUT_DRAW = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}
# Levels. One for values that fall on a whole number, give or take the last bit; JPEG libraries differ more.
TOLERANCES = {"mean": 0.01, "std": 0.01, "thumbnail": 0.02, "pixels": 1}
FIRST_DRAW = 1545873059
JPEG_TOLERANCES = {"mean": 0.3, "std": 0.3, "thumbnail": 0.6, "pixels": 6}


@pytest.fixture(scope="session")
def photograph_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("installed")
    write_photographs(root / photographs.PACKAGE)
    return root


@pytest.fixture(autouse=True)
def stand_in_photographs(photograph_folder, monkeypatch):
    monkeypatch.setattr(photographs, "_folder", lambda: photograph_folder / photographs.PACKAGE / "frost")


def draw(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def misses(pixels: np.ndarray, name: str, severity: int) -> list[str]:
    tolerances = JPEG_TOLERANCES if name == "jpeg_compression" else TOLERANCES
    found, wanted = fingerprint(pixels), ANSWERS[f"{name}/{severity}"]
    return [key for key, most in tolerances.items() if np.abs(np.subtract(found[key], wanted[key])).max() > most]


@pytest.mark.parametrize(("name", "severity"), EVERY_CASE)
def test_every_corruption_answers_as_the_reference_did(name, severity):
    found = corrupt(picture(), name, severity, rng=draw(seed_of(name, severity)))
    assert misses(found, name, severity) == []


@pytest.mark.parametrize(("name", "severity"), EVERY_CASE)
def test_the_stored_answers_tell_a_neighbouring_severity_or_another_draw_apart(name, severity):
    other = severity - 1 if severity > 1 else 2
    assert misses(corrupt(picture(), name, other, rng=draw(seed_of(name, severity))), name, severity)
    if name not in WITHOUT_DRAW:
        assert misses(corrupt(picture(), name, severity, rng=draw(4321)), name, severity)


@pytest.mark.skipif(
    not any(metadata.distributions(name="imagecorruptions-imaug")),
    reason="the reference is not installed: pip install imagecorruptions-imaug",
)
@pytest.mark.parametrize("size", [(96, 128), (75, 61), (32, 32)])
@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "frost"])
def test_every_pixel_is_the_reference_s_where_that_is_installed(name, size):
    for severity in SEVERITIES:
        clean = picture(3, *size)
        wanted = reference(clean, name, severity, 40 + severity).astype(int)
        found = corrupt(clean, name, severity, rng=draw(40 + severity))
        if name == "spatter" and not wanted.any():
            wanted = clean.astype(int)  # no drop was drawn: the reference divides by zero and answers black
        assert np.abs(found - wanted).mean() < 0.01


@pytest.mark.parametrize("size", [(32, 32), (33, 57), (101, 40), (64, 301)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_type_and_shape_at_odd_sizes(name, size):
    clean = picture(1, *size)
    kept = clean.copy()
    for severity in (1, 5):
        found = corrupt(clean, name, severity, rng=draw())
        assert found.dtype == np.uint8 and found.shape == clean.shape and found.flags.c_contiguous
        assert found is not clean and not np.shares_memory(found, clean)
    assert np.array_equal(clean, kept)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_takes_flat_black_and_white_and_views(name):
    for level in (0, 255):
        flat = np.full((40, 48, 3), level, dtype=np.uint8)
        assert corrupt(flat, name, 3, rng=draw()).shape == flat.shape
    mirrored = picture()[:, ::-1]
    mirrored.setflags(write=False)
    plain = np.ascontiguousarray(mirrored)
    assert np.array_equal(corrupt(mirrored, name, 2, rng=draw()), corrupt(plain, name, 2, rng=draw()))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_draw_alone_decides_and_the_global_one_is_left_alone(name):
    before = np.random.get_state()[1].copy()
    one, same, other = (corrupt(picture(), name, 3, rng=draw(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.array_equal(one, other) == (name in WITHOUT_DRAW)
    assert np.array_equal(np.random.get_state()[1], before)


def test_threads_give_what_one_thread_gives():
    def job(case: tuple[str, int]) -> np.ndarray:
        name, severity = case
        return corrupt(picture(2, 48, 56), name, severity, rng=corruption_rng(0, "a.jpg", name, severity))

    alone = [job(case) for case in EVERY_CASE]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(job, EVERY_CASE))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


# Where the constants say so, severities are not comparable: saturate takes colour away up to 2 and adds it from 3 on;
# frost and glass change a picture less at 4 than at 3 (on photographs too, by the reference's own answers).
PARTS = {"saturate": ((1, 2), (3, 4, 5)), "frost": ((1, 2, 3), (4, 5)), "glass_blur": ((1, 2, 3), (4, 5))}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_distance_to_the_clean_picture_grows_with_severity(name):
    cleans = [picture(seed, 112, 128) for seed in range(6)]

    def distance(severity: int) -> float:
        found = (corrupt(clean, name, severity, rng=draw(seed)) for seed, clean in enumerate(cleans))
        return float(
            np.mean([np.abs(one - clean.astype(float)).mean() for one, clean in zip(found, cleans, strict=True)])
        )

    for part in PARTS.get(name, (SEVERITIES,)):
        distances = [distance(severity) for severity in part]
        assert distances[0] > 0
        assert all(low < high for low, high in pairwise(distances)), distances


def test_the_names_are_the_benchmark_s_15_and_the_4_extra_ones():
    assert (len(BENCHMARK), len(EXTRA), len(set(CORRUPTIONS))) == (15, 4, 19)
    check_corruptions(CORRUPTIONS, SEVERITIES)


@pytest.mark.parametrize(
    ("names", "severities", "kind", "says"),
    [
        (["gausian_noise"], [1], UnknownNameError, "Did you mean 'gaussian_noise'"),
        (["fog"], [0], ConfigError, "severity 0"),
        (["fog"], [6], ConfigError, "severity 6"),
        (["fog"], [True], ConfigError, "severity True"),
        (["fog"], [1.0], ConfigError, "severity 1.0"),
        ([], [1], ConfigError, "corruptions is empty"),
        (["fog"], [], ConfigError, "severities is empty"),
        (["fog", "snow", "fog"], [1], ConfigError, "'fog' twice"),
        (["fog"], [2, 2], ConfigError, "2 twice"),
    ],
)
def test_a_choice_that_is_not_one_is_refused_with_what_to_choose(names, severities, kind, says):
    with pytest.raises(kind, match=says) as caught:
        check_corruptions(names, severities)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((MIN_SIDE - 1, 64, 3), np.uint8), "64 x 31 pixels is too small"),
        (np.zeros((64, 0, 3), np.uint8), "0 x 64 pixels is too small"),
        (np.zeros((64, 64), np.uint8), r"uint8 \(64, 64\)"),
        (np.zeros((64, 64, 4), np.uint8), r"uint8 \(64, 64, 4\)"),
        (np.full((64, 64, 3), np.nan), r"float64 \(64, 64, 3\)"),
        ([[0]], "list"),
    ],
)
def test_what_is_no_picture_is_refused(pixels, says):
    with pytest.raises(DataError, match=says) as caught:
        corrupt(pixels, "fog", 1, rng=draw())
    assert caught.value.hint


def test_corrupt_refuses_unknown_names_and_severities():
    with pytest.raises(UnknownNameError, match="Did you mean 'snow'"):
        corrupt(picture(), "snoww", 1, rng=draw())
    with pytest.raises(ConfigError, match="severity 9"):
        corrupt(picture(), "snow", 9, rng=draw())


def test_a_picture_s_draw_is_its_own_and_the_same_everywhere():
    keys = [(0, "a", "fog", 1), (1, "a", "fog", 1), (0, "b", "fog", 1), (0, "a", "snow", 1), (0, "a", "fog", 2)]
    draws = [corruption_rng(*key).randint(2**31) for key in keys]
    assert draws == [corruption_rng(*key).randint(2**31) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws[0] == FIRST_DRAW  # as drawn in another process, on another day


def test_frost_without_its_photographs_says_what_to_install(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(photographs.importlib.util, "find_spec", lambda name: None)
    assert not frost_available()
    with pytest.raises(ConfigError, match="not installed") as caught:
        corrupt(picture(), "frost", 1, rng=draw())
    assert "battle-of-the-backbones[corruptions]" in str(caught.value)


def test_frost_finds_its_photographs_in_the_package_without_importing_it(photograph_folder, monkeypatch):
    monkeypatch.undo()
    (photograph_folder / photographs.PACKAGE / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(photograph_folder))
    monkeypatch.delitem(sys.modules, photographs.PACKAGE, raising=False)
    assert frost_available()
    found = corrupt(picture(), "frost", 2, rng=draw(seed_of("frost", 2)))
    assert misses(found, "frost", 2) == []
    monkeypatch.setattr(photographs, "FILES", (*photographs.FILES[:-1], "lost.jpg"))
    assert not frost_available()


def test_spatter_without_a_drop_leaves_the_picture_alone():
    clean = picture(0, 32, 32)
    untouched = [np.array_equal(corrupt(clean, "spatter", 1, rng=draw(seed)), clean) for seed in range(100)]
    assert any(untouched) and not all(untouched)


def test_a_trace_longer_than_the_picture_ends_at_its_edge():
    flat = np.full((32, 32), 100.0)
    assert motion(flat, 10, 3, 0).min() == pytest.approx(100)
    assert 80 < motion(flat, 20, 15, 0).max() < 99.9


def test_chamfer_distances_are_those_of_the_5_x_5_mask():
    edges = np.zeros((21, 21), dtype=bool)
    edges[10, 10] = True
    found = drops.capped_distance(edges, 10)
    assert [found[10, 15], found[12, 12], found[11, 12], found[13, 15]] == pytest.approx(
        [5, 2.8, 2.1969, 2 * 2.1969 + 1.4]
    )
    assert drops.capped_distance(np.zeros((5, 5), dtype=bool), 10).min() > 10


def test_choosing_corruptions_imports_no_scipy():
    code = "import sys, bob.data.corruptions; sys.exit('scipy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
