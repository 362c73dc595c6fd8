"""What several commands share: settings and requests from flags, a job by the start of its id, JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

import yaml

from bob.core.errors import ConfigError, StoreError
from bob.core.settings import Settings
from bob.jobs.asked import settings_from as folders_from
from bob.jobs.request import Request

ONE_JOB = ("task", "protocol", "seed", "shift", "near", "far")


def settings_from(options: argparse.Namespace) -> Settings:
    """Return the folders the flags name, or their defaults."""
    return folders_from({name: getattr(options, name) for name in ("results", "cache", "data_dir", "weights")})


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    json.dump(value, sys.stdout, indent=1, default=_as_json_value)
    sys.stdout.write("\n")


def _as_json_value(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def request_from(options: argparse.Namespace) -> Request:
    """Return what the flags ask for.

    Raises:
        ConfigError: Flags that do not go together, or a ``--set`` that is not KEY=VALUE.
    """
    single = bool(getattr(options, "backbone", None))
    if single == bool(options.suite):
        raise ConfigError(
            "name a suite, or one job with --backbone, and not both.", hint="'bob list suites' shows the suites."
        )
    given = {name: tuple(getattr(options, name, None) or ()) for name in ONE_JOB if name != "task"}
    task = getattr(options, "task", None)
    if not single and (extra := [f"--{name}" for name in ONE_JOB if getattr(options, name, None)]):
        raise ConfigError(
            f"{', '.join(extra)} goes with --backbone; a suite says it itself.",
            hint="--set seeds=[1,2] changes a suite's seeds; a suite file of your own says the rest (docs/suites.md).",
        )
    if single and not options.data:
        raise ConfigError("one job needs --data: a folder or a data set.", hint="'bob list datasets' shows the names.")
    linked = {"follow_links": True} if getattr(options, "follow_links", False) else {}
    return Request(
        suite=options.suite,
        backbones=tuple(options.backbone) if single else (),
        task=task,
        protocols=given["protocol"],
        data=tuple(options.data or ()),
        seeds=given["seed"],
        shifts=given["shift"],
        near=given["near"],
        far=given["far"],
        scale=options.scale,
        settings=dict(map(_setting, options.sets)) | linked,
        plugins=tuple(getattr(options, "plugin", None) or ()),
    )


def _setting(text: str) -> tuple[str, Any]:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {text!r} is not of the form KEY=VALUE.", hint="For example: --set image_size=224")
    try:
        return key, yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: {raw!r} is no YAML value ({type(error).__name__}).") from error


def full_id(known: Iterable[str], start: str) -> str:
    """Return the one job id that starts so.

    Raises:
        StoreError: None does, or several do.
    """
    matches = [job_id for job_id in known if job_id.startswith(start)]
    if len(matches) == 1:
        return matches[0]
    found = f"{len(matches)} jobs start with it" if matches else "no job of this store starts with it"
    raise StoreError(f"job id {start!r}: {found}.", hint="'bob status --json' lists the ids.")
