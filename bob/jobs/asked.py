"""The arguments of the Python API that say what to run, and where things lie."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from bob.core.errors import ConfigError, did_you_mean
from bob.core.settings import Settings
from bob.jobs.request import Request

PathLike = str | os.PathLike[str]


class Folders(TypedDict, total=False):
    """Where things lie; what is left out follows from ``BOB_*`` variables and defaults.

    Attributes:
        results: The result store; "results" if nothing else is said.
        cache: Features, profiles and manifests, all of which can be made again.
        data_dir: Downloaded data sets.
        weights: Folders with checkpoints, looked at first.
    """

    results: PathLike | None
    cache: PathLike | None
    data_dir: PathLike | None
    weights: Sequence[PathLike]


class Asked(Folders, total=False):
    """What to run: either a suite, or backbones on data.

    Attributes:
        backbones: ``arch.tag``, or ``arch.random`` for a control: one, or several.
        task: The task; "classification" if nothing else is said.
        protocol: How the backbones are used: one, or several; the task's usual one if nothing is said.
        data: A folder or data set, or several; beside a suite, in place of its own.
        seeds: Of the jobs; [0] if nothing else is said.
        image_size: Side of the input in pixels.
        budget: Parts of the budget by name: ``max_train``, ``max_val``, ``max_test``, ``images_seen``, ``trials``.
        params: Parameters of the protocols by name.
        settings: What else to change, as ``--set`` does: ``{"knn.k": 10, "precision": "fp32"}``.
        shifts: Shifted data sets of the same classes.
        near: Data sets out of distribution, though like the task's own.
        far: Data sets out of distribution and unlike it.
        scale: Another scale of the suite, such as "paper".
        plugins: Python files with entries of your own; they are run.
    """

    backbones: str | Sequence[str]
    task: str | None
    protocol: str | Sequence[str]
    data: PathLike | Sequence[PathLike]
    seeds: Sequence[int]
    image_size: int | None
    budget: Mapping[str, int]
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    shifts: PathLike | Sequence[PathLike]
    near: PathLike | Sequence[PathLike]
    far: PathLike | Sequence[PathLike]
    scale: str | None
    plugins: PathLike | Sequence[PathLike]


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Return the folders that are given, and the usual ones for the rest.

    Raises:
        ConfigError: A folder with checkpoints is not there.
    """
    folders = list(map(os.fspath, several(given.get("weights"))))
    for folder in folders:
        if not Path(folder).expanduser().is_dir():
            raise ConfigError(f"weights {folder!r} is not a folder.")
    named = {name: os.fspath(given[name]) for name in ("results", "cache", "data_dir") if given.get(name)}
    return Settings.resolve(**named, weights=folders or None)


def request_from(suite: str | None, asked: Mapping[str, Any]) -> Request:
    """Return what is asked for in Python, as the command line would say it.

    Raises:
        ConfigError: An argument that there is not.
    """
    if unknown := sorted(asked.keys() - Asked.__annotations__.keys()):
        known = ", ".join(sorted(Asked.__annotations__))
        close = did_you_mean(unknown[0], Asked.__annotations__)
        raise ConfigError(f"argument {unknown[0]!r} is not known.{close}", hint=f"There are: {known}.")
    size = {"image_size": asked["image_size"]} if asked.get("image_size") else {}
    budget = {f"budget.{name}": value for name, value in (asked.get("budget") or {}).items()}
    settings = {**size, **budget, **(asked.get("params") or {}), **(asked.get("settings") or {})}
    named = {name: texts(asked.get(name)) for name in ("data", "shifts", "near", "far", "plugins")}
    return Request(
        suite=suite,
        backbones=several(asked.get("backbones")),
        task=asked.get("task"),
        protocols=several(asked.get("protocol")),
        seeds=tuple(asked.get("seeds") or ()),
        scale=asked.get("scale"),
        settings=settings,
        **named,
    )


def several(value: Any) -> tuple[Any, ...]:
    """Return one value, or several, as a tuple; nothing for None."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | os.PathLike) else tuple(value)


def texts(value: Any) -> tuple[str, ...]:
    """Return one path or text, or several, as texts; nothing for None."""
    return tuple(map(os.fspath, several(value)))
