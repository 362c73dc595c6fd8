"""An out-of-distribution score: GradNorm (Huang et al. 2021, arXiv 2110.00218).

The score is the L1 norm of the gradient, with respect to the head's weights, of the divergence of the softmax from the
uniform distribution. For a linear head it has a closed form (the paper's equation 7): the L1 norm of the features times
that of the softmax's difference from uniform::

    bob run --plugin gradnorm_score.py --task ood_detection --data ~/pets --far scenes --set method=gradnorm \\
        --backbone resnet50.a1_in1k
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bob.probes.post_hoc_scores import Rows, ood_score

if TYPE_CHECKING:
    from torch import Tensor


@ood_score(
    "gradnorm",
    doc="the L1 norm of the gradient of the softmax's divergence from uniform with respect to the head",
    source="Huang et al. 2021, arXiv 2110.00218, equations 6 and 7, at temperature 1",
)
def gradnorm(rows: Rows) -> Tensor:
    """Return ||x||_1 * sum_c |softmax(logits)_c - 1 / C|."""
    probabilities = rows.logits.softmax(dim=1)
    return rows.x.abs().sum(dim=1) * (probabilities - 1 / probabilities.shape[1]).abs().sum(dim=1)
