"""What post-hoc out-of-distribution scores are computed from, and computing them.

Nothing here is trained or tuned: training features fix the statistics, once, and every score is a formula of a
picture's features (``bob.probes.post_hoc_scores``). ODIN, which needs the network itself, is in ``bob.probes.odin``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from bob.core.errors import BobError, ConfigError, DataError, NumericalError, unknown_name
from bob.probes.ood_statistics import (
    Moments,
    Neighbours,
    head_origin,
    percentile,
    residual_space,
    rows_at_once,
    whitening,
)
from bob.probes.post_hoc_scores import OOD_SCORES, post_hoc_names

T = TypeVar("T")

NEIGHBOUR = 50
CLIP_PERCENTILE = 90.0


@dataclass(frozen=True, kw_only=True)
class OodFit:
    """Everything that the scores need of the training features and the head; float64 but the neighbours.

    Attributes:
        weight: (d, c) of the head.
        bias: (c,) of the head.
        mean: (d,) of all training features.
        within: (d, r) whitening of the covariance that the classes share.
        total: (d, s) whitening of the covariance of all.
        centres: (p, r) class means less ``mean``, whitened by ``within``.
        origin: (d,) ViM's origin, where the head's logits vanish.
        residual: (d, d - D) directions outside the principal space.
        alpha: The virtual logit's scale.
        clip: Where ReAct cuts a feature.
        neighbours: What is searched for the k-th neighbour.
        features: (n, d) training features, as they were given.
        labels: (n,) their labels.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    within: Tensor
    total: Tensor
    centres: Tensor
    origin: Tensor
    residual: Tensor
    alpha: float
    clip: float
    neighbours: Neighbours
    features: Tensor
    labels: Tensor
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return what ``compute`` gives, called at the first time only: for what a score fits itself."""
        if name not in self._kept:
            self._kept[name] = compute()
        found: T = self._kept[name]
        return found


@dataclass(frozen=True, kw_only=True)
class FittedRows:
    """A chunk of pictures, with what several scores share computed once.

    Attributes:
        fit: The training statistics.
        features: (m, d).
    """

    fit: OodFit
    features: Tensor

    @cached_property
    def x(self) -> Tensor:
        """(m, d) features in float64."""
        return self.features.double()

    @cached_property
    def logits(self) -> Tensor:
        """(m, c)."""
        return self.x @ self.fit.weight + self.fit.bias

    @cached_property
    def energy(self) -> Tensor:
        """(m,) log-sum-exp of the logits: the free energy of Liu et al. 2020, equation 4, negated, at T = 1."""
        return self.logits.logsumexp(dim=1)

    @cached_property
    def class_distance(self) -> Tensor:
        """(m,) squared Mahalanobis distance to the nearest class mean."""
        z, centres = (self.x - self.fit.mean) @ self.fit.within, self.fit.centres
        nearest = (centres.square().sum(dim=1) - 2 * z @ centres.T).argmin(dim=1)
        # Not from the squares above: classes that are tight and far apart would lose their digits.
        return (z - centres[nearest]).square().sum(dim=1)

    @cached_property
    def total_distance(self) -> Tensor:
        """(m,) squared Mahalanobis distance to the mean of all."""
        return ((self.x - self.fit.mean) @ self.fit.total).square().sum(dim=1)

    @cached_property
    def residual(self) -> Tensor:
        """(m,) length outside the principal space."""
        return ((self.x - self.fit.origin) @ self.fit.residual).norm(dim=1)

    @cached_property
    def clipped_energy(self) -> Tensor:
        """(m,) energy of the features cut at the training percentile."""
        return (self.x.clamp_max(self.fit.clip) @ self.fit.weight + self.fit.bias).logsumexp(dim=1)


def fit_ood(
    features: Tensor,
    labels: Tensor,
    *,
    weight: Tensor,
    bias: Tensor,
    k: int = NEIGHBOUR,
    clip_percentile: float = CLIP_PERCENTILE,
    dimension: int | None = None,
) -> OodFit:
    """Fit what every score needs, on the features' device.

    Covariances are empirical, divided by n, and inverted on the directions that vary (``whitening``): features that are
    dead, constant, repeated or wider than the pictures are many give finite scores. Classes without a picture have no
    mean. ViM's alpha is the mean largest logit over the mean residual of the training pictures, 0 where all of
    them lie on the origin; unlike the other scores it changes with a constant added to all logits.

    Args:
        features: (n, d) training features, as the head takes them.
        labels: (n,) int64 in [0, c).
        weight: (d, c) of the head: ``logits = features @ weight + bias``.
        bias: (c,).
        k: Which neighbour's distance counts, at most n.
        clip_percentile: ReAct's percentile, in [0, 100].
        dimension: Of the principal space; by default that of ``principal_dimension``.

    Raises:
        ConfigError: A parameter is outside what it may be.
        DataError: There is no picture.
        NumericalError: A feature or the head is not finite.
        ValueError: The shapes or the labels are not as above.
    """
    _check_parameters(k, clip_percentile)
    _check_training(features, labels, weight, bias)
    moments, origin = Moments.fit(features, labels), head_origin(weight, bias)
    within = whitening(moments.within, count=moments.count, scale=moments.scale)
    residual = residual_space(moments, origin, dimension)
    w, b = weight.double(), bias.double()
    return OodFit(
        weight=w,
        bias=b,
        mean=moments.mean,
        within=within,
        total=whitening(moments.total, count=moments.count, scale=moments.scale),
        centres=(moments.means - moments.mean) @ within,
        origin=origin,
        residual=residual,
        alpha=_alpha(features, w, b, origin, residual),
        clip=percentile(features, clip_percentile),
        neighbours=Neighbours.fit(features, k=k),
        features=features,
        labels=labels,
    )


def ood_scores(fit: OodFit, features: Tensor, *, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Score pictures, over chunks of them: no picture's score depends on the others.

    Args:
        fit: Of the training features.
        features: (m, d), on the same device.
        names: Which of ``post_hoc_names()``; None for all.

    Returns:
        (m,) in float64 per name, higher for in-distribution.

    Raises:
        DataError: There is no picture.
        NumericalError: A feature or a score is not finite.
        UnknownNameError: No score has such a name.
        ValueError: The features are not of the training features' width.
    """
    known = post_hoc_names()
    names = known if names is None else names
    for name in names:
        if name not in known:
            raise unknown_name("OOD score", name, known, hint=f"The scores are {', '.join(known)}.")
    _check_features(features, width=len(fit.mean))
    parts = features.split(rows_at_once(features.shape[1] + fit.weight.shape[1] + len(fit.centres)))
    scored = [_score(FittedRows(fit=fit, features=part), names) for part in parts]
    scores = {name: torch.cat([part[name] for part in scored]) for name in names}
    for name, values in scores.items():
        _check_finite(values[:, None], f"{name} scores")
    return scores


def _score(rows: FittedRows, names: Sequence[str]) -> dict[str, Tensor]:
    found = {}
    for name in names:
        function = OOD_SCORES.get(name).function
        assert function is not None, "ODIN is no function of features"
        values = function(rows)
        if not isinstance(values, Tensor) or values.shape != (len(rows.features),):
            what = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise BobError(
                f"OOD score {name!r} gives {what} for {len(rows.features)} pictures: expected a number each."
            )
        found[name] = values.double()
    return found


def _alpha(features: Tensor, weight: Tensor, bias: Tensor, origin: Tensor, residual: Tensor) -> float:
    logit = length = 0.0
    for rows in features.split(rows_at_once(sum(weight.shape))):
        x = rows.double()
        logit += float((x @ weight + bias).amax(dim=1).sum())
        length += float(((x - origin) @ residual).norm(dim=1).sum())
    return logit / length if length > 0 else 0.0


def _check_parameters(k: int, clip_percentile: float) -> None:
    if k < 1:
        raise ConfigError(f"k={k}: expected a neighbour from 1 on.", hint=f"OpenOOD's is k={NEIGHBOUR}.")
    if not 0 <= clip_percentile <= 100:
        raise ConfigError(
            f"clip_percentile={clip_percentile:g}: expected 0 to 100.", hint=f"OpenOOD's is {CLIP_PERCENTILE:g}."
        )


def _check_training(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> None:
    if weight.ndim != 2 or bias.shape != weight.shape[1:]:
        raise ValueError(
            f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} are not of shapes (d, c) and (c,)."
        )
    _check_features(features, width=weight.shape[0])
    if labels.shape != features.shape[:1] or labels.is_floating_point():
        raise ValueError(f"labels {tuple(labels.shape)} are not {len(features)} integers.")
    if int(labels.min()) < 0 or int(labels.max()) >= len(bias):
        raise ValueError(f"labels must be in [0, {len(bias)}), got {int(labels.min())} to {int(labels.max())}.")
    if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise NumericalError("the head's weights are not finite.", hint="Train the head again with precision fp32.")


def _check_features(features: Tensor, *, width: int) -> None:
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"features {tuple(features.shape)} are not of shape (n, {width}).")
    if len(features) == 0:
        raise DataError("there is no picture to score: expected at least one.", hint="Check the data set's splits.")
    _check_finite(features, "features")


def _check_finite(values: Tensor, what: str) -> None:
    parts = values.split(rows_at_once(values.shape[1]))
    broken = torch.cat([~torch.isfinite(part).all(dim=1) for part in parts])
    if broken.any():
        first = int(broken.int().argmax())
        raise NumericalError(
            f"the {what} of {int(broken.sum())} of {len(values)} pictures are not finite (first: picture {first}).",
            hint="Compute the features with precision fp32.",
        )
