"""What a report says of latencies: nothing that their intervals and the state of the host do not bear out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from report_samples import BACKBONES, sample_results

from bob.reporting.boards import make_board
from bob.reporting.profile_notes import odd_orders
from bob.reporting.recommend import recommend
from bob.reporting.report_data import Board
from bob.reporting.select import group_rows
from bob.reporting.tables import cost_table, score_table

NAMES = [name for name, *_ in BACKBONES]


def _boards(pairs: list[tuple[dict[str, Any], Any]]) -> list[Board]:
    outcomes = {row["job_id"]: pd.DataFrame(table) for row, table in pairs}
    return [make_board(group, outcomes.get) for group in group_rows([row for row, _ in pairs], mix=False)]


def _entry(board: Board, name: str):
    return next(entry for entry in board.entries if entry.backbone == name)


def test_a_latency_taken_on_a_busy_host_is_never_a_merit() -> None:
    pairs = [(dict(row), table) for row, table in sample_results()]
    pairs[6][0]["profile_others_cpu"] = 0.4
    pairs[0][0]["profile_others_cpu"] = 0.4
    (board,) = _boards(pairs)
    assert {row["backbone"] for row, _ in (pairs[0], pairs[6])} == {NAMES[0], NAMES[6]}
    assert not _entry(board, NAMES[6]).pareto and not _entry(board, NAMES[0]).pareto
    assert not _entry(board, NAMES[5]).pareto, "the busy one scores higher and may be faster"
    free, limited = recommend(board), recommend(board, max_latency_ms=1e9)
    assert free.best == NAMES[0] and free.fastest != NAMES[0] and free.left_out == ()
    assert limited.left_out == (NAMES[0], NAMES[6]) and NAMES[6] not in free.front
    assert f"as the host was busy: the latency of {NAMES[0]}, {NAMES[6]}." in limited.text
    caption = " ".join(score_table(board).caption)
    assert f"No latency from a quiet host with an interval: {NAMES[0]}, {NAMES[6]}; none that scores lower" in caption


def _with_latency(middle: float, low: float, high: float, **others: Any) -> dict[str, Any]:
    return {"latency_ms_b1_p50": middle, "latency_ms_b1_low": low, "latency_ms_b1_high": high, **others}


def test_the_fastest_is_told_only_where_the_intervals_are_apart() -> None:
    pairs = [(dict(row), table) for row, table in sample_results()]
    pairs[0][0].update(_with_latency(20.0, 19.0, 21.0))
    pairs[1][0].update(_with_latency(22.0, 21.5, 23.0))
    (board,) = _boards(pairs)
    free = recommend(board)
    assert set(free.tied) | {free.best} >= {NAMES[0], NAMES[1]}
    assert free.fastest == NAMES[0] and f"the fastest is {NAMES[0]} 20 ms [19, 21] at batch 1" in free.text
    pairs[1][0].update(_with_latency(22.0, 20.5, 23.0))
    (board,) = _boards(pairs)
    unsure = recommend(board)
    assert unsure.fastest is None
    assert f"not known, as latencies overlap or are not known: {NAMES[0]} 20 ms [19, 21], " in unsure.text
    assert f"{NAMES[1]} 22 ms [20.5, 23] at batch 1" in unsure.text
    assert not _entry(board, NAMES[1]).pareto
    pairs[1][0].update(_with_latency(22.0, 21.5, 23.0, profile_others_cpu=0.5))
    assert f"{NAMES[1]} (no latency from a quiet host with an interval)" in recommend(_boards(pairs)[0]).text


def test_a_limit_of_latency_takes_the_whole_interval() -> None:
    pairs = [(dict(row), table) for row, table in sample_results()]
    pairs[0][0].update(_with_latency(9.0, 8.0, 10.5))
    assert NAMES[0] in recommend(_boards(pairs)[0], max_latency_ms=10).left_out
    for name in ("latency_ms_b1_low", "latency_ms_b1_high"):
        del pairs[0][0][name]
    (older,) = _boards(pairs)
    assert recommend(older, max_latency_ms=10).best == NAMES[0], "an earlier version's row has its median alone"
    assert not _entry(older, NAMES[0]).pareto


def test_a_board_shows_the_latest_quiet_profile_of_a_backbone_and_never_a_mean_of_two() -> None:
    pairs = [(dict(row), table) for row, table in sample_results(seeds=3)]
    mine = [row for row, _ in pairs if row["backbone"] == NAMES[5]]
    mine[0].update(_with_latency(90.0, 80.0, 99.0, profile_others_cpu=0.7, profile_taken_at="2026-01-09T00:00:00Z"))
    mine[1].update(_with_latency(8.0, 7.9, 8.1, profile_taken_at="2026-01-03T00:00:00Z"))
    mine[2].update(_with_latency(8.4, 8.3, 8.5, profile_taken_at="2026-01-01T00:00:00Z"))
    entry = _entry(_boards(pairs)[0], NAMES[5])
    assert not entry.is_busy and entry.fair_latency_ms == 8.0 and entry.latency_interval == (7.9, 8.1)


def test_more_multiply_adds_of_the_same_kinds_that_came_out_faster_are_pointed_at() -> None:
    pairs = [(dict(row), table) for row, table in sample_results()]
    pairs[0][0].update(_with_latency(12.0, 11.8, 12.2, gmacs=0.188, layer_kinds="Conv2d"))
    pairs[1][0].update(_with_latency(15.9, 15.7, 16.1, gmacs=0.164, layer_kinds="Conv2d"))
    (note,) = odd_orders(_boards(pairs)[0])
    assert note.startswith(f"{NAMES[0]} has more multiply-adds than {NAMES[1]} (0.188 G against 0.164 G)")
    assert "(12 ms against 15.9 ms)" in note
    assert note in cost_table(_boards(pairs)[0]).caption
    changes = (
        _with_latency(15.9, 12.1, 16.1),  # an order that is not told
        {"layer_kinds": "Linear"},  # of other layers nobody expects the same speed
        {"profile_others_cpu": 0.5},  # compared with nothing
        {"gmacs": 0.2},  # the order that is expected
    )
    for change in changes:
        other = [(dict(row), table) for row, table in pairs]
        other[1][0].update(change)
        assert odd_orders(_boards(other)[0]) == ()


def test_wide_disturbed_and_unrelated_profiles_are_said_below_the_costs() -> None:
    pairs = [(dict(row), table) for row, table in sample_results()]
    assert len(cost_table(_boards(pairs)[0]).caption) == 1
    pairs[0][0].update(profile_within=False, profile_run="07e4")
    pairs[1][0].update(profile_others_cpu=0.4)
    said = " ".join(cost_table(_boards(pairs)[0]).caption)
    assert f"Wider than 5 % when the time for rounds was over: the latency or throughput of {NAMES[0]}." in said
    assert "The profiles come from 2 runs" in said and "others took up to 40%" in said
