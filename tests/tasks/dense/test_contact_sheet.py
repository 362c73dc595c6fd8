"""Contact sheets: small, legible, the same every time, whatever the classes are called."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hotcoco import mask as run_lengths
from PIL import Image

from bob.data.annotations import IGNORE, Detections, Instances
from bob.data.scenes import CLASSES, render
from bob.tasks.dense.sheets.contact_sheet import MOST_BYTES, chosen, detection_sheet, segmentation_sheet
from bob.tasks.dense.sheets.sheet_layout import BACKGROUND, COLOURS, HATCH, class_colours, fitted, readable, text_width


def noise(count=6, height=90, width=120):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(count)]


def grey(count=1, height=90, width=120):
    return [Image.new("RGB", (width, height), (128, 128, 128)) for _ in range(count)]


def instances(boxes, labels, *, crowd=None, masks=None):
    count = len(labels)
    return Instances(
        boxes=np.asarray(boxes, dtype=np.float64).reshape(count, 4),
        labels=np.asarray(labels, dtype=np.int64),
        crowd=np.zeros(count, dtype=bool) if crowd is None else np.asarray(crowd),
        area=np.ones(count),
        masks=masks,
    )


def detections(boxes, labels, scores, *, masks=None):
    plain = instances(boxes, labels)
    return Detections(boxes=plain.boxes, labels=plain.labels, scores=np.asarray(scores, dtype=np.float64), masks=masks)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def count_of(data, colour):
    return int((pixels(data) == np.asarray(colour, dtype=np.uint8)).all(axis=-1).sum())


def scene_sheets():
    scenes = [render("test", index) for index in range(6)]
    pictures = [Image.fromarray(scene.image) for scene in scenes]
    masks = [tuple(run_lengths.encode(np.asfortranarray(m.astype(np.uint8))) for m in scene.masks) for scene in scenes]
    truth = [instances(s.boxes, s.categories, masks=m) for s, m in zip(scenes, masks, strict=True)]
    found = [detections(t.boxes, t.labels, np.full(len(t), 0.9), masks=t.masks) for t in truth]
    semantic = [scene.semantic for scene in scenes]
    boxes = detection_sheet(pictures, truth, found, CLASSES, title="scenes")
    return boxes, segmentation_sheet(pictures, semantic, semantic, ("background", *CLASSES), title="scenes")


def test_the_same_arguments_give_the_same_bytes_below_the_limit():
    first, second = scene_sheets(), scene_sheets()
    assert first == second
    for data in first:
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG"
        assert 400 < image.width <= 1400
        assert 400 < image.height <= 1400
        assert len(data) <= MOST_BYTES


@pytest.mark.parametrize("size", [(90, 120), (400, 100), (1000, 1400)], ids=str)
def test_six_pictures_of_noise_stay_below_the_limit(size):
    pictures = noise(6, *size)
    truth = [instances([[5, 5, 60, 60]], [0])] * 6
    found = [detections([[5, 5, 60, 60]], [0], [0.9])] * 6
    maps = [np.random.default_rng(1).integers(0, 5, size, dtype=np.uint8)] * 6
    assert len(detection_sheet(pictures, truth, found, ["thing"], title="noise")) <= MOST_BYTES
    assert len(segmentation_sheet(pictures, maps, maps, list("abcde"), title="noise")) <= MOST_BYTES


def test_only_detections_of_enough_score_are_drawn_and_in_their_own_place():
    truth = [instances(np.zeros((0, 4)), [])]
    found = [detections([[10, 40, 40, 70], [60, 40, 100, 70]], [0, 1], [0.9, 0.3])]
    classes = ["sure", "unsure"]
    data = detection_sheet(grey(), truth, found, classes, title="one")
    assert count_of(data, COLOURS[0]) > 200
    assert count_of(data, COLOURS[1]) == 0
    assert count_of(detection_sheet(grey(), truth, found, classes, least_score=0.2, title="one"), COLOURS[1]) > 200
    _, columns = np.nonzero((pixels(data)[:300] == COLOURS[0]).all(axis=-1))
    assert columns.min() > pixels(data).shape[1] // 2  # the right half


def test_masks_tint_what_they_cover_and_crowds_are_dashed():
    mask = np.zeros((90, 120), dtype=np.uint8)
    mask[30:80, 20:100] = 1
    masks = (run_lengths.encode(np.asfortranarray(mask)),)
    none = [detections(np.zeros((0, 4)), [], [])]
    box = [[20, 30, 100, 80]]
    bare = detection_sheet(grey(), [instances(box, [0])], none, ["a"], title="t")
    tinted = detection_sheet(grey(), [instances(box, [0], masks=masks)], none, ["a"], title="t")
    crowd = detection_sheet(grey(), [instances(box, [0], crowd=[True])], none, ["a"], title="t")
    assert count_of(bare, (128, 128, 128)) - count_of(tinted, (128, 128, 128)) > 10_000
    assert count_of(crowd, COLOURS[0]) != count_of(bare, COLOURS[0])


def test_pictures_without_objects_and_no_pictures_make_a_sheet():
    empty = instances(np.zeros((0, 4)), [])
    nothing = detections(np.zeros((0, 4)), [], [])
    assert pixels(detection_sheet(grey(), [empty], [nothing], ["a"], title="nothing")).size
    assert pixels(detection_sheet([], [], [], ["a"], title="no pictures")).size
    assert pixels(segmentation_sheet([], [], [], ["a"], title="no pictures")).size


def test_boxes_beyond_the_picture_and_of_a_pixel_are_drawn():
    boxes = [[-50, -50, 500, 500], [119, 89, 120, 90], [60, 40, 60.2, 40.1]]
    data = detection_sheet(
        grey(), [instances(boxes, [0, 1, 2])], [detections(boxes, [0, 1, 2], [1, 1, 1])], "abc", title=""
    )
    assert all(count_of(data, COLOURS[label]) > 20 for label in range(3))


def test_names_of_any_script_and_length_are_fitted():
    names = ["猫と犬", "naïve façade", "x" * 500, "two\nlines", "", "🦊"]
    for name in names:
        assert text_width(fitted(name, 90, 12), 12) <= 90
    assert fitted("two\nlines", 300, 12) == "two lines"
    assert fitted("naïve", 300, 12) in ("naïve", "naive")
    assert fitted("猫 cat", 300, 12) == "? cat"
    assert fitted("x" * 500, 90, 12).endswith("…")
    assert readable(["猫", "cat", ""]) == ["class 0", "cat", "class 2"]
    boxes = [[5 + 15 * k, 30, 18 + 15 * k, 60] for k in range(6)]
    truth, found = instances(boxes, range(6)), detections(boxes, range(6), [0.8] * 6)
    data = detection_sheet(grey(), [truth], [found], names, title="names of " + "y" * 900)
    assert pixels(data).shape[1] < 800
    labels = np.arange(6, dtype=np.uint8).repeat(1800).reshape(90, 120)
    assert segmentation_sheet(grey(), [labels], [labels], names, title="数")


def test_ignored_pixels_are_hatched_and_not_scored():
    truth = np.zeros((90, 120), dtype=np.uint8)
    truth[:45] = IGNORE
    right, wrong = np.zeros_like(truth), np.ones_like(truth)
    first = segmentation_sheet(grey(), [truth], [right], ["a", "b"], title="t")
    assert min(count_of(first, HATCH[0]), count_of(first, HATCH[1])) > 3000
    below = np.where(truth == IGNORE, wrong, right)
    same = segmentation_sheet(grey(), [truth], [below], ["a", "b"], title="t")
    caption = slice(50, 80)  # the line that states the share of pixels that are right
    assert np.array_equal(pixels(first)[caption], pixels(same)[caption])
    assert not np.array_equal(
        pixels(first)[caption], pixels(segmentation_sheet(grey(), [truth], [wrong], ["a", "b"], title="t"))[caption]
    )
    all_ignored = np.full_like(truth, IGNORE)
    assert segmentation_sheet(grey(), [all_ignored], [right], ["a", "b"], title="t")


def test_a_class_has_the_same_exact_colour_on_every_sheet_and_task():
    few, many = class_colours(["a", "b"]), class_colours([f"class {k}" for k in range(150)])
    assert many[:2] == few
    assert len(set(many)) == 150
    assert class_colours(["background", "a", "b"]) == [BACKGROUND, *few]
    labels = np.full((90, 120), 1, dtype=np.uint8)
    flat = segmentation_sheet(noise(1), [labels], [labels], ["a", "b"], title="t")
    assert count_of(flat, COLOURS[1]) >= 2 * 220 * 165


def test_many_classes_keep_the_legend_short():
    labels = np.arange(90 * 120).reshape(90, 120).astype(np.uint8) % 150
    data = segmentation_sheet(grey(), [labels], [labels], [f"a class called {k}" for k in range(150)], title="t")
    assert pixels(data).shape[0] < 1400
    assert len(data) <= MOST_BYTES


def test_chosen_pictures_are_spread_evenly_and_never_twice():
    assert chosen(0) == []
    assert chosen(1) == [0]
    assert chosen(4) == [0, 1, 2, 3]
    assert chosen(11) == [0, 2, 4, 6, 8, 10]
    assert chosen(1000, 3) == [0, 500, 999]
    assert all(len(set(chosen(n))) == min(n, 6) for n in range(60))
