"""Which jobs share an allocation, and which allocations an array: by resource shape, estimated time, MaxArraySize."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bob.jobs.cluster_profile import ClusterProfile, ShapeRule
from bob.jobs.job import Job
from bob.jobs.needs import trains

# Estimates are good to a factor of three: what is packed should end well within the time limit all the same.
TIME_SHARE = 1 / 3
_SHAPED = ("partition", "constraint", "nodes", "gpus", "processes", "cpus", "mem_gb", "time_min")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What an allocation has.

    Attributes:
        partition: None for the cluster's default.
        constraint: Features its nodes must have; None for none.
        nodes: Nodes.
        gpus: GPUs per node that one job uses.
        processes: Processes per node that one job runs on.
        cpus: CPU cores per node.
        mem_gb: Memory per node in 10^9 bytes; None for the cluster's default.
        time_min: Time limit in minutes.
    """

    partition: str | None = None
    constraint: str | None = None
    nodes: int = 1
    gpus: int = 0
    processes: int = 1
    cpus: int = 4
    mem_gb: float | None = None
    time_min: int = 720

    def label(self) -> str:
        """Return it in a few words."""
        many = f"{self.nodes} nodes, each " if self.nodes > 1 else ""
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}, " if self.gpus else ""
        memory = f", {self.mem_gb:g} GB" if self.mem_gb else ""
        where = f" in {self.partition}" if self.partition else ""
        cores = f"{self.cpus} core{'s' if self.cpus > 1 else ''}"
        return f"{many}{gpus}{cores}{memory}, {self.time_min} min{where}"


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Jobs that share an allocation.

    Attributes:
        shape: What they need.
        jobs: They, in the order of the plan.
        estimate_s: How long they are expected to take together.
    """

    shape: Shape
    jobs: tuple[Job, ...]
    estimate_s: float


def shape_of(profile: ClusterProfile, job: Job) -> Shape:
    """Return what a job needs: the profile's values, the rules that fit it, one device if it does not train."""
    values = {name: getattr(profile, name) for name in _SHAPED}
    for rule in profile.rules:
        if _fits(rule, job):
            values |= {name: getattr(rule, name) for name in _SHAPED if getattr(rule, name) is not None}
    if not trains(job):
        values |= {"nodes": 1, "gpus": min(1, values["gpus"]), "processes": 1}
    values["processes"] = values["processes"] or max(1, values["gpus"])
    return Shape(**values)


def pack(jobs: Iterable[Job], profile: ClusterProfile) -> list[Pack]:
    """Put jobs into allocations: those of one shape together, those of one backbone and data set next to each other.

    Jobs that share features thus seldom wait for another allocation to make them.
    """
    by_shape: dict[Shape, list[Job]] = {}
    for job in jobs:
        by_shape.setdefault(shape_of(profile, job), []).append(job)
    return [found for shape, own in by_shape.items() for found in _packs(shape, _together(own), profile.pack_min)]


def arrays(packs: Sequence[Pack], *, max_array_size: int) -> list[tuple[Pack, ...]]:
    """Group allocations of one shape into arrays of at most ``max_array_size``."""
    by_shape: dict[Shape, list[Pack]] = {}
    for one in packs:
        by_shape.setdefault(one.shape, []).append(one)
    return [
        tuple(own[start : start + max_array_size])
        for own in by_shape.values()
        for start in range(0, len(own), max_array_size)
    ]


def _fits(rule: ShapeRule, job: Job) -> bool:
    pairs = ((rule.task, job.task), (rule.protocol, job.protocol), (rule.backbone, job.backbone))
    return all(wanted is None or wanted == value for wanted, value in pairs)


def _together(jobs: Sequence[Job]) -> list[Job]:
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.backbone, job.dataset_fingerprint), []).append(job)
    return [job for group in groups.values() for job in group]


def _packs(shape: Shape, jobs: Sequence[Job], pack_min: float) -> list[Pack]:
    limit_s = 60 * min(pack_min, shape.time_min * TIME_SHARE)
    packs: list[list[Job]] = []
    total_s = 0.0
    for job in jobs:
        estimate_s = job.estimate_s or 0.0
        if not packs or total_s + estimate_s > limit_s or not pack_min:
            packs.append([])
            total_s = 0.0
        packs[-1].append(job)
        total_s += estimate_s
    return [Pack(shape=shape, jobs=tuple(own), estimate_s=sum(job.estimate_s or 0.0 for job in own)) for own in packs]
