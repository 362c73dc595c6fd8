"""Task `classification`: one function per protocol, (job, context) -> TaskResult."""

from __future__ import annotations

from bob.tasks.classification_finetune import finetune
from bob.tasks.classification_head import pretrained_head
from bob.tasks.classification_probes import fewshot, knn, linear

__all__ = ["fewshot", "finetune", "knn", "linear", "pretrained_head"]
