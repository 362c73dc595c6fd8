"""Boards and overall means: what may stand together, what is tied, and what is said where a figure is missing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_samples import BACKBONES, REFERENCE, sample_outcomes, sample_results, sample_row

from bob.core.errors import BobError
from bob.metrics.interval import mean_interval
from bob.reporting.boards import make_board
from bob.reporting.coverage import NOT_RUN, measure_coverage
from bob.reporting.overall import add_z_scores, overall
from bob.reporting.recommend import recommend
from bob.reporting.report_data import Board, TrainingNoise
from bob.reporting.select import choose_rows, find_differences, group_rows
from bob.reporting.tables import score_table

NAMES = [name for name, *_ in BACKBONES]
CONTROL = NAMES[-1]


def _boards(pairs: list[tuple[dict[str, Any], Any]], *, mix: bool = False) -> list[Board]:
    outcomes = {row["job_id"]: None if table is None else pd.DataFrame(table) for row, table in pairs}
    return [make_board(group, outcomes.get) for group in group_rows([row for row, _ in pairs], mix=mix)]


def _entry(board: Board, name: str):
    return next(entry for entry in board.entries if entry.backbone == name)


def test_candidates_come_by_rank_and_controls_last_without_one() -> None:
    (board,) = _boards(list(sample_results()))
    assert [entry.backbone for entry in board.entries] == NAMES
    assert [entry.rank for entry in board.entries] == [1, 2, 3, 4, 5, 6, 7, None]
    control = board.entries[-1]
    assert (control.rank_low, control.tied, control.p_value, control.pareto) == (None, None, None, False)


def test_removing_the_control_changes_no_candidates_figure() -> None:
    pairs = list(sample_results())
    boards = [_boards(pairs), _boards([pair for pair in pairs if pair[0]["backbone"] != CONTROL])]
    full, bare = (add_z_scores(found, REFERENCE)[0] for found in boards)
    # Whether a candidate is above its control is the one thing that takes a control.
    assert any(entry.above_control for entry in full.candidates)
    assert tuple(dataclasses.replace(entry, above_control=None) for entry in full.candidates) == bare.candidates


def test_close_backbones_are_tied_with_the_best_and_distant_ones_not() -> None:
    (board,) = _boards(list(sample_results()))
    tied = [entry.backbone for entry in board.candidates if entry.tied]
    assert NAMES[0] in tied and NAMES[1] in tied and NAMES[6] not in tied
    assert "simultaneous test of all pairs" in board.test and "372 test samples" in board.test


def test_several_seeds_give_mean_spread_and_an_interval_of_averaged_outcomes() -> None:
    pairs = []
    for share, seed in ((0.80, 0), (0.84, 1), (0.88, 2)):
        table = sample_outcomes(share, seed=seed)
        pairs.append((sample_row(NAMES[0], seed=seed, score=float(table["outcome"].mean())), table))
        pairs.append((sample_row(NAMES[1], seed=seed, score=0.75), sample_outcomes(0.75, seed=seed)))
    pairs = [(row, table) for row, table in pairs if abs(row["score"] - table["outcome"].mean()) < 1e-9]
    (board,) = _boards(pairs)
    entry = _entry(board, NAMES[0])
    scores = [row["score"] for row, _ in pairs if row["backbone"] == NAMES[0]]
    assert entry.seeds == (0, 1, 2)
    assert entry.score == pytest.approx(np.mean(scores)) and entry.seed_std == pytest.approx(np.std(scores, ddof=1))
    assert entry.low < entry.score < entry.high and (entry.low, entry.high) != (0.86, 0.93)
    assert "simultaneous test" in board.test


def _seeded(shares: dict[str, tuple[float, ...]], **changes: Any) -> Board:
    """Return a board of backbones whose seeds have the given shares of 1,000 test pictures right."""
    pairs = []
    for number, (name, own) in enumerate(shares.items()):
        for seed, share in enumerate(own):
            outcome = (np.random.default_rng([number, seed]).random(1000) < share).astype(float)
            table = {"sample_id": np.array([f"{i:04d}" for i in range(1000)]), "outcome": outcome}
            low, high = mean_interval(outcome)
            row = sample_row(
                name, protocol="finetune", seed=seed, score=float(outcome.mean()), images_seen=900, **changes
            )
            pairs.append(({**row, "score_low": low, "score_high": high}, table))
    (board,) = _boards(pairs)
    return board


def test_a_lead_within_the_spread_over_seeds_is_no_lead() -> None:
    board = _seeded({NAMES[0]: (0.76, 0.84, 0.80), NAMES[1]: (0.79, 0.71, 0.75)})
    assert board.comparison.noise is TrainingNoise.COVERED and board.candidates[1].tied is True
    assert "count both test pictures and seeds" in " ".join(score_table(board).caption)
    # By test pictures alone, the same lead is beyond chance.
    alone = _seeded({NAMES[0]: (0.80,), NAMES[1]: (0.75,)})
    assert alone.candidates[1].tied is False


def test_one_seed_of_fine_tuning_is_never_called_significant() -> None:
    board = _seeded({NAMES[0]: (0.9,), NAMES[1]: (0.6,)})
    assert board.comparison.noise is TrainingNoise.UNKNOWN and board.candidates[1].tied is False
    answer = recommend(board).text
    assert "significantly" not in answer and "whether another training run would keep the order is not known" in answer
    assert "do not cover the noise of training" in " ".join(score_table(board).caption)


def test_a_candidate_of_one_seed_borrows_the_spread_of_the_others_and_says_so() -> None:
    board = _seeded({NAMES[0]: (0.76, 0.84, 0.80), NAMES[1]: (0.70,)})
    lent = board.candidates[1]
    own = mean_interval(np.random.default_rng([1, 0]).random(1000) < 0.70)
    assert board.comparison.noise is TrainingNoise.POOLED
    assert lent.low < own[0] - 0.02 and lent.high > own[1] + 0.02 and any("one seed" in flag for flag in lent.flags)


def test_a_candidate_that_is_not_above_its_control_is_named() -> None:
    name = "tf_efficientnet_lite0"
    board = _seeded({f"{name}.in1k": (0.30,), f"{name}.random": (0.29,), NAMES[0]: (0.9,)})
    assert board.not_above_control == (f"{name}.in1k",)
    assert f"Not significantly above the random initialisation of its architecture: {name}.in1k." in " ".join(
        score_table(board).caption
    )
    assert _seeded({f"{name}.in1k": (0.60,), f"{name}.random": (0.29,)}).not_above_control == ()


def test_features_without_content_are_flagged_and_never_recommended() -> None:
    fault = {"feature_rank": 0.0, "feature_fault": "the features are the same for every picture"}
    pairs = [({**row, **fault}, table) if i == 0 else (row, table) for i, (row, table) in enumerate(sample_results())]
    (board,) = _boards(pairs)
    assert fault["feature_fault"] in board.candidates[0].flags
    answer = recommend(board)
    assert answer.best == NAMES[1] and NAMES[0] not in answer.front
    assert f"Not considered, as its features are the same for every picture: {NAMES[0]}." in answer.text
    (alone,) = _boards(pairs[:1])
    assert recommend(alone).best is None and "No candidate can be recommended" in recommend(alone).text


def test_the_draws_within_a_few_shot_score_count_in_the_test() -> None:
    ids = {"sample_id": np.array([f"{i:04d}" for i in range(400)])}
    pairs = []
    for number, name in enumerate(NAMES[:2]):
        outcome = np.random.default_rng(number).integers(0, 11, 400) / 10 * 0.9 + 0.1 * (1 - number)
        score = float(outcome.mean())
        for width in (0.03, 0.2):
            row = sample_row(name, protocol=f"fewshot{width}", score=score)
            pairs.append(
                ({**row, "score_low": score - width, "score_high": score + width}, {**ids, "outcome": outcome})
            )
    narrow, wide = _boards(pairs)
    assert narrow.candidates[1].tied is False and wide.candidates[1].tied is True


def test_other_test_samples_mean_no_paired_test_for_that_backbone_and_a_note() -> None:
    pairs = list(sample_results())
    table = pairs[2][1]
    pairs[2] = (pairs[2][0], {**table, "sample_id": np.char.add(table["sample_id"], "-other")})
    (board,) = _boards(pairs)
    assert _entry(board, NAMES[2]).tied is None
    assert _entry(board, NAMES[1]).tied is True
    assert any("tested on other samples" in note and NAMES[2] in note for note in board.notes)
    # Ranks over resampled test sets need everybody.
    assert all(entry.rank_low is None for entry in board.entries)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda row, table: (row, None), "no outcome per test sample"),
        (lambda row, table: ({**row, "score": row["score"] - 0.01}, table), "not the mean of its outcomes"),
        (lambda row, table: (row, {**table, "sample_id": table["sample_id"][::-1].repeat(2)[::2][[0] * 372]}), "twice"),
    ],
)
def test_outcomes_that_cannot_be_paired_leave_intervals_and_a_reason(spoil, why: str) -> None:
    (board,) = _boards([spoil(row, table) for row, table in sample_results()])
    assert board.test.startswith("No paired test") and all(entry.tied is None for entry in board.entries)
    assert all(entry.low is not None for entry in board.entries)
    (mixed,) = _boards([spoil(*pair) if i == 3 else pair for i, pair in enumerate(sample_results())])
    assert any(why in note and NAMES[3] in note for note in mixed.notes)


def test_order_of_the_samples_does_not_matter() -> None:
    pairs = list(sample_results())
    order = np.random.default_rng(0).permutation(372)
    shuffled = [(row, {name: values[order] for name, values in table.items()}) for row, table in pairs]
    assert _boards(shuffled[:3] + pairs[3:])[0].entries == _boards(pairs)[0].entries


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("protocol_params", '{"folds": 2}'),
        ("budget", "train=800"),
        ("requested_precision", "bf16"),
        ("image_size", 224),
        ("hardware_class", "h200"),
        ("profile_device", "h200"),
        ("dataset_fingerprint", "beef"),
        ("task_version", 2),
        ("resolution", "other"),
        ("metric", "top5"),
    ],
)
def test_rows_of_other_circumstances_are_refused_unless_mixed(column: str, value: object) -> None:
    pairs = list(sample_results())
    pairs[1] = ({**pairs[1][0], column: value}, pairs[1][1])
    with pytest.raises(BobError, match=rf"{column}: .*{value}[\s\S]*--mix".replace("{", r"\{").replace("}", r"\}")):
        _boards(pairs)
    (board,) = _boards(pairs, mix=True)
    assert len(board.entries) == len(NAMES)
    assert any(note.startswith(f"mixed rows: {column}") for note in board.notes)


def test_seeds_of_two_checkpoints_are_no_seeds_of_one_backbone() -> None:
    rows = [row for row, _ in sample_results()]
    rows += [{**rows[0], "seed": 1, "weights_sha256": "0123456789abcdef", "job_id": "another"}]
    assert find_differences(rows[:-1]) == {}
    (values,) = find_differences(rows).values()
    assert any("0123456789ab" in value for value in values)


def test_sizes_rounded_to_a_patch_and_native_sizes_are_no_mixture() -> None:
    rows = [row for row, _ in sample_results()]
    assert {row["image_size"] for row in rows} == {126, 128} and find_differences(rows) == {}
    native = [{**row, "resolution": "native", "image_size": 96 * (i + 1)} for i, row in enumerate(rows)]
    assert find_differences(native) == {}


def test_sweep_that_every_backbone_went_through_becomes_boards_of_its_own() -> None:
    pairs = [*sample_results(protocol_params='{"shots": 1}'), *sample_results(protocol_params='{"shots": 5}')]
    pairs = [({**row, "job_id": f"{row['job_id']}{i}"}, table) for i, (row, table) in enumerate(pairs)]
    boards = _boards(pairs)
    assert [board.variant for board in boards] == ['{"shots": 1}', '{"shots": 5}']
    assert all(len(board.entries) == len(NAMES) for board in boards)
    with pytest.raises(BobError, match="do not belong in one table"):
        _boards(pairs[:-1])


def test_newer_weights_under_one_name_stand_in_for_the_older_with_a_note() -> None:
    pairs = list(sample_results())
    old = ({**pairs[0][0], "job_id": "old", "score": 0.1, "finished_at": "2025-01-01"}, None)
    (board,) = _boards([*pairs, old])
    assert _entry(board, NAMES[0]).score > 0.8
    assert any("left out" in note and NAMES[0] in note for note in board.notes)


def test_plan_chooses_the_rows_else_the_suite_does() -> None:
    rows = [{"job_id": "a", "suite": "x"}, {"job_id": "b", "suite": "y"}]
    assert choose_rows(rows, suite="x", expected=[{"job_id": "b"}]) == [rows[1]]
    assert choose_rows(rows, suite="x", expected=None) == [rows[0]]
    assert choose_rows(rows, suite=None, expected=None) == rows


def test_no_z_score_without_a_reference_set_or_under_five_and_the_reason_says_so() -> None:
    boards = _boards(list(sample_results()))
    assert "names no reference set" in add_z_scores(boards, None)[0].z_reason
    (few,) = add_z_scores(boards, REFERENCE[:4])
    assert "4 of the 4 reference backbones" in few.z_reason and all(entry.z is None for entry in few.entries)
    (with_control,) = add_z_scores(boards, [*REFERENCE[:4], CONTROL])
    assert "4 of the 5 reference backbones" in with_control.z_reason


def test_reference_backbone_that_misses_a_board_or_a_seed_leaves_every_boards_reference() -> None:
    pairs = list(sample_results(protocols=("linear", "knn"), seeds=2))
    gone = {(NAMES[0], "knn", 0), (NAMES[0], "knn", 1), (NAMES[1], "linear", 1)}
    kept = [p for p in pairs if (p[0]["backbone"], p[0]["protocol"], p[0]["seed"]) not in gone]
    boards = add_z_scores(_boards(kept), REFERENCE)
    complete = [name for name in REFERENCE if name not in NAMES[:2]]
    for board in boards:
        z = [_entry(board, name).z for name in complete]
        assert np.mean(z) == pytest.approx(0, abs=1e-9) and np.std(z) == pytest.approx(1)
    assert any("1 of 2 seeds" in flag for flag in _entry(boards[1], NAMES[1]).flags)


def test_means_over_boards_never_average_different_sets() -> None:
    pairs = list(sample_results(protocols=("linear", "knn")))
    kept = [p for p in pairs if (p[0]["backbone"], p[0]["protocol"]) != (NAMES[0], "knn")]
    means = {entry.backbone: entry for entry in overall(add_z_scores(_boards(kept), REFERENCE))}
    assert (means[NAMES[0]].boards, means[NAMES[0]].of) == (1, 2)
    assert means[NAMES[0]].mean_z is None and means[NAMES[0]].mean_rank is None
    # The best on one board is absent from the other: nobody's mean rank may depend on it.
    assert [means[name].mean_rank for name in NAMES[1:7]] == [1, 2, 3, 4, 5, 6]
    assert CONTROL not in means


def test_recommendation_keeps_to_the_limits_and_tests_within_them() -> None:
    (board,) = _boards(list(sample_results()))
    free = recommend(board)
    assert free.best == NAMES[0] and NAMES[1] in free.tied and free.left_out == ()
    assert free.front == (NAMES[6], NAMES[5], NAMES[3], NAMES[2], NAMES[0])
    quick = recommend(board, max_latency_ms=30)
    assert quick.best == NAMES[3] and quick.left_out == tuple(NAMES[:3])
    assert quick.text.startswith("Within 30 ms at batch 1, the highest score is vit_small_patch16_224.dino's")
    small = recommend(board, max_latency_ms=10, max_memory_mb=320)
    assert small.best == NAMES[6] and "only candidate within the limits" in small.text
    none = recommend(board, max_memory_mb=1)
    assert none.best is None and "No candidate is within 1 MB" in none.text


def test_recommendation_without_outcomes_claims_no_significance() -> None:
    (board,) = _boards([(row, None) for row, _ in sample_results()])
    assert "may be chance" in recommend(board).text and recommend(board).tied == ()


def test_backbone_without_a_latency_fits_no_latency_limit() -> None:
    pairs = [(dict(row), table) for row, table in sample_results()]
    del pairs[0][0]["latency_ms_b1_p50"]
    (board,) = _boards(pairs)
    assert NAMES[0] in recommend(board, max_latency_ms=1e9).left_out
    assert recommend(board).best == NAMES[0]


def test_coverage_groups_reasons_and_says_what_to_do() -> None:
    missing = {"status": "skipped", "error_class": "WeightsMissingError"}
    rows = [
        {"job_id": "1", "backbone": "a", **missing, "error_message": "'a' is in no source"},
        {"job_id": "2", "backbone": "b", **missing, "error_message": "'b' is in no source"},
        {"job_id": "3", "backbone": "c", "status": "oom", "error_class": "X", "error_message": "boom\n   try 'bob x'"},
        {"job_id": "4", "backbone": "d", "status": "ok"},
    ]
    coverage = measure_coverage(rows, [*rows, {"job_id": "5", "backbone": "e"}], {})
    assert coverage.counts == {"ok": 1, "skipped": 2, "oom": 1, NOT_RUN: 1}
    first = coverage.reasons[0]
    assert (first.jobs, first.backbones) == (2, ("a", "b")) and "bob fetch" in first.action
    by_status = {reason.status: reason for reason in coverage.reasons}
    assert by_status["oom"].action == "try 'bob x'" and by_status[NOT_RUN].backbones == ("e",)


def test_the_noise_of_controls_is_their_own() -> None:
    """The candidate is frozen and the same for every seed; the control's initialisation is what varies."""
    name = "tf_efficientnet_lite0"
    table = {"sample_id": np.array([f"{i:04d}" for i in range(1000)])}
    pairs = []
    for seed, share in enumerate((0.30, 0.42, 0.36)):
        for suffix, rate in (("in1k", 0.41), ("random", share)):
            outcome = (np.random.default_rng([7, seed if suffix == "random" else 0]).random(1000) < rate).astype(float)
            row = sample_row(f"{name}.{suffix}", seed=seed, score=float(outcome.mean()))
            pairs.append((row, {**table, "outcome": outcome}))
    (board,) = _boards(pairs)
    assert board.not_above_control == (f"{name}.in1k",)
