"""What a user asks for, on the command line or in Python, as a suite: a file's, with changes, or one made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bob.core.errors import ConfigError, unknown_name
from bob.core.plugins import load_plugin
from bob.core.yaml_source import YamlSource
from bob.jobs.suite import BudgetEntry, Suite, at_scale, check_suite, read_suite
from bob.jobs.suite_source import with_plugins
from bob.tasks.spec import TASKS

SETTABLE = (
    *("seeds", "resolution", "image_size", "precision", "timeout_min", "profile", "bad_pictures", "copies"),
    *("follow_links", "picture_bits"),
    "reference",
)
_SETTABLE_HINT = f"Settings are {', '.join(SETTABLE)}, budget.NAME and PROTOCOL.PARAMETER."
SUITES_FOLDER = "suites"
ON_THE_SPOT = "request"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A suite, or backbones on data without a suite file.

    Attributes:
        suite: A suite's name or file; None if ``backbones`` are given.
        backbones: ``arch.tag``, or ``arch.random`` for a control.
        task: The task that the backbones are scored on; None for classification.
        protocols: How they are used; empty for the task's usual one.
        data: Data sets or folders; beside a suite, in place of its own.
        seeds: Of the jobs without a suite file.
        shifts: Shifted data sets of the same classes.
        near: Data sets out of distribution, though like the task's own.
        far: Data sets out of distribution and unlike it.
        scale: Another scale of the suite, such as "paper"; None for the suite's own.
        settings: What else to change, by name: a key of ``SETTABLE``, ``budget.NAME``, ``PROTOCOL.PARAMETER``, or the
            bare name of a part of the budget or of a parameter, which then goes to every protocol that has it.
        plugins: Python files with entries of the user's own; they are run.
    """

    suite: str | None = None
    backbones: Sequence[str] = ()
    task: str | None = None
    protocols: Sequence[str] = ()
    data: Sequence[str] = ()
    seeds: Sequence[int] = ()
    shifts: Sequence[str] = ()
    near: Sequence[str] = ()
    far: Sequence[str] = ()
    scale: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    plugins: Sequence[str] = ()

    def resolve(self) -> tuple[Suite, YamlSource]:
        """Return the suite asked for, at its scale, with the settings applied, and where it came from.

        Raises:
            ConfigError: Both a suite and backbones are named, or neither; a setting does not exist.
            SuiteError: The suite's file says something that cannot be.
        """
        for plugin in self.plugins:  # first, since what is asked for may be theirs
            load_plugin(plugin)
        source = self._source()
        if self.suite and self.data:
            source = replace(source, given={("datasets",): "--data"})
        if self.plugins and isinstance(source.data, dict):
            own = (str(Path(path).expanduser().absolute()) for path in self.plugins)
            source.data["plugins"] = [*source.data.get("plugins", []), *own]
        suite = with_plugins(at_scale(check_suite(source), self.scale), source)
        if not self.settings:
            return suite, source
        data = suite.model_dump(exclude={"scales", "cluster"}, exclude_unset=False)
        if suite.cluster is not None:  # what it leaves unsaid is left to the profile's file
            data["cluster"] = suite.cluster.model_dump(exclude_unset=True)
        apply_settings(data, self.settings)
        said = replace(
            source, data=data, given=source.given | _given(self.settings), changed=_changed(data, self.settings)
        )
        return check_suite(said), said

    def _source(self) -> YamlSource:
        if bool(self.backbones) == bool(self.suite):
            raise ConfigError("name a suite, or backbones, and not both.", hint="'bob list suites' shows the suites.")
        if not self.suite:
            return self._on_the_spot()
        names = ("task", "protocols", "seeds", "shifts", "near", "far")
        if extra := [name for name in names if getattr(self, name)]:
            raise ConfigError(
                f"{', '.join(extra)} {'goes' if len(extra) == 1 else 'go'} with backbones; a suite says it itself.",
                hint="The setting seeds=[1,2] changes a suite's seeds; a suite file of your own says the rest "
                "(docs/suites.md).",
            )
        return read_suite(find_suite(self.suite))

    def _on_the_spot(self) -> YamlSource:
        if not self.data:
            raise ConfigError(
                "backbones need data: a folder or a data set.", hint="'bob list datasets' shows the names."
            )
        task = self.task or "classification"
        named = {"shifts": self.shifts, "near": self.near, "far": self.far}
        others = {role: list(texts) for role, texts in named.items() if texts}
        data = {
            "name": "single",
            "title": "One command",
            "backbones": list(self.backbones),
            "datasets": list(self.data),
            "tasks": [{"task": task, "protocols": list(self.protocols) or [usual_protocol(task)], **others}],
            "seeds": list(self.seeds) or [0],
        }
        return YamlSource(name=ON_THE_SPOT, data=data, lines={})


def suite_files() -> dict[str, Path]:
    """Return the suites by name: those below the current folder, then those of the package or of its checkout."""
    package = Path(__file__).resolve().parents[1]
    found: dict[str, Path] = {}
    for folder in (Path.cwd(), package, package.parent):
        for path in sorted((folder / SUITES_FOLDER).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_suite(name: str) -> Path:
    """Return the file of a suite given by name or path.

    Raises:
        UnknownNameError: There is no such suite.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name).expanduser()
    known = suite_files()
    if name not in known:
        raise unknown_name("suite", name, known, hint="'bob list suites' shows what there is.")
    return known[name]


def usual_protocol(task: str) -> str:
    """Return the protocol that a task is run with if none is named: `linear`, or else its first."""
    protocols = TASKS.get(task).protocols
    return "linear" if "linear" in protocols else next(iter(protocols))


def apply_settings(data: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Put settings into a suite's data; see ``Request.settings`` for their names.

    Raises:
        ConfigError: Only a suite file can say it.
        UnknownNameError: The suite does not run the protocol.
    """
    for key, value in settings.items():
        first, _, rest = key.partition(".")
        if rest and first == "budget":
            _set_budget(data, rest, value)
        elif rest:
            _set_param(data, rest, value, protocol=first)
        elif key in SETTABLE:
            data[key] = value
            for task in data["tasks"] if key == "image_size" else ():
                task["image_size"] = None  # a size that is asked for is meant for every task
        elif key in Suite.model_fields:
            raise ConfigError(f"setting {key!r} is not possible: only a suite file can say it.", hint=_SETTABLE_HINT)
        elif key in BudgetEntry.model_fields:
            _set_budget(data, key, value)
        else:
            _set_param(data, key, value, protocol=None)


def _place(key: str) -> tuple[str, ...] | None:
    """Return which part of a suite a setting stands in place of; None for a protocol's parameter."""
    first, _, rest = key.partition(".")
    if key in SETTABLE:
        return (key,)
    return ("budget", rest or key) if first == "budget" or key in BudgetEntry.model_fields else None


def _given(settings: Mapping[str, Any]) -> dict[tuple[str | int, ...], str]:
    """Return those parts of a suite with the words of an error about them."""
    places = {key: _place(key) for key in settings}
    return {place: f"--set {key}={settings[key]}" for key, place in places.items() if place is not None}


def _changed(data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[tuple[str | int, ...], str]:
    """Return which protocols of a suite got a parameter by a setting, with the same."""
    found: dict[tuple[str | int, ...], list[str]] = {}
    for key, value in settings.items():
        protocol, _, name = key.rpartition(".")
        for number, task in enumerate(data["tasks"]) if _place(key) is None else ():
            for place, entry in enumerate(task["protocols"]):
                if name in entry["params"] and protocol in ("", entry["protocol"]):
                    found.setdefault(("tasks", number, "protocols", place), []).append(f"--set {key}={value}")
    return {path: ", ".join(said) for path, said in found.items()}


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
    return protocol in known and name in known[protocol].model_for({}).model_fields


def _protocols(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the suite's protocol entries as mappings, turning bare names into such in place."""
    for task in data["tasks"]:
        task["protocols"] = [
            {"params": {}, "budget": {}, **item} if isinstance(item, Mapping) else
            {"protocol": item, "params": {}, "budget": {}}
            for item in task["protocols"]
        ]  # fmt: skip
    return [entry for task in data["tasks"] for entry in task["protocols"]]
