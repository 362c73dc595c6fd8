"""Task `retrieval`: which pictures of a gallery show what a query shows, by the cosine of frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bob.core.errors import DataError
from bob.data.readers.revisited import open_truth
from bob.data.retrieval_truth import PROTOCOLS
from bob.data.splits import draw_queries
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import features_need
from bob.metrics.interval import mean_interval
from bob.metrics.retrieval_metrics import Convention, per_query_ap, retrieval_metrics
from bob.probes.feature_content import feature_content
from bob.probes.feature_files import SplitFeatures, load_features
from bob.probes.gallery_ranks import Related, positive_ranks, same_label
from bob.tasks.artifact_makers import make
from bob.tasks.result import TaskResult
from bob.tasks.retrieval.retrieval_spec import KS, RetrievalParams
from bob.tasks.setup import Setup

PRIMARY = "medium"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of test: q queries, n gallery pictures, and what each query should find.

    Attributes:
        queries: (q,) places in test.
        gallery: (n,) places in test.
        positives: Gallery indices of what a query should find, by difficulty.
        junk: Those that do not count for a query, by difficulty; empty if all count.
        primary: The difficulty that the score is of.
        ap: How the average precision is counted, see ``bob.metrics.retrieval_metrics``.
        notes: Columns that say more about the split.
    """

    queries: np.ndarray
    gallery: np.ndarray
    positives: Mapping[str, Related]
    junk: Mapping[str, Related] = field(default_factory=dict)
    primary: str
    ap: Convention
    notes: Mapping[str, Any] = field(default_factory=dict)


def cosine(job: Job, context: Context) -> TaskResult:
    """Rank the gallery for each query by the cosine of pooled features.

    Raises:
        DataError: No class of test has two pictures; or no query has anything to find in the gallery.
    """
    setup = Setup.of(job, context)
    features = load_features(make(features_need(job), job, context))
    test = features["test"]
    asked = given_question(setup, test) if setup.has_given_queries else labelled_question(setup, test)
    ranks = _ranks(asked, test, setup.device)
    meta = features.meta
    facts = {"precision": meta["precision"], "features_s": meta["seconds"], "dropped_pictures": meta["dropped"]}
    facts |= feature_content(test.features).columns()
    return ranked(asked, test.ids, ranks, notes={**setup.notes(meta["pooling"]), **facts, "n_test": len(test.ids)})


def labelled_question(setup: Setup, test: SplitFeatures) -> Question:
    """Return the queries drawn from labelled test pictures: each should find those of its class.

    Raises:
        DataError: No class has two pictures.
    """
    params = RetrievalParams.of(setup.job)
    most, per_class = params.queries_per_class, params.pictures_per_class
    queries, gallery = draw_queries(test.ids, test.labels, most=most, per_class=per_class or None)
    if not len(queries):
        raise DataError(
            f"data set {setup.spec.name!r}: no class has two of the {len(test.ids)} test pictures used, one to ask "
            "with and one to find.",
            hint="Raise max_test or pictures_per_class, or give the data set more test pictures.",
        )
    labels = test.labels
    alone = len(np.setdiff1d(labels[gallery], labels[queries]))
    return Question(
        queries=queries,
        gallery=gallery,
        positives={"": same_label(labels[queries], labels[gallery])},
        primary="",
        ap="plain",
        notes={"n_classes": len(setup.spec.classes), "classes_without_queries": alone},
    )


def given_question(setup: Setup, test: SplitFeatures) -> Question:
    """Return the queries, gallery and truth that the data set gives, of the pictures that were read."""
    truth = open_truth(setup.spec, cache_dir=setup.context.cache_dir).among(test.ids)
    place = {name: index for index, name in enumerate(test.ids)}
    relevant = {difficulty: truth.relevance(difficulty) for difficulty in PROTOCOLS}
    return Question(
        queries=np.array([place[name] for name in truth.queries]),
        gallery=np.array([place[name] for name in truth.gallery]),
        positives={difficulty: positives.__getitem__ for difficulty, (positives, _) in relevant.items()},
        junk={difficulty: junk.__getitem__ for difficulty, (_, junk) in relevant.items()},
        primary=PRIMARY,
        ap="oxford",
    )


def ranked(
    asked: Question, ids: tuple[str, ...], ranks: Mapping[str, list[np.ndarray]], *, notes: dict[str, Any]
) -> TaskResult:
    """Return the result: the mean average precision with its interval by queries.

    Args:
        asked: The question.
        ids: The test pictures' ids.
        ranks: By difficulty, each query's ranks of its positives.
        notes: Of the result.

    Raises:
        DataError: No query has a positive.
    """
    metrics = retrieval_metrics(ranks[asked.primary], ks=KS, ap=asked.ap)
    counts = {"n_queries": int(metrics.pop("queries")), "n_gallery": len(asked.gallery)}
    counts["queries_without_positives"] = int(metrics.pop("queries_without_positives"))
    for difficulty in filter(None, ranks):
        # Where no query has a positive, this difficulty has no number; the others do.
        if any(map(len, ranks[difficulty])):
            metrics[f"map_{difficulty}"] = retrieval_metrics(ranks[difficulty], ks=KS, ap=asked.ap)["map"]
    outcomes = _outcomes(asked, ids, ranks[asked.primary])
    low, high = mean_interval(outcomes["outcome"])
    return TaskResult(
        score=metrics["map"],
        score_low=low,
        score_high=high,
        metrics=metrics,
        outcomes=outcomes,
        notes={**notes, **asked.notes, **counts},
    )


def _ranks(asked: Question, test: SplitFeatures, device: torch.device) -> dict[str, list[np.ndarray]]:
    queries, gallery = _rows(test, asked.queries, device), _rows(test, asked.gallery, device)
    return {
        difficulty: positive_ranks(queries, gallery, positives, junk=asked.junk.get(difficulty))
        for difficulty, positives in asked.positives.items()
    }


def _rows(test: SplitFeatures, places: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(test.features[places]).to(device)


def _outcomes(asked: Question, ids: tuple[str, ...], ranks: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return an entry per query that has a positive: the others are in no mean."""
    scored = [query for query, found in enumerate(ranks) if len(found)]
    return {
        "sample_id": np.array([ids[place] for place in asked.queries[scored]], dtype=object),
        "outcome": per_query_ap(ranks, ap=asked.ap)[scored],
        "first_place": np.array([ranks[query].min() + 1 for query in scored], dtype=np.int64),
    }
