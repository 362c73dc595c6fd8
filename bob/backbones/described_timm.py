"""Any timm checkpoint outside the catalogue: described once by a child process, kept in the cache."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
from importlib import metadata
from typing import Any

from bob.backbones.backbone import Backbone, InputConfig
from bob.core.errors import BobError
from bob.core.files import write_text
from bob.core.process import module_command
from bob.core.settings import cache_dir_in_use

log = logging.getLogger(__name__)

CHILD_TIMEOUT_S = 300


def known_names() -> tuple[str, ...]:
    """Return every ``arch.tag`` with pretrained weights that the installed timm knows.

    Raises:
        BobError: timm cannot be imported; the message carries its reason.
    """
    return tuple(_cached("names", "--names"))


def describe(name: str) -> Backbone:
    """Return a timm checkpoint as timm itself describes it; ``name`` is one of ``known_names()``.

    Raises:
        BobError: timm cannot build the architecture; the message carries its reason.
    """
    return from_facts(_cached(f"facts-{name}", name))


def from_facts(facts: dict[str, Any]) -> Backbone:
    """Return the backbone of a JSON description as ``bob.backbones.describe_timm`` writes it."""
    given = dict(facts["input"])
    given.update(mean=tuple(given["mean"]), std=tuple(given["std"]))
    return Backbone(**{**facts, "input": InputConfig(**given)})


def _cached(key: str, argument: str) -> Any:
    """Read an answer from the cache, or ask a child process and keep what it says."""
    path = cache_dir_in_use() / "backbones" / f"timm-{_timm_version()}" / f"{key}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        log.info("Asking timm about %s; the answer is kept in %s.", argument.lstrip("-"), path)
    except ValueError as error:
        log.warning("The cached description %s is damaged (%s) and is made again.", path, error)
    answer = _ask_child(argument)
    write_text(path, json.dumps(answer))
    return answer


@functools.cache
def _timm_version() -> str:
    return metadata.version("timm")


def _ask_child(argument: str) -> Any:
    command = module_command("bob.backbones.describe_timm", argument)
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BobError(f"timm cannot describe {argument!r}: {reason}.", hint="'bob doctor' checks torch and timm.")
    return json.loads(done.stdout.splitlines()[-1])
