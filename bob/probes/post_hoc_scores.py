"""Post-hoc out-of-distribution scores: each a function of pooled features under a linear head, with its source.

A score takes ``Rows`` and returns (m,) float64, higher for in-distribution pictures. Nothing is trained or
tuned. A plug-in adds a score with the same decorator::

    @ood_score("norm", doc="the length of the features", source="...")
    def norm(rows):
        return rows.x.norm(dim=1)

What a score fits on the training features itself, it asks for with ``rows.fit.once(name, compute)``. Each registered
score gives rows a column ``auroc_NAME``, and is a value of the parameter ``method``. Functions use what they are given:
nothing here imports torch, so that planning may read the descriptions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bob.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

ODIN = "odin"


class Rows(Protocol):
    """What a score is given: m pictures, and what several scores share, each computed once.

    Attributes:
        fit: ``bob.probes.ood_scores.OodFit``: the head, and the statistics, features and labels of train.
        features: (m, d) as the head takes them.
        x: The same in float64.
        logits: (m, c) float64.
        energy: (m,) log-sum-exp of the logits.
        class_distance: (m,) squared Mahalanobis distance to the nearest class mean.
        total_distance: (m,) squared Mahalanobis distance to the mean of all.
        residual: (m,) length outside the principal space.
        clipped_energy: (m,) energy of the features cut at the training percentile.
    """

    @property
    def fit(self) -> Any: ...
    @property
    def features(self) -> Tensor: ...
    @property
    def x(self) -> Tensor: ...
    @property
    def logits(self) -> Tensor: ...
    @property
    def energy(self) -> Tensor: ...
    @property
    def class_distance(self) -> Tensor: ...
    @property
    def total_distance(self) -> Tensor: ...
    @property
    def residual(self) -> Tensor: ...
    @property
    def clipped_energy(self) -> Tensor: ...


Score = Callable[[Rows], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class OodScore:
    """One score.

    Attributes:
        name: As the parameter ``method`` and the column ``auroc_NAME`` call it.
        doc: What it is, in one line.
        source: The paper that defines it, and the equation.
        openood: How OpenOOD v1.5 (Zhang et al. 2023, arXiv 2306.09301) differs; empty if it does not have the score.
        function: The formula; None for ODIN, which needs a gradient pass of its own (``bob.probes.odin``).
    """

    name: str
    doc: str
    source: str
    openood: str = ""
    function: Score | None = None


OOD_SCORES: Registry[OodScore] = Registry("OOD score", list_command="bob list scores")


def ood_score(name: str, *, doc: str, source: str, openood: str = "") -> Callable[[Score], Score]:
    """Register the function that the decorator stands on; the arguments are those of ``OodScore``."""

    def keep(function: Score) -> Score:
        OOD_SCORES.add(name, OodScore(name=name, doc=doc, source=source, openood=openood, function=function))
        return function

    return keep


def post_hoc_names() -> tuple[str, ...]:
    """Return the names of the scores that are functions of features: all but ODIN."""
    return tuple(name for name in OOD_SCORES if OOD_SCORES.get(name).function is not None)


@ood_score(
    "msp",
    doc="the largest softmax probability",
    source="Hendrycks & Gimpel 2017, arXiv 1610.02136",
    openood="the same, in float32, where more probabilities round to 1",
)
def msp(rows: Rows) -> Tensor:
    """Return max_c softmax(logits)_c."""
    return rows.logits.softmax(dim=1).amax(dim=1)


@ood_score("max_logit", doc="the largest logit", source="Hendrycks et al. 2022, arXiv 1911.11132", openood="the same")
def max_logit(rows: Rows) -> Tensor:
    """Return max_c logit_c."""
    return rows.logits.amax(dim=1)


@ood_score(
    "energy",
    doc="the log-sum-exp of the logits",
    source="Liu et al. 2020, arXiv 2010.03759, equation 4, negated, at T = 1",
    openood="the same",
)
def energy(rows: Rows) -> Tensor:
    """Return log sum_c exp(logit_c)."""
    return rows.energy


@ood_score(
    "mahalanobis",
    doc="the squared Mahalanobis distance to the nearest class mean, negated",
    source="Lee et al. 2018, arXiv 1807.03888, under the covariance that all classes share; on the last features, "
    "without input noise",
    openood="the same, with the inverse covariance rounded to float32",
)
def mahalanobis(rows: Rows) -> Tensor:
    """Return -min_c (x - mu_c)^T S^-1 (x - mu_c)."""
    return -rows.class_distance


@ood_score(
    "relative_mahalanobis",
    doc="the Mahalanobis distance to the mean of all, less that to the nearest class mean",
    source="Ren et al. 2021, arXiv 2106.09022, the distance to the mean of all under the covariance of all",
    openood="the same, with the inverse covariances rounded to float32",
)
def relative_mahalanobis(rows: Rows) -> Tensor:
    """Return (x - mu)^T S_0^-1 (x - mu) - min_c (x - mu_c)^T S^-1 (x - mu_c)."""
    return rows.total_distance - rows.class_distance


@ood_score(
    "knn",
    doc="the distance to the 50th nearest training picture, negated",
    source="Sun et al. 2022, arXiv 2204.06507, features scaled to unit length",
    openood="k = 50; the squared distance, which ranks alike",
)
def knn(rows: Rows) -> Tensor:
    """Return -||z - z_(k)|| of unit-length features z."""
    return -rows.fit.neighbours.distance(rows.features)


@ood_score(
    "vim",
    doc="the energy less the virtual logit",
    source="Wang et al. 2022, arXiv 2203.10807: the virtual logit is alpha times the residual",
    openood="the same with a dimension given per data set; the principal space is the authors' rule here",
)
def vim(rows: Rows) -> Tensor:
    """Return energy - alpha * residual."""
    return rows.energy - rows.fit.alpha * rows.residual


@ood_score(
    "react",
    doc="the energy of features cut at a training percentile",
    source="Sun et al. 2021, arXiv 2111.12797, cut at the 90th percentile of all training activations",
    openood="the same with the percentile of the in-distribution validation set",
)
def react(rows: Rows) -> Tensor:
    """Return the energy of min(x, clip)."""
    return rows.clipped_energy


@ood_score(
    "residual",
    doc="the length outside the principal space, negated",
    source="Wang et al. 2022, arXiv 2203.10807, about ViM's origin",
    openood="the same with 512 dimensions, fitted on the in-distribution validation set",
)
def residual(rows: Rows) -> Tensor:
    """Return -||R^T (x - origin)||."""
    return -rows.residual


OOD_SCORES.add(
    ODIN,
    OodScore(
        name=ODIN,
        doc="the largest softmax probability at temperature 1000 after a step to the predicted class",
        source="Liang et al. 2018, arXiv 1706.02690",
        openood="the same",
    ),
)
