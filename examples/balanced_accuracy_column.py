"""A metric column: the balanced accuracy of classification, the mean over classes of the share that is right.

It is computed from the outcomes of the test samples, which every job keeps::

    bob run small_backbones --plugin balanced_accuracy_column.py
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bob.tasks.metric_columns import METRIC_COLUMNS, MetricColumn


def balanced_accuracy(outcomes: Mapping[str, np.ndarray]) -> float:
    """Return the mean recall over the classes that occur (Brodersen et al. 2010, doi 10.1109/ICPR.2010.764)."""
    labels, right = outcomes["label"], outcomes["outcome"]
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


METRIC_COLUMNS.add(
    "balanced_top1",
    MetricColumn(
        name="balanced_top1",
        doc="Mean over classes of the share of test pictures whose first guess is right, in [0, 1].",
        tasks=("classification",),
        compute=balanced_accuracy,
    ),
)
