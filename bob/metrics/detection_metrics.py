"""COCO's average precision and recall of boxes and masks, as pycocotools computes them, from hotcoco's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bob.core.errors import DataError, NumericalError
from bob.data.annotations import Detections, Instances
from bob.metrics.detection_matching import average_precisions, matches_by_class
from bob.metrics.resampling import RESAMPLES, Spread, left_out_counts, resampled_counts, spread_of

MAX_DETECTIONS = (1, 10, 100)  # per picture and class
FEDERATED_DETECTIONS = 300  # per picture, as LVIS has it
FREQUENCIES = ("rare", "common", "frequent")
AREAS = ("all", "small", "medium", "large")
_ENGINE_KIND = {"box": "bbox", "mask": "segm"}
_IOU = {"50": 0, "75": 5}  # positions in .50:.05:.95


@dataclass(frozen=True, kw_only=True)
class CocoScores:
    """COCO's numbers of one test set.

    Attributes:
        metrics: ``box_ap``, ``box_ap50``, ``box_ap75``, ``box_ap_small``, ``_medium``, ``_large``, ``box_ar1``,
            ``box_ar10``, ``box_ar100``, ``box_ar_small``, ``_medium``, ``_large`` (or ``mask_...``), in [0, 1]; None
            where there is no object to find, where pycocotools says -1.
        per_class: AP by class index; None for a class without truth.
        replicates: float64 (resamples,): the AP on each test set of ``resampled_counts``; NaN on one without truth.
        left_out: float64 (groups,): likewise on each of ``left_out_counts``; empty without replicates.
    """

    metrics: dict[str, float | None]
    per_class: dict[int, float | None]
    replicates: np.ndarray
    left_out: np.ndarray

    def spread(self, score: float) -> Spread:
        """Return how the AP, which is ``score``, varies over test sets."""
        return spread_of(score, self.replicates, self.left_out)


def coco_scores(
    truth: Sequence[Instances],
    found: Sequence[Detections],
    sizes: np.ndarray,
    *,
    classes: int,
    kind: str,
    resamples: int = RESAMPLES,
    frequencies: Sequence[str] = (),
) -> CocoScores:
    """Score detections as pycocotools does (Lin et al. 2014, arXiv:1405.0312; the code is the definition).

    IoU .50:.05:.95, 101 recall levels, at most 100 detections a picture and class, the surest; crowds neither count
    nor punish. An object's size is the area its annotation states; a detection's, that of its box or mask. No
    detection at all, where pycocotools raises, is an AP of 0 where there is truth.

    Args:
        truth: The objects of each picture, pictures in the order of their ids, so that resamples pair.
        found: The detections of each picture, in the same order.
        sizes: int (n, 2): height and width of each picture.
        classes: How many classes there are.
        kind: ``box`` or ``mask``: what is compared; both sides need ``masks`` for the latter.
        resamples: How many resampled test sets the AP is computed on; 0 for none.
        frequencies: "rare", "common" or "frequent" of each class: then not every class is annotated in each picture,
            truth says which are ``absent`` and ``partial``, and the scores are LVIS' (Gupta et al. 2019,
            arXiv:1908.03195; lvis-api is the definition): detections of a class that a picture neither has nor is
            known to lack are left out, at most 300 a picture count, those of a ``partial`` class that find no object
            are no mistakes, and AP by frequency stands in the place of recall.

    Raises:
        DataError: There is no picture.
        NumericalError: A box, score or area is not finite.
        ValueError: The arguments do not fit each other.
    """
    _check(truth, found, sizes, classes, kind)
    _check_frequencies(truth, classes, frequencies)
    sides = _load(truth, found, sizes, classes, kind)
    if frequencies:
        sides = (sides[0], sides[1].cap_detections_per_image(FEDERATED_DETECTIONS))
    evaluated = partial(_evaluated, *sides, kind, is_federated=bool(frequencies))
    engine = evaluated(AREAS)
    engine.accumulate()
    precision, recall = engine.eval["precision"], engine.eval["recall"]
    replicates, left_out = _resampled(evaluated, len(truth), resamples)
    metrics = _precisions(precision) | (_by_frequency(precision, frequencies) if frequencies else _recalls(recall))
    return CocoScores(
        metrics={f"{kind}_{name}": value for name, value in metrics.items()},
        per_class={index: _mean(precision[:, :, index, 0, -1]) for index in range(classes)},
        replicates=replicates,
        left_out=left_out,
    )


def _precisions(precision: np.ndarray) -> dict[str, float | None]:
    """Return the average precisions from (IoU, recall, class, area, maximum)."""
    metrics = {"ap": _mean(precision[:, :, :, 0, -1])}
    metrics |= {f"ap{name}": _mean(precision[at, :, :, 0, -1]) for name, at in _IOU.items()}
    return metrics | {f"ap_{name}": _mean(precision[:, :, :, area, -1]) for area, name in enumerate(AREAS) if area}


def _recalls(recall: np.ndarray) -> dict[str, float | None]:
    """Return the average recalls from (IoU, class, area, maximum)."""
    metrics = {f"ar{count}": _mean(recall[:, :, 0, at]) for at, count in enumerate(MAX_DETECTIONS)}
    return metrics | {f"ar_{name}": _mean(recall[:, :, area, -1]) for area, name in enumerate(AREAS) if area}


def _by_frequency(precision: np.ndarray, frequencies: Sequence[str]) -> dict[str, float | None]:
    """Return the average precision of the rare, the common and the frequent classes."""
    of_class = np.array(frequencies)
    return {f"ap_{name}": _mean(precision[:, :, of_class == name, 0, -1]) for name in FREQUENCIES}


def _mean(values: np.ndarray) -> float | None:
    """Return the mean over what there is; -1 stands for classes without truth."""
    present = values[values > -1]
    return float(present.mean()) if present.size else None


def _evaluated(truth: Any, found: Any, kind: str, areas: Sequence[str], *, is_federated: bool) -> Any:
    from hotcoco import COCOeval

    engine = COCOeval(truth, found, _ENGINE_KIND[kind], lvis_style=is_federated)
    params = engine.params
    params.area_rng = params.area_rng[: len(areas)]
    params.area_rng_lbl = list(areas)
    engine.evaluate()
    return engine


def _resampled(
    evaluated: Callable[[Sequence[str]], Any], pictures: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the AP on resampled test sets and on those that leave pictures out."""
    if resamples == 0:
        return np.empty(0), np.empty(0)
    # Again, for one range of areas: the records of four would be four times as many Python objects.
    records = evaluated(AREAS[:1]).eval_imgs
    counts = np.concatenate([*resampled_counts(pictures, resamples=resamples), left_out_counts(pictures)])
    counts = counts.astype(np.int32)
    total, present = np.zeros(len(counts)), np.zeros(len(counts), dtype=np.int64)
    for matches in matches_by_class(records, pictures).values():
        values = average_precisions(matches, counts)
        total += np.nan_to_num(values)
        present += ~np.isnan(values)
    scores = np.where(present > 0, total / np.maximum(present, 1), np.nan)
    return scores[:resamples], scores[resamples:]


def _load(
    truth: Sequence[Instances], found: Sequence[Detections], sizes: np.ndarray, classes: int, kind: str
) -> tuple[Any, Any]:
    """Return both sides as the engine's data sets; ids start at 1, for 0 reads as "no match" in the definition."""
    from hotcoco import COCO

    images = [
        {"id": i + 1, "height": int(h), "width": int(w), **_unannotated(truth[i])}
        for i, (h, w) in enumerate(np.asarray(sizes))
    ]
    categories = [{"id": index + 1, "name": str(index)} for index in range(classes)]
    total = sum(map(len, truth))
    truth_coco = COCO.from_arrays(
        images,
        categories,
        _image_ids(truth),
        _joined([one.labels for one in truth], np.int64) + 1,
        _corner_and_size(truth),
        ids=np.arange(1, total + 1),
        area=_joined([one.area for one in truth], np.float64),
        iscrowd=_joined([one.crowd for one in truth], np.int64),
        segmentation=_masks(truth) if kind == "mask" else None,
    )
    labels = _joined([one.labels for one in found], np.int64) + 1
    scores = _joined([one.scores for one in found], np.float64)
    if kind == "box":
        columns = [_image_ids(found)[:, None], _corner_and_size(found), scores[:, None], labels[:, None]]
        return truth_coco, truth_coco.load_res(np.concatenate(columns, axis=1, dtype=np.float64))
    # Without a box, so that a detection's size is its mask's.
    rows = zip(_image_ids(found).tolist(), labels.tolist(), scores.tolist(), _masks(found), strict=True)
    names = ("image_id", "category_id", "score", "segmentation")
    return truth_coco, truth_coco.load_res([dict(zip(names, row, strict=True)) for row in rows])


def _unannotated(truth: Instances) -> dict[str, list[int]]:
    """Return, under LVIS' names, the classes that a picture is known to lack, and those that are not complete."""
    if truth.absent is None or truth.partial is None:
        return {}
    return {
        "neg_category_ids": (truth.absent + 1).tolist(),
        "not_exhaustive_category_ids": (truth.partial + 1).tolist(),
    }


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)


def _image_ids(side: Sequence[Instances] | Sequence[Detections]) -> np.ndarray:
    return np.repeat(np.arange(1, len(side) + 1), [len(one) for one in side])


def _corner_and_size(side: Sequence[Instances] | Sequence[Detections]) -> np.ndarray:
    boxes = np.concatenate([np.empty((0, 4)), *(np.asarray(one.boxes, np.float64).reshape(-1, 4) for one in side)])
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _masks(side: Sequence[Instances] | Sequence[Detections]) -> list[Any]:
    return [mask for one in side for mask in one.masks or ()]


def _check(truth: Sequence[Instances], found: Sequence[Detections], sizes: np.ndarray, classes: int, kind: str) -> None:
    if not len(truth):
        raise DataError("there is no test picture to score: expected at least one.")
    if kind not in _ENGINE_KIND:
        raise ValueError(f"kind must be one of {', '.join(_ENGINE_KIND)}, got {kind!r}.")
    if not len(truth) == len(found) == len(sizes):
        raise ValueError(f"truth, found and sizes are of {len(truth)}, {len(found)} and {len(sizes)} pictures.")
    for side in (truth, found):
        labels = _joined([one.labels for one in side], np.int64)
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            raise ValueError(f"labels must lie in 0 to {classes - 1}, got {labels.min()} to {labels.max()}.")
        if kind == "mask" and any(len(one.masks or ()) != len(one) for one in side):
            raise ValueError("scoring masks needs one mask per object on both sides.")
    numbers = {"area": [one.area for one in truth], "score": [one.scores for one in found]}
    numbers |= {"box": [one.boxes for one in truth], "detected box": [one.boxes for one in found]}
    for name, parts in numbers.items():
        bad = [picture for picture, part in enumerate(parts) if not np.isfinite(part).all()]
        if bad:
            raise NumericalError(f"{len(bad)} of {len(parts)} pictures have a {name} that is not finite.")


def _check_frequencies(truth: Sequence[Instances], classes: int, frequencies: Sequence[str]) -> None:
    if frequencies and (len(frequencies) != classes or not set(frequencies) <= set(FREQUENCIES)):
        raise ValueError(f"frequencies must be one of {', '.join(FREQUENCIES)} for each of {classes} classes.")
    if any((one.absent is None or one.partial is None) == bool(frequencies) for one in truth):
        raise ValueError("absent and partial of each picture go with frequencies, and only with them.")
