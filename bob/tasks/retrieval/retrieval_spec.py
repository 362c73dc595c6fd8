"""Task `retrieval` as data: its metrics, its protocol and the parameters. No torch: planning reads this."""

from __future__ import annotations

from pydantic import Field

from bob.jobs.protocol_params import ProtocolParams
from bob.tasks.classification.classification_spec import FEATURE_BUDGET, FEATURE_SEED
from bob.tasks.spec import Protocol, Task

KS = (1, 5, 10)

METRICS = {
    "map": "mean over queries of the average precision of their ranking; with given queries that of medium difficulty, "
    "as are all metrics without a difficulty in their name",
    "mrr": "mean over queries of 1 / place of the first right picture, places counted from 1",
    **{f"recall_at_{k}": f"share of queries with a right picture among the first {k}" for k in KS},
    **{f"precision_at_{k}": f"mean over queries of the share of right pictures among the first {k}" for k in KS},
    "map_easy": "`map` where only easy pictures are to be found; given queries only",
    "map_medium": "`map` where easy and hard ones are; given queries only",
    "map_hard": "`map` where only hard ones are; given queries only",
}


class RetrievalParams(ProtocolParams):
    """Of `cosine`."""

    queries_per_class: int = Field(50, ge=1, description="a class's queries at most: a fifth of its test pictures")
    pictures_per_class: int = Field(
        0, ge=0, description="test pictures of a class used at most, queries and gallery together; 0 for all"
    )


COSINE = Protocol(
    name="cosine",
    doc="frozen features ranked by cosine similarity, no training",
    run="bob.tasks.retrieval.retrieval_protocols:cosine",
    params=RetrievalParams,
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    seed_varies=FEATURE_SEED,
)

RETRIEVAL = Task(
    name="retrieval",
    version=1,
    metric="map",
    metrics=METRICS,
    protocols={COSINE.name: COSINE},
    also=("retrieval",),
)
