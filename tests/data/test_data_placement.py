"""A picture, its boxes, masks and labels go onto the canvas together, and predictions come back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bob.data.annotations import IGNORE
from bob.data.canvas import canvas_size
from bob.data.placement import Placement, contain, cover, whole

CANVAS = (96, 128)
PLACEMENTS = {
    "whole": whole((60, 100), CANVAS),
    "shrunk": Placement(size=(60, 100), scaled=(36, 60), canvas=CANVAS),
    "cropped": Placement(size=(60, 100), scaled=(120, 200), crop=(13, 57), canvas=CANVAS),
    "mirrored": Placement(size=(60, 100), scaled=(120, 200), crop=(13, 7), canvas=CANVAS, flip=True),
    "uneven": Placement(size=(61, 97), scaled=(101, 89), crop=(5, 0), canvas=CANVAS, flip=True),
}


def bounds(marked: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_pixels_labels_and_boxes_go_to_the_same_place(placement):
    height, width = placement.size
    box = [width // 3, height // 3, width // 3 + 30, height // 3 + 20]
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[box[1] : box[3], box[0] : box[2]] = 1
    picture = Image.fromarray(np.repeat(labels[..., None] * 255, 3, axis=2))
    expected = placement.place_boxes(np.array([box]))[0]
    placed = placement.place_labels(labels)
    pixels = placement.place_picture(picture, Image.Resampling.BILINEAR, fill=(0, 0, 0))
    assert np.abs(np.array(bounds(placed == 1)) - expected).max() <= 1
    assert np.abs(np.array(bounds(pixels[..., 0] > 127)) - expected).max() <= 1


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_a_box_that_is_wholly_visible_comes_back_exactly(placement):
    shown_height, shown_width = placement.visible
    on_canvas = np.array([[1.5, 2.25, shown_width - 3.0, shown_height - 4.5]])
    in_picture = placement.restore_boxes(on_canvas)
    assert (in_picture[:, :2] >= 0).all()
    assert (in_picture[0, 2:] <= (placement.size[1], placement.size[0])).all()
    np.testing.assert_allclose(placement.place_boxes(in_picture), on_canvas, atol=1e-9)


def test_what_the_picture_does_not_cover_is_padding_and_ignored():
    placement = PLACEMENTS["shrunk"]
    pixels = placement.place_picture(Image.new("RGB", (100, 60), "white"), Image.Resampling.BICUBIC, fill=(1, 2, 3))
    labels = placement.place_labels(np.zeros((60, 100), dtype=np.uint8))
    assert (pixels[:36, :60] == 255).all()
    assert (pixels[36:] == (1, 2, 3)).all()
    assert (pixels[:, 60:] == (1, 2, 3)).all()
    assert (labels[:36, :60] == 0).all()
    assert (labels[36:] == IGNORE).all()
    assert (labels[:, 60:] == IGNORE).all()


def test_a_picture_at_its_own_size_is_left_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    placed = whole((96, 128), CANVAS).place_picture(Image.fromarray(pixels), Image.Resampling.BICUBIC, fill=(0, 0, 0))
    np.testing.assert_array_equal(placed, pixels)


def test_boxes_outside_the_crop_are_clipped_to_nothing():
    boxes = PLACEMENTS["cropped"].place_boxes(np.array([[0.0, 0.0, 5.0, 5.0]]))
    assert (boxes[0, 2:] - boxes[0, :2] <= 0).any()


@pytest.mark.parametrize(("size", "factor"), [((60, 100), 1.0), ((100, 60), 1.0), ((7, 900), 0.5)])
def test_contain_fits_and_cover_fills(size, factor):
    inside, outside = contain(size, CANVAS), cover(size, CANVAS)
    assert inside[0] <= CANVAS[0] and inside[1] <= CANVAS[1]
    assert inside[0] == CANVAS[0] or inside[1] == CANVAS[1]
    assert outside[0] >= CANVAS[0] and outside[1] >= CANVAS[1]
    assert outside[0] == CANVAS[0] or outside[1] == CANVAS[1]
    assert contain(size, CANVAS, factor=factor) == tuple(
        max(1, round(side * factor * min(96 / size[0], 128 / size[1]))) for side in size
    )


@pytest.mark.parametrize(
    ("sizes", "side", "aspect", "expected"),
    [
        ([[480, 640]] * 3, 320, 0.0, (320, 448)),  # 426.7 rounded up
        ([[360, 480]] * 3, 180, 0.0, (192, 256)),
        ([[1024, 2048]] * 3, 512, 0.0, (512, 1024)),
        ([[640, 480]] * 3, 320, 0.0, (448, 320)),
        ([[480, 640], [640, 480]], 320, 0.0, (320, 320)),  # both orientations: a square
        ([[480, 640], [640, 480]], 320, 2.0, (320, 640)),
        ([[160, 160]], 160, 0.0, (160, 160)),
        ([[500, 501]], 160, 0.0, (160, 160)),  # a pixel of rounding costs no column of padding
        ([[160, 160]], 14, 0.0, (32, 32)),
    ],
)
def test_the_canvas_follows_the_pictures_in_steps_of_32(sizes, side, aspect, expected):
    assert canvas_size(np.array(sizes), side, aspect=aspect) == expected
