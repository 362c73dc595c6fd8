"""From finished rows to boards: scores over seeds, intervals, ranks, ties, costs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bob.jobs.profiles import is_disturbed
from bob.reporting.comparison import compare, interval_error
from bob.reporting.paired import Paired, Run, pair
from bob.reporting.ranking import pareto_front, ranks
from bob.reporting.report_data import COSTS, LATENCY, PROFILED, Board, Entry, further_metrics
from bob.reporting.select import Group, Row

if TYPE_CHECKING:
    import pandas as pd

Outcomes = Callable[[str], "pd.DataFrame | None"]


def make_board(group: Group, outcomes: Outcomes) -> Board:
    """Rank one board's backbones. z-scores come later, once all boards are known.

    Args:
        group: Its rows.
        outcomes: Called with a job id; returns the outcome of every test sample of that job.
    """
    by_backbone: dict[str, list[Row]] = {}
    for row in sorted(group.rows, key=lambda row: (row["backbone"], row.get("seed") or 0)):
        by_backbone.setdefault(row["backbone"], []).append(row)
    all_seeds = {row.get("seed") for row in group.rows}
    entries = [_entry(name, rows, len(all_seeds)) for name, rows in by_backbone.items()]
    entries = sorted(entries, key=lambda entry: (entry.is_control, -entry.score, entry.backbone))
    paired = pair(
        {
            name: [Run(row["score"], outcomes(row["job_id"]), interval_error(row)) for row in rows]
            for name, rows in by_backbone.items()
        }
    )
    trains = any(row.get("images_seen") or "seen=" in str(row.get("budget")) for row in group.rows)
    entries, comparison = compare(_ranked(entries), paired, trains=trains)
    first = group.rows[0]
    return Board(
        task=group.key[0],
        dataset=group.key[1],
        protocol=group.key[2],
        variant=group.variant,
        metric=str(first.get("metric") or "score"),
        entries=tuple(entries),
        circumstances=circumstances(group.rows),
        notes=group.notes + _pairing_notes(paired),
        comparison=comparison,
        smoke=any(row.get("smoke") is True for row in group.rows),
        test_pictures=min((int(row["n_test"]) for row in group.rows if row.get("n_test")), default=None),
        samples=paired.samples,
    )


def _entry(backbone: str, rows: Sequence[Row], seeds_asked: int) -> Entry:
    scores = [float(row["score"]) for row in rows]
    profile = _best_profile(rows)
    costs = {name: _mean([profile] if name in PROFILED else rows, name) for name in COSTS}
    metrics = {name: _mean(rows, name) for name in further_metrics(str(rows[0].get("metric")))}
    size = rows[0].get("image_size")
    return Entry(
        backbone=backbone,
        is_control=rows[0].get("is_control") is True,
        seeds=tuple(int(row["seed"]) for row in rows if row.get("seed") is not None),
        score=statistics.fmean(scores),
        low=_mean(rows, "score_low"),
        high=_mean(rows, "score_high"),
        seed_std=statistics.stdev(scores) if len(scores) > 1 else None,
        costs={name: value for name, value in costs.items() if value is not None},
        layer_kinds=profile.get("layer_kinds"),
        profile_run=profile.get("profile_run"),
        profile_within=profile.get("profile_within"),
        metrics={name: value for name, value in metrics.items() if value is not None},
        image_size=None if size is None else int(size),
        flags=_flags(rows, seeds_asked),
        sheet=next((row["job_id"] for row in rows if row.get("contact_sheet")), None),
        job=rows[0]["job_id"],
        is_collapsed=any(row.get("feature_rank") == 0 for row in rows),
        on_bound=any(row.get("temperature_on_bound") is True for row in rows),
    )


def _best_profile(rows: Sequence[Row]) -> Row:
    """Return the row with the profile to show: one from a quiet host before any other, then the latest."""
    profiled = [row for row in rows if row.get(LATENCY) is not None]
    return max(
        profiled or rows, key=lambda row: (not is_disturbed(row), str(row.get("profile_taken_at") or "")), default={}
    )


def _mean(rows: Sequence[Row], name: str) -> float | None:
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return statistics.fmean(values) if values else None


def _flags(rows: Sequence[Row], seeds_asked: int) -> tuple[str, ...]:
    overlaps = sorted({str(row["data_overlap"]) for row in rows if row.get("data_overlap")})
    flags = [f"pretraining saw test pictures: {'; '.join(overlaps)}"] if overlaps else []
    flags += sorted({str(row["feature_fault"]) for row in rows if row.get("feature_fault")})
    if any(row.get("grid_edge") is True for row in rows):
        flags.append("best setting on the edge of its grid")
    if any(row.get("bn_backoff") is True for row in rows):
        flags.append("batch norm trained on a shrunk micro-batch")
    if len(rows) < seeds_asked:
        flags.append(f"{len(rows)} of {seeds_asked} seeds")
    return tuple(flags)


def _ranked(entries: Sequence[Entry]) -> list[Entry]:
    candidates = [entry for entry in entries if not entry.is_control]
    if not candidates:
        return list(entries)
    scores = np.array([entry.score for entry in candidates])
    lows, highs = np.array([entry.latency_interval for entry in candidates]).T
    marked = [
        dataclasses.replace(entry, rank=int(rank), pareto=bool(front))
        for entry, rank, front in zip(candidates, ranks(scores), pareto_front(scores, lows, highs), strict=True)
    ]
    return marked + [entry for entry in entries if entry.is_control]


def _pairing_notes(paired: Paired) -> tuple[str, ...]:
    if paired.reason is not None:
        return ()
    return tuple(f"{name} is outside the paired test: {why}" for name, why in sorted(paired.missing.items()))


LEFT_OUT = "unreadable pictures left out"


def circumstances(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what the rows were made under, as text by name: one value, or every value there is."""
    names = {
        "budget": "budget",
        "protocol_params": "parameters",
        "resolution": "resolution",
        "input": "input, px",
        "precision": "precision",
        "device": "device",
        "threads": "threads",
        "profile_device": "profile device",
        "profile_precision": "profile precision",
        "profile_image_size": "profile input, px",
        "profile_threads": "profile threads",
        "n_train": "training pictures",
        "n_test": "test pictures",
        "dropped_pictures": LEFT_OUT,
        "dataset_fingerprint": "data fingerprint",
        "bob_version": "BoB",
        "torch_version": "torch",
        "timm_version": "timm",
    }
    found = {}
    told = [{**row, "input": _input_size(row)} for row in rows]
    for name, label in names.items():
        values = sorted(
            {row[name] for row in told if row.get(name) is not None}, key=lambda value: (str(type(value)), value)
        )
        if values:
            found[label] = " | ".join(map(str, values))
    return found


def _input_size(row: Mapping[str, Any]) -> int | str | None:
    """Return the side of a square input in pixels, height x width of any other, None where it is not known."""
    height, width = row.get("input_height"), row.get("input_width")
    return row.get("image_size") if height is None or width is None else f"{int(height)} x {int(width)}"
