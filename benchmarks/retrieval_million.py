"""Retrieval in a million gallery pictures: time, memory beyond the features, and the difference from a full sort.

    python -m benchmarks.retrieval_million [--gallery 1000000] [--queries 100] [--width 128] [--threads 1]

Random features of a thousand classes, each query after its class. The reference sorts the whole gallery, by cosines in
float64, for some of the queries. Targets: equal to 1e-6, memory that does not grow with the gallery.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from torch import Tensor

from bob.core.peak_memory import peak_rise_mb
from bob.metrics.retrieval_metrics import per_query_ap, retrieval_metrics
from bob.probes.gallery_ranks import positive_ranks, same_label

CLASSES, CHECKED, CHUNK = 1000, 10, 100_000
SPREAD = 1.5  # of a class around its centre, per feature, whose own deviation is 1


def draw(count: int, centres: Tensor, seed: int) -> tuple[Tensor, np.ndarray]:
    """Return float32 features (count, width) around the centres (classes, width), and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(centres), (count,), generator=generator)
    features = torch.randn(count, centres.shape[1], generator=generator).mul_(SPREAD)
    for rows in torch.arange(count).split(CHUNK):
        features[rows] += centres[labels[rows]]
    return features, labels.numpy()


def sorted_ranks(query: Tensor, gallery: Tensor, right: np.ndarray) -> np.ndarray:
    """Return the ranks of the right pictures in the whole gallery, sorted by cosines in float64."""
    asked = query.double() / query.double().norm()
    scores = torch.cat([part.double() @ asked / part.double().norm(dim=1) for part in gallery.split(CHUNK)])
    return np.flatnonzero(right[np.argsort(-scores.numpy(), kind="stable")])


def measure(gallery_size: int, query_count: int, width: int) -> dict[str, float]:
    """Return the figures."""
    centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(0))
    gallery, labels = draw(gallery_size, centres, 1)
    queries, asked = draw(query_count, centres, 2)
    found: list[np.ndarray] = []
    started = time.perf_counter()
    rise = peak_rise_mb(lambda: found.extend(positive_ranks(queries, gallery, same_label(asked, labels))), "cpu")
    ranked_s = time.perf_counter() - started
    started = time.perf_counter()
    metrics = retrieval_metrics(found)
    scored_s = time.perf_counter() - started
    checked = range(min(CHECKED, query_count))
    started = time.perf_counter()
    expected = [sorted_ranks(queries[query], gallery, labels == asked[query]) for query in checked]
    sorted_s = time.perf_counter() - started
    ours = [found[query] for query in checked]
    moved = sum(int((mine != theirs).sum()) for mine, theirs in zip(ours, expected, strict=True))
    return {
        "gallery": gallery_size,
        "queries": query_count,
        "width": width,
        "features_mb": gallery.nbytes / 1e6,
        "ranking_s": ranked_s,
        "metrics_s": scored_s,
        "peak_rise_mb": rise,
        "full_sort_s_per_query": sorted_s / len(checked),
        "map": metrics["map"],
        "recall_at_1": metrics["recall_at_1"],
        "checked_positives": sum(map(len, expected)),
        "ranks_that_differ": moved,
        "largest_ap_difference": float(np.abs(per_query_ap(ours) - per_query_ap(expected)).max()),
    }


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = measure(options.gallery, options.queries, options.width)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
