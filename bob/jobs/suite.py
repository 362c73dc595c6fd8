"""Suite files: YAML checked against a schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from bob.core.errors import SuiteError, did_you_mean
from bob.core.yaml_source import YamlSource, parse_yaml
from bob.jobs.cluster_profile import ClusterProfile, ShapeRule

ParamValue = bool | int | float | str | list[float] | list[int] | list[str] | None


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class BackboneFilter(_Model):
    """Backbones of the catalogue by their fields, such as `{params_m: "< 30", family: vit}`."""

    where: dict[str, str | int | float | list[str]] = Field(
        min_length=1, description="Catalogue fields and the value, list of values or comparison each must meet."
    )


class BudgetEntry(_Model):
    """What each job may spend, in pictures and trials; absent means no limit, or the protocol's default."""

    max_train: int | None = Field(None, ge=1, description="Training pictures used at most (a fixed balanced subset).")
    max_val: int | None = Field(None, ge=1, description="Validation pictures used at most.")
    max_test: int | None = Field(None, ge=1, description="Test pictures used at most.")
    images_seen: int | None = Field(None, ge=1, description="Training pictures seen per fine-tuning trial.")
    trials: int | None = Field(None, ge=1, description="Hyperparameter settings tried, the same for every backbone.")


class ProtocolEntry(_Model):
    """One protocol of a task, with what differs from its defaults and from the suite's budget."""

    protocol: str = Field(description="Its name; 'bob list protocols' shows all.")
    params: dict[str, ParamValue] = Field(default_factory=dict, description="Its parameters that differ from default.")
    budget: BudgetEntry = Field(default_factory=BudgetEntry, description="What differs from the suite's budget.")
    seeds: list[int] | None = Field(None, min_length=1, description="Instead of the suite's seeds.")


def _kind(value: Any) -> str:
    return "name" if isinstance(value, str) else "entry"


NameOrFilter = Annotated[Annotated[str, Tag("name")] | Annotated[BackboneFilter, Tag("entry")], Discriminator(_kind)]
NameOrProtocol = Annotated[Annotated[str, Tag("name")] | Annotated[ProtocolEntry, Tag("entry")], Discriminator(_kind)]


class TaskEntry(_Model):
    """A task and the protocols it is run with."""

    task: str = Field(description="Its name; 'bob list tasks' shows all.")
    protocols: list[NameOrProtocol] = Field(min_length=1, description="Protocol names, or entries with parameters.")
    datasets: list[str] | None = Field(None, min_length=1, description="Instead of the suite's data sets.")
    backbones: list[NameOrFilter] | None = Field(None, min_length=1, description="Instead of the suite's backbones.")
    image_size: int | None = Field(None, ge=16, le=4096, description="Instead of the suite's image_size.")
    shifts: list[str] = Field(default_factory=list, description="Shifted data sets of the same classes to score on.")
    near: list[str] = Field(default_factory=list, description="Data sets out of distribution, though like it.")
    far: list[str] = Field(default_factory=list, description="Data sets out of distribution and unlike it.")

    def others(self) -> dict[str, list[str]]:
        """Return the data sets beside the task's own by role, of the roles that have any."""
        roles = {"shifts": self.shifts, "near": self.near, "far": self.far}
        return {role: texts for role, texts in roles.items() if texts}


class Scale(_Model):
    """What another scale of the same suite replaces (`--scale NAME`); the rest stays."""

    backbones: list[NameOrFilter] | None = Field(None, min_length=1)
    datasets: list[str] | None = Field(None, min_length=1)
    tasks: list[TaskEntry] | None = Field(None, min_length=1)
    seeds: list[int] | None = Field(None, min_length=1)
    budget: BudgetEntry | None = None
    resolution: Literal["fixed", "native"] | None = None
    image_size: int | None = Field(None, ge=16, le=4096)
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None
    timeout_min: float | None = Field(None, gt=0)
    profile: bool | None = None
    cluster: ClusterProfile | None = None


class Suite(_Model):
    """A cross product of backbones, tasks, data sets, protocols, seeds and a budget."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="The name its rows carry.")
    title: str = Field("", description="One line for the report's head.")
    backbones: list[NameOrFilter] = Field(min_length=1, description="Names (`arch.tag`, `arch.random`) or filters.")
    exclude: list[str] = Field(default_factory=list, description="Names to leave out of what the filters match.")
    reference: list[str] = Field(
        default_factory=list, description="Backbones whose mean and deviation the z-scores use; empty: no z-scores."
    )
    datasets: list[str] = Field(min_length=1, description="`scenes`, a folder, `cifar10`, `hf:NAME`, `idx:FOLDER`, ...")
    tasks: list[TaskEntry] = Field(min_length=1)
    seeds: list[int] = Field([0], min_length=1)
    budget: BudgetEntry = Field(default_factory=BudgetEntry)
    resolution: Literal["fixed", "native"] = Field("fixed", description="One size for all, or each backbone's own.")
    image_size: int = Field(224, ge=16, le=4096, description="Side in pixels under resolution 'fixed'.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    timeout_min: float = Field(720, gt=0, description="Minutes after which a job is stopped.")
    profile: bool = Field(True, description="Measure latency, throughput and memory of every architecture.")
    bad_pictures: Literal["skip", "error"] = Field("skip", description="What becomes of pictures that cannot be read.")
    copies: Literal["skip", "keep", "error"] = Field(
        "skip", description="What becomes of pictures that are in two splits or classes: left out, kept, or an error."
    )
    follow_links: bool = Field(False, description="Whether links may lead out of a data set's folder.")
    picture_bits: Literal[8, 10, 12, 14, 16] | None = Field(
        None, description="Bits of the grey levels of 16-bit pictures; null to look at some of them."
    )
    plugins: list[str] = Field(default_factory=list, description="Python files with your own backbones; they are run.")
    cluster: ClusterProfile | None = Field(
        None, description="What its jobs need of a SLURM cluster; flags win over it, and it over a profile's file."
    )
    scales: dict[str, Scale] = Field(default_factory=dict, description="Other scales of this suite, by name.")


def read_suite(path: Path) -> YamlSource:
    """Read a suite file without checking what it says.

    Raises:
        SuiteError: The file is missing, is no text, or no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(
            f"suite file {str(path)!r} cannot be read: {error}.", hint="'bob list suites' shows what there is."
        ) from error
    return parse_yaml(text, name=str(path))


def check_suite(source: YamlSource) -> Suite:
    """Check parsed YAML against the schema; the error names every fault with its line."""
    if not isinstance(source.data, Mapping):
        raise SuiteError(f"{source.name}:1: expected a mapping with keys such as name, backbones, datasets and tasks.")
    try:
        return Suite.model_validate(source.data)
    except ValidationError as error:
        faults = [_fault(source, dict(item)) for item in error.errors(include_url=False)]
        raise SuiteError("\n       ".join(faults), hint="docs/suites.md explains every key.") from error


def at_scale(suite: Suite, name: str | None) -> Suite:
    """Return the suite with the named scale's values in place of its own.

    Raises:
        SuiteError: The suite has no scale of this name.
    """
    if name is None:
        return suite
    if name not in suite.scales:
        known = ", ".join(suite.scales) or "none"
        raise SuiteError(
            f"suite {suite.name!r} has no scale {name!r}.{did_you_mean(name, suite.scales)}", hint=f"It has: {known}."
        )
    scale = suite.scales[name]
    return suite.model_copy(update={key: value for key, value in scale if value is not None})


def _fault(source: YamlSource, item: dict[str, Any]) -> str:
    location = item["loc"]
    path = source.known_path(location)
    where = ".".join(str(part) for part in path) or "the file"
    prefix = source.at(location)
    if item["type"] == "extra_forbidden":
        key, known = str(location[-1]), _keys_at(location[:-1])
        return f"{prefix}key {key!r} is not known.{did_you_mean(key, known)} Expected: {', '.join(known)}."
    if item["type"] == "missing":
        return f"{prefix}key {location[-1]!r} is missing from {where}."
    return f"{prefix}{where} is {item['input']!r}: {_lower_first(item['msg'])}."


def _keys_at(path: tuple[str | int, ...]) -> list[str]:
    names = [part for part in path if isinstance(part, str) and part not in ("name", "entry")]
    models: dict[str, type[BaseModel]] = {
        "backbones": BackboneFilter,
        "tasks": TaskEntry,
        "protocols": ProtocolEntry,
        "budget": BudgetEntry,
        "cluster": ClusterProfile,
        "rules": ShapeRule,
    }
    if not names:
        return list(Suite.model_fields)
    return list(models.get(names[-1], Scale).model_fields)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
