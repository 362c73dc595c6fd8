"""How often BoB's intervals cover the truth, and how often its test calls equal backbones different, by simulation.

Run ``python -m benchmarks.interval_coverage [SIMULATIONS]`` for the tables of ``docs/results.md``. Each row draws
test sets from a population whose score is known and gives the share of intervals that hold it; 0.95 is aimed at. Beside
it stands the share for the percentile interval of resampled test sets. Seeds are fixed: the same numbers every time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from bob.metrics.detection_matching import ClassMatches, average_precisions
from bob.metrics.interval import crossed_interval, mean_interval, seed_variance
from bob.metrics.ood import auroc_interval, ood_metrics, ood_replicates
from bob.metrics.resampling import left_out_counts, resampled_counts, spread_of
from bob.metrics.segmentation_metrics import mean_iou
from bob.reporting.paired import Paired
from bob.reporting.pairwise import pair_p_values

SIMULATIONS = 400
ALPHA = 0.05
IOUS = np.arange(0.5, 1, 0.05)
# Objects a picture, by class: like blood cells (one common class), and ten classes of which half are rare.
CELLS, RARE = (4.0, 0.5, 0.5), (1.5, 1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.08)
MANY = 40_000


@dataclass(frozen=True)
class Coverage:
    """What a simulation found.

    Attributes:
        case: The score and the population.
        samples: Test samples.
        covered: Share of BoB's intervals that hold the truth.
        above: Share of those that lie above it.
        percentile: Share of percentile intervals that hold it.
    """

    case: str
    samples: int
    covered: float
    above: float
    percentile: float


def matches(rng: np.random.Generator, pictures: int, rates: Sequence[float], quality: float) -> list[ClassMatches]:
    """Return what a detector found: some pictures are harder than others, and surer detections are the better ones."""
    hard = rng.normal(0, 0.8, pictures)
    found = []
    for rate in rates:
        objects = rng.poisson(rate * np.exp(rng.normal(0, 0.5, pictures) - 0.125))
        at = np.repeat(np.arange(pictures), objects)
        fit = rng.normal(quality, 1.0, len(at)) - hard[at]
        iou, score = 1 / (1 + np.exp(-fit)), fit + rng.normal(0, 0.7, len(at))
        false_at = np.repeat(np.arange(pictures), rng.poisson(0.8, pictures))
        seen = iou > 0.3
        scores = np.concatenate([score[seen], rng.normal(quality - 1.2, 1.0, len(false_at))])
        right = np.concatenate([iou[seen] >= IOUS[:, None], np.zeros((len(IOUS), len(false_at)), bool)], axis=1)
        order = np.argsort(-scores, kind="stable")
        picture = np.concatenate([at[seen], false_at])[order]
        ignored = np.zeros_like(right)
        found.append(
            ClassMatches(picture=picture, found=right[:, order], ignored=ignored, objects=objects.astype(np.int64))
        )
    return found


def mean_ap(found: Sequence[ClassMatches], counts: np.ndarray) -> np.ndarray:
    """Return the mean over classes of the average precision on each of the test sets, as detection jobs compute it."""
    values = np.stack([average_precisions(each, counts.astype(np.int32)) for each in found if each.objects.any()])
    return np.nanmean(values, axis=0)


def areas(rng: np.random.Generator, pictures: int) -> np.ndarray:
    """Return (pictures, 3, 8) areas of a segmenter: the rarest class is in one picture of twenty."""
    present = np.array([1, 0.9, 0.6, 0.4, 0.25, 0.12, 0.08, 0.05])
    size = np.array([8, 4, 2, 1, 1, 0.6, 0.4, 0.3])
    quality = np.array([2.0, 1.5, 1, 0.7, 0.5, 0, -0.2, -0.5])
    shape = (pictures, len(size))
    hard = rng.normal(0, 0.7, pictures)[:, None]
    true = (rng.random(shape) < present) * size * np.exp(rng.normal(0, 0.8, shape))
    right = true / (1 + np.exp(hard - quality - rng.normal(0, 1, shape)))
    wrong = true * rng.random(shape) * 0.3 * np.exp(hard / 2)
    wrong += (rng.random(shape) < 0.1) * size * 0.15 * np.exp(rng.normal(0, 1, shape))
    return np.round(np.stack([right, right + wrong, true], axis=1) * 1000)


def pooled_iou(drawn: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mIoU on each of the test sets, as segmentation jobs compute it."""
    return mean_iou((counts.astype(float) @ drawn.reshape(len(drawn), -1)).reshape(-1, *drawn.shape[1:]))


def whole_set_coverage(
    case: str,
    draw: Callable[[np.random.Generator, int], Any],
    score: Callable[[Any, np.ndarray], np.ndarray],
    samples: int,
    simulations: int,
) -> Coverage:
    """Simulate a score of a whole test set, whose spread comes from resampled and thinned ones."""
    truth = float(score(draw(np.random.default_rng(99), MANY), np.ones((1, MANY)))[0])
    counts, left_out = np.concatenate(list(resampled_counts(samples))), left_out_counts(samples)
    rng, tally = np.random.default_rng(samples), _Tally(truth)
    for _ in range(simulations):
        drawn = draw(rng, samples)
        own, replicates = float(score(drawn, np.ones((1, samples)))[0]), score(drawn, counts)
        interval = spread_of(own, replicates, score(drawn, left_out)).interval(own, samples=samples)
        tally.add(interval, np.nanquantile(replicates, (0.025, 0.975)))
    return tally.coverage(f"{case}, truth {truth:.2f}", samples)


def auroc_coverage(truth: float, samples: int, simulations: int) -> Coverage:
    """Simulate the AUROC of normal scores, as many inside as outside."""
    distance = math.sqrt(2) * float(stats.norm.ppf(truth))
    rng, tally = np.random.default_rng(samples), _Tally(truth)
    for _ in range(simulations):
        inside, outside = rng.normal(distance, 1, samples), rng.normal(0, 1, samples)
        own, replicates = ood_metrics(inside, outside)["auroc"], ood_replicates(inside, outside)
        interval = auroc_interval(own, replicates, smallest=samples)
        tally.add(interval, np.quantile(replicates, (0.025, 0.975)))
    return tally.coverage(f"AUROC {truth:g}", samples)


def share_coverage(truth: float, samples: int) -> Coverage:
    """Return the exact coverage of a share of right pictures (top1): every outcome with its probability."""
    right = np.arange(samples + 1)
    chance = stats.binom.pmf(right, samples, truth)
    ends = np.array([mean_interval(np.arange(samples) < k) for k in right])
    drawn = np.stack(stats.binom.ppf([[0.025], [0.975]], samples, right / samples), axis=1) / samples
    low, high = ends.T
    holds = (drawn[:, 0] <= truth) & (truth <= drawn[:, 1])
    return Coverage(
        f"top1 {truth:g}",
        samples,
        float(chance[(low <= truth) & (truth <= high)].sum()),
        float(chance[low > truth].sum()),
        float(chance[holds].sum()),
    )


def reciprocal_rank_coverage(samples: int, simulations: int) -> Coverage:
    """Simulate the mean reciprocal rank of queries whose first hit is at a geometric rank."""
    chance = 0.4
    truth = -chance * math.log(chance) / (1 - chance)
    rng, tally = np.random.default_rng(samples), _Tally(truth)
    counts = np.concatenate(list(resampled_counts(samples)))
    for _ in range(simulations):
        outcomes = 1 / rng.geometric(chance, samples)
        tally.add(mean_interval(outcomes), np.quantile(counts @ outcomes / samples, (0.025, 0.975)))
    return tally.coverage(f"MRR {truth:.2f}", samples)


def runs(
    rng: np.random.Generator, backbones: int, seeds: int, samples: int, *, share: float, seed_std: float | np.ndarray
) -> np.ndarray:
    """Return 0/1 outcomes (backbones, seeds, samples) of equal backbones whose seeds differ in accuracy."""
    ease = rng.beta(1.5 * share, 1.5 * (1 - share), samples)
    open_ = (
        ease * (1 - ease) / np.mean(ease * (1 - ease))
    )  # a seed moves the pictures that are neither easy nor hopeless
    moved = rng.normal(0, 1, (backbones, seeds)) * np.broadcast_to(seed_std, backbones)[:, None]
    chance = np.clip(ease + moved[:, :, None] * open_, 0, 1)
    return (rng.random(chance.shape, dtype=np.float32) < chance).astype(float)


def seeds_coverage(seeds: int, samples: int, seed_std: float, simulations: int) -> Coverage:
    """Simulate the mean accuracy over seeds; the percentile interval resamples pictures alone."""
    truth, rng = 0.8, np.random.default_rng(seeds)
    tally = _Tally(truth)
    for _ in range(simulations):
        outcomes = runs(rng, 1, seeds, samples, share=truth, seed_std=seed_std)[0]
        tally.add(crossed_interval(outcomes), mean_interval(outcomes.mean(axis=0)))
    return tally.coverage(f"top1 0.8, {seeds} seeds of s.d. {seed_std:g}", samples)


def false_claims(
    backbones: int, seeds: int, samples: int, *, share: float, seed_std: float | np.ndarray, simulations: int
) -> float:
    """Return how often any two of several equal backbones are called different."""
    rng = np.random.default_rng([backbones, seeds, samples])
    false = 0
    for _ in range(simulations):
        outcomes = runs(rng, backbones, seeds, samples, share=share, seed_std=seed_std)
        averaged = outcomes.mean(axis=1)
        names = [f"{number}" for number in range(backbones)]
        paired = Paired(
            scores=dict(zip(names, averaged.mean(axis=1).tolist(), strict=True)),
            covariance=np.cov(averaged) / samples,
            floor=2 / samples**2,
            runs=dict.fromkeys(names, seeds),
            seed_parts={name: seed_variance(own) for name, own in zip(names, outcomes, strict=True) if seeds > 1},
        )
        noise = paired.noise(names, paired.pooled(names))
        false += bool((pair_p_values(averaged.mean(axis=1), noise) < ALPHA).any())
    return false / simulations


class _Tally:
    def __init__(self, truth: float) -> None:
        self.truth = truth
        self.counts = np.zeros(4)

    def add(self, interval: tuple[float, float], percentile: Sequence[float] | np.ndarray) -> None:
        low, high = interval
        self.counts += [1, low <= self.truth <= high, low > self.truth, percentile[0] <= self.truth <= percentile[1]]

    def coverage(self, case: str, samples: int) -> Coverage:
        total, *others = self.counts.tolist()
        return Coverage(case, samples, *(each / total for each in others))


def ap_coverage(rates: Sequence[float], quality: float, samples: int, simulations: int) -> Coverage:
    """Simulate COCO's AP."""
    name = "AP of cells" if rates == CELLS else "AP with rare classes"
    return whole_set_coverage(name, lambda rng, n: matches(rng, n, rates, quality), mean_ap, samples, simulations)


def miou_coverage(samples: int, simulations: int) -> Coverage:
    """Simulate the mIoU."""
    return whole_set_coverage("mIoU with rare classes", areas, pooled_iou, samples, simulations)


def coverages(simulations: int) -> Iterator[Coverage]:
    """Yield every row of the first table."""
    for rates in (CELLS, RARE):
        for quality in (-0.6, 1.1):
            yield from (ap_coverage(rates, quality, n, simulations) for n in (50, 100, 200))
    yield from (miou_coverage(n, simulations) for n in (50, 100, 200))
    yield from (share_coverage(p, n) for p in (0.5, 0.8, 0.95, 0.98, 0.99, 0.999) for n in (200, 400))
    yield from (auroc_coverage(p, n, simulations) for p in (0.6, 0.9, 0.99) for n in (50, 200))
    yield from (reciprocal_rank_coverage(n, simulations) for n in (50, 200))
    for std in (0.0, 0.01):
        yield from (seeds_coverage(s, n, std, simulations) for n in (300, 10_000) for s in (2, 3, 5))


def main() -> None:
    """Print both tables as Markdown."""
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS
    print(
        "| score | test samples | covered | interval above the truth | percentile interval |\n|---|---:|---:|---:|---:|"
    )
    for row in coverages(simulations):
        print(
            f"| {row.case} | {row.samples} | {row.covered:.3f} | {row.above:.3f} | {row.percentile:.3f} |", flush=True
        )
    print("\n| candidates | seeds | test samples | accuracy | seed s.d. | any two called different |\n|" + "---:|" * 6)
    equal = [(1, 300, 0.5, 0.0), (1, 300, 0.98, 0.0), (2, 2000, 0.8, 0.01), (3, 2000, 0.8, 0.01), (5, 2000, 0.8, 0.01)]
    for seeds, samples, share, std in equal:
        for backbones in (2, 10, 50):
            found = false_claims(backbones, seeds, samples, share=share, seed_std=std, simulations=simulations)
            print(f"| {backbones} | {seeds} | {samples} | {share} | {std:g} | {found:.3f} |", flush=True)
    for seeds in (2, 3, 5):
        for backbones in (10, 50):
            unequal = np.where(np.arange(backbones) % 5 == 0, 0.03, 0.005)
            found = false_claims(backbones, seeds, 2000, share=0.8, seed_std=unequal, simulations=simulations)
            print(f"| {backbones} | {seeds} | 2000 | 0.8 | 0.005, of a fifth 0.03 | {found:.3f} |", flush=True)


if __name__ == "__main__":
    main()
