"""z-scores from one reference set, and means over one set of boards."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from bob.reporting.ranking import MIN_REFERENCE, ranks, z_scores
from bob.reporting.report_data import Board, Entry, OverallEntry


def complete_backbones(boards: Sequence[Board]) -> set[str]:
    """Return the backbones that have every seed on every board."""
    complete = [{entry.backbone for entry in board.entries if has_all_seeds(board, entry)} for board in boards]
    return set.intersection(*complete) if complete else set()


def has_all_seeds(board: Board, entry: Entry) -> bool:
    """Tell whether the entry finished every seed that any backbone finished on the board."""
    return set(entry.seeds) == {seed for other in board.entries for seed in other.seeds}


def add_z_scores(boards: Sequence[Board], reference: Sequence[str] | None) -> list[Board]:
    """Add z-scores to every board, or the reason why there are none.

    Mean and standard deviation come from the same backbones on every board: those of the suite's reference set that
    have every seed everywhere and are no controls.
    """
    if reference is None:
        return [dataclasses.replace(board, z_reason="the suite names no reference set") for board in boards]
    controls = {entry.backbone for board in boards for entry in board.entries if entry.is_control}
    usable = (set(reference) & complete_backbones(boards)) - controls
    if len(usable) < MIN_REFERENCE:
        reason = (
            f"{len(usable)} of the {len(set(reference))} reference backbones have a score on every board, and a mean "
            f"and a standard deviation need {MIN_REFERENCE}"
        )
        return [dataclasses.replace(board, z_reason=reason) for board in boards]
    return [_with_z(board, usable) for board in boards]


def _with_z(board: Board, reference: set[str]) -> Board:
    scores = np.array([entry.score for entry in board.entries])
    chosen = np.array([entry.backbone in reference for entry in board.entries])
    try:
        values = z_scores(scores, chosen)
    except ValueError:
        return dataclasses.replace(board, z_reason="all reference backbones have the same score")
    entries = [dataclasses.replace(entry, z=float(z)) for entry, z in zip(board.entries, values, strict=True)]
    return dataclasses.replace(board, entries=tuple(entries))


def overall(boards: Sequence[Board]) -> list[OverallEntry]:
    """Return the candidates over all boards: means only for those that have every board, so that all average the same.

    The mean rank counts ranks among those candidates alone: a backbone that is missing elsewhere moves nobody's rank.
    """
    names = {entry.backbone for board in boards for entry in board.candidates}
    complete = names & complete_backbones(boards)
    by_board = [{entry.backbone: entry for entry in board.candidates} for board in boards]
    has_z = all(board.z_reason is None for board in boards)
    order = sorted(complete)
    places = {name: [int(rank) for rank in column] for name, column in zip(order, _ranks(by_board, order), strict=True)}
    found = []
    for name in names:
        entries = [entries[name] for entries in by_board if name in entries]
        z_values = [entry.z for entry in entries if entry.z is not None]
        done = sum(
            name in entries and has_all_seeds(b, entries[name]) for b, entries in zip(boards, by_board, strict=True)
        )
        found.append(
            OverallEntry(
                backbone=name,
                boards=done,
                of=len(boards),
                mean_z=statistics.fmean(z_values) if has_z and name in complete else None,
                mean_rank=statistics.fmean(places[name]) if name in complete else None,
            )
        )
    return sorted(found, key=_order)


def _ranks(by_board: Sequence[dict[str, Entry]], order: Sequence[str]) -> list[list[int]]:
    """Return for each backbone its rank on every board, among these backbones alone."""
    columns = [ranks(np.array([entries[name].score for name in order])) for entries in by_board if order]
    return [[int(column[row]) for column in columns] for row in range(len(order))]


def _order(entry: OverallEntry) -> tuple[bool, float, float, int, str]:
    no_mean = entry.mean_rank is None
    z = 0.0 if entry.mean_z is None else -entry.mean_z
    return (no_mean, z, entry.mean_rank or 0.0, -entry.boards, entry.backbone)
