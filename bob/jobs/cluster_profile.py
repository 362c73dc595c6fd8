"""Cluster profiles: what to ask SLURM for. From a file, the suite's ``cluster`` key, or flags; later ones win."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bob.core.errors import ConfigError, SuiteError, did_you_mean
from bob.core.yaml_source import YamlSource, parse_yaml

# Nothing that could end a line of the batch script, open a quotation, or begin another option.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:+@/&|()\[\]*%=-]+$", max_length=200)]
Option = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
# What runs as shell code, or may name any file: from a suite only with --trust-cluster.
NEEDS_TRUST = ("setup", "options")


OWN_OPTIONS = ("output", "error", "array", "signal", "open-mode", "comment", "requeue")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShapeRule(_Model):
    """What jobs of one task or protocol need instead of the profile's own values."""

    task: str | None = Field(None, description="Only jobs of this task.")
    protocol: str | None = Field(None, description="Only jobs of this protocol.")
    backbone: str | None = Field(None, description="Only jobs of this backbone.")
    partition: Word | None = None
    constraint: Word | None = None
    nodes: int | None = Field(None, ge=1)
    gpus: int | None = Field(None, ge=0)
    processes: int | None = Field(None, ge=1)
    cpus: int | None = Field(None, ge=1)
    mem_gb: float | None = Field(None, gt=0)
    time_min: int | None = Field(None, ge=1)


class ClusterProfile(_Model):
    """What to ask a SLURM cluster for, and how jobs are put into allocations."""

    partition: Word | None = Field(None, description="sbatch --partition.")
    account: Word | None = Field(None, description="sbatch --account.")
    qos: Word | None = Field(None, description="sbatch --qos.")
    constraint: Word | None = Field(None, description="sbatch --constraint.")
    nodes: int = Field(1, ge=1, description="Nodes of a job that trains; any other has one.")
    gpus: int = Field(0, ge=0, description="GPUs per node of a job that trains; any other has one at most.")
    processes: int | None = Field(
        None, ge=1, description="Processes per node of a job that trains; absent: one per GPU, or one."
    )
    cpus: int = Field(4, ge=1, description="CPU cores of an allocation, per node.")
    mem_gb: float | None = Field(None, gt=0, description="Memory per node, 10^9 bytes; absent: the cluster's default.")
    time_min: int = Field(720, ge=1, description="Time limit of an allocation in minutes.")
    setup: list[str] = Field(default_factory=list, description="Shell lines run before the jobs, such as module load.")
    array_parallelism: int = Field(64, ge=1, description="Allocations of an array that run at the same time at most.")
    pack_min: float = Field(
        60, ge=0, description="Small jobs share an allocation up to this many estimated minutes; 0: one job each."
    )
    attempts: int = Field(
        10, ge=1, description="Starts of a job without an end (preempted, killed, out of time) before that is its row."
    )
    warn_s: int = Field(120, ge=30, description="Seconds before the time limit at which jobs are told to save.")
    options: dict[Option, Word | int | bool] = Field(default_factory=dict, description="Further options of sbatch.")
    rules: list[ShapeRule] = Field(default_factory=list, description="What some jobs need instead; later ones win.")


def read_profile(path: Path) -> dict[str, Any]:
    """Read a profile file, checked, as far as it says something.

    Raises:
        SuiteError: The file is missing, no YAML, or says something else; file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "docs/slurm.md shows a profile."
        raise SuiteError(f"cluster profile {str(path)!r} cannot be read: {error}.", hint=hint) from error
    source = parse_yaml(text, name=str(path))
    if not isinstance(source.data, Mapping):
        raise SuiteError(f"{source.name}:1: expected a mapping with keys such as partition, time_min and gpus.")
    try:
        return ClusterProfile.model_validate(source.data).model_dump(exclude_unset=True)
    except ValidationError as error:
        faults = [_fault(source, dict(item)) for item in error.errors(include_url=False)]
        raise SuiteError("\n       ".join(faults), hint="docs/slurm.md explains every key.") from error


def merged_profile(
    *, file: Mapping[str, Any], suite: Mapping[str, Any], flags: Mapping[str, Any], trusted: bool
) -> ClusterProfile:
    """Return the profile of a submission: the file's values, then the suite's, then the flags'.

    Args:
        file: As ``read_profile`` returns it.
        suite: What the suite's ``cluster`` key says.
        flags: What the command line says.
        trusted: Whether the suite may name shell lines and options of sbatch.

    Raises:
        ConfigError: A value is out of its range, or a suite names what needs trust.
    """
    distrusted = [name for name in NEEDS_TRUST if suite.get(name)]
    if distrusted and not trusted:
        said = "; ".join(f"{name}: {suite[name]!r}" for name in distrusted)
        raise ConfigError(
            f"the suite's cluster key has {said}, which SLURM would run or obey.",
            hint="Read them; then give --trust-cluster, or put them into a profile of your own (--cluster FILE).",
        )
    try:
        rules = [
            {name: value for name, value in rule.items() if name not in flags and value is not None}
            for rule in (*file.get("rules", ()), *suite.get("rules", ()))
        ]
        profile = ClusterProfile.model_validate({**file, **suite, **flags, **({"rules": rules} if rules else {})})
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in item["loc"])
        raise ConfigError(f"cluster setting {name} is {item['input']!r}: {item['msg'].lower()}.") from error
    _refuse_contradictions(profile)
    return profile


def _refuse_contradictions(profile: ClusterProfile) -> None:
    """Raise ConfigError for values that only an allocation would find not to go together."""
    taken = [name for name in profile.options if name in OWN_OPTIONS]
    if taken:
        raise ConfigError(f"cluster setting options.{taken[0]} is BoB's own to set.", hint=f"Take {taken[0]} out.")
    shaped: list[ClusterProfile | ShapeRule] = [profile, *profile.rules]
    for one in shaped:
        time_min = one.time_min or profile.time_min
        if profile.warn_s * 2 > time_min * 60:
            raise ConfigError(
                f"cluster setting time_min is {time_min}, of which jobs are told to stop {profile.warn_s} s ahead "
                "(warn_s): expected twice that at least.",
                hint="Raise time_min, or lower warn_s.",
            )
        gpus = profile.gpus if one.gpus is None else one.gpus
        processes = one.processes or profile.processes
        if gpus and processes not in (None, gpus):
            raise ConfigError(
                f"cluster setting processes is {processes} and gpus is {gpus}: expected a process per GPU.",
                hint="Leave processes out where there are GPUs.",
            )


def _fault(source: YamlSource, item: dict[str, Any]) -> str:
    location = item["loc"]
    path = source.known_path(location)
    prefix = f"{source.name}:{source.line(location)}: "
    if item["type"] == "extra_forbidden":
        model = ShapeRule if "rules" in path else ClusterProfile
        known = list(model.model_fields)
        key = str(location[-1])
        return f"{prefix}key {key!r} is not known.{did_you_mean(key, known)} Expected: {', '.join(known)}."
    where = ".".join(str(part) for part in path) or "the file"
    return f"{prefix}{where} is {item['input']!r}: {item['msg'][:1].lower()}{item['msg'][1:]}."
