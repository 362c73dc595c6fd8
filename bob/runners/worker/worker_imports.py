"""What the server of the workers imports once, before it forks: everything slow that every job needs.

Nothing here may start a thread or touch a GPU: neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib

from bob.core.registry import resolved
from bob.tasks.spec import TASKS

MODULES = (
    "torch",
    "torch.utils.data",
    "timm",
    "torchvision",
    "PIL.Image",
    "bob.jobs.run",
    "bob.tasks.artifact_makers",
)


def load() -> None:
    """Import the libraries and the module of every protocol of every task.

    Raises:
        ImportError: A library cannot be imported.
        BobError: A protocol cannot.
    """
    for name in MODULES:
        importlib.import_module(name)
    for task_name in TASKS:
        for protocol in TASKS.get(task_name).protocols.values():
            resolved(protocol.run)


load()
gc.collect()
# What is there now is never garbage, and left alone by the collector it stays shared between all workers.
gc.freeze()
