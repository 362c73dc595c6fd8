"""What several commands share: settings from flags, a suite from a file or from flags, JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from bob.core.errors import ConfigError, unknown_name
from bob.core.settings import Settings
from bob.core.yaml_source import YamlSource
from bob.jobs.suite import BudgetEntry, Suite, at_scale, check_suite, read_suite
from bob.tasks.spec import TASKS

SETTABLE = ("seeds", "resolution", "image_size", "precision", "timeout_min", "profile", "bad_pictures", "reference")
_SETTABLE_HINT = f"--set takes {', '.join(SETTABLE)}, budget.NAME and PROTOCOL.PARAMETER."
ONE_JOB = ("task", "protocol", "seed", "shift", "near", "far")
SUITES_FOLDER = "suites"
COMMAND_LINE = "command line"


def settings_from(options: argparse.Namespace) -> Settings:
    """Return the folders the flags name, or their defaults."""
    for folder in options.weights or ():
        if not Path(folder).expanduser().is_dir():
            raise ConfigError(f"--weights {folder!r} is not a folder.")
    return Settings.resolve(
        results=options.results, cache=options.cache, data_dir=options.data_dir, weights=options.weights
    )


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    json.dump(value, sys.stdout, indent=1, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def suite_files() -> dict[str, Path]:
    """Return the suites by name: those below the current folder, then those beside the installed package."""
    found: dict[str, Path] = {}
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        for path in sorted((folder / SUITES_FOLDER).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_suite(name: str) -> Path:
    """Return the file of a suite given by name or path.

    Raises:
        UnknownNameError: There is no such suite.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    known = suite_files()
    if name not in known:
        raise unknown_name("suite", name, known, hint="'bob list suites' shows what there is.")
    return known[name]


def suite_from(options: argparse.Namespace) -> tuple[Suite, YamlSource]:
    """Return the suite the flags ask for, at its scale, with ``--set`` applied."""
    single = bool(getattr(options, "backbone", None))
    if single == bool(options.suite):
        raise ConfigError(
            "name a suite, or one job with --backbone, and not both.", hint="'bob list suites' shows the suites."
        )
    if not single and (extra := [f"--{name}" for name in ONE_JOB if getattr(options, name, None)]):
        raise ConfigError(
            f"{', '.join(extra)} goes with --backbone; a suite says it itself.",
            hint="--set seeds=[1,2] changes a suite's seeds; a suite file of your own says the rest (docs/suites.md).",
        )
    source = _single(options) if single else read_suite(find_suite(options.suite))
    _add_plugins(source.data, getattr(options, "plugin", None))
    suite = at_scale(check_suite(source), options.scale)
    if not options.sets:
        return suite, source
    data = suite.model_dump(exclude={"scales", "cluster"}, exclude_unset=False)
    if suite.cluster is not None:  # what it leaves unsaid is left to the profile's file
        data["cluster"] = suite.cluster.model_dump(exclude_unset=True)
    apply_sets(data, options.sets)
    return check_suite(YamlSource(name=source.name, data=data, lines=source.lines)), source


def apply_sets(data: dict[str, Any], sets: list[str]) -> None:
    """Put ``KEY=VALUE`` settings into a suite's data: a suite key, ``budget.NAME``, or ``PROTOCOL.PARAMETER``.

    A name that is neither a suite key nor part of the budget is a parameter of every protocol that has it.
    """
    for text in sets:
        key, equals, raw = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text!r} is not of the form KEY=VALUE.", hint="For example: --set image_size=224")
        value = _value(text, raw)
        first, _, rest = key.partition(".")
        if rest and first == "budget":
            _set_budget(data, rest, value)
        elif rest:
            _set_param(data, rest, value, protocol=first)
        elif key in SETTABLE:
            data[key] = value
            for task in data["tasks"] if key == "image_size" else ():
                task["image_size"] = None  # a size on the command line is meant for every task
        elif key in Suite.model_fields:
            raise ConfigError(f"--set {key} is not possible: only a suite file can say it.", hint=_SETTABLE_HINT)
        elif key in BudgetEntry.model_fields:
            _set_budget(data, key, value)
        else:
            _set_param(data, key, value, protocol=None)


def _value(text: str, raw: str) -> Any:
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: {raw!r} is no YAML value ({type(error).__name__}).") from error


def _set_budget(data: dict[str, Any], name: str, value: Any) -> None:
    data["budget"] = {**data.get("budget", {}), name: value}
    for entry in _protocols(data):
        entry["budget"].pop(name, None)


def _set_param(data: dict[str, Any], name: str, value: Any, *, protocol: str | None) -> None:
    entries = [entry for entry in _protocols(data) if protocol in (None, entry["protocol"])]
    # One name may be a protocol of several tasks: those that have the parameter take it. Plans refuse what none has.
    takers = [
        entry
        for task in data["tasks"]
        for entry in task["protocols"]
        if entry in entries and _has_param(task["task"], entry["protocol"], name)
    ]
    if not entries:
        known = sorted({entry["protocol"] for entry in _protocols(data)})
        raise unknown_name("protocol", str(protocol), known, hint=f"This suite runs: {', '.join(known)}.")
    for entry in takers or entries:
        entry["params"] = {**entry["params"], name: value}


def _has_param(task: str, protocol: str, name: str) -> bool:
    known = TASKS.get(task).protocols if task in TASKS else {}
    return protocol in known and name in known[protocol].params


def _protocols(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the suite's protocol entries as mappings, turning bare names into such in place."""
    for task in data["tasks"]:
        task["protocols"] = [
            {"params": {}, "budget": {}, **item} if isinstance(item, Mapping) else
            {"protocol": item, "params": {}, "budget": {}}
            for item in task["protocols"]
        ]  # fmt: skip
    return [entry for task in data["tasks"] for entry in task["protocols"]]


def _single(options: argparse.Namespace) -> YamlSource:
    if not options.data:
        raise ConfigError("one job needs --data: a folder or a data set.", hint="'bob list datasets' shows the names.")
    task = options.task or "classification"
    data = {
        "name": "single",
        "title": "One command",
        "backbones": options.backbone,
        "datasets": options.data,
        "tasks": [{"task": task, "protocols": options.protocol or [_first_protocol(task)], **_others(options)}],
        "seeds": options.seed or [0],
    }
    return YamlSource(name=COMMAND_LINE, data=data, lines={})


def _others(options: argparse.Namespace) -> dict[str, list[str]]:
    named = {"shifts": options.shift, "near": options.near, "far": options.far}
    return {role: texts for role, texts in named.items() if texts}


def _first_protocol(task: str) -> str:
    protocols = TASKS.get(task).protocols
    return "linear" if "linear" in protocols else next(iter(protocols))


def _add_plugins(data: Any, plugins: list[str] | None) -> None:
    if plugins and isinstance(data, dict):
        data["plugins"] = [*data.get("plugins", []), *(str(Path(path).absolute()) for path in plugins)]
