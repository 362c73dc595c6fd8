"""The report on calibration: the diagram shows the stored confidences, the table what rows say."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from report_samples import BACKBONES, sample_calibrated_results, sample_results
from rich.console import Console

from bob.metrics.reliability_bins import reliability
from bob.reporting import reliability_diagram as module
from bob.reporting.boards import make_board
from bob.reporting.build import Report, build_report
from bob.reporting.reliability_diagram import reliability_plot
from bob.reporting.report_data import Board
from bob.reporting.select import group_rows
from bob.reporting.tables import Table, calibration_table
from bob.store import ResultStore

NAMES = [name for name, *_ in BACKBONES]
CONTROL = NAMES[-1]
BEFORE_ONLY = ("confidence_scaled",)
OLD = ("confidence", "confidence_scaled")


def _pairs(**changes: Any) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    return list(sample_calibrated_results(**changes))


def _board(pairs: list[tuple[dict[str, Any], dict[str, np.ndarray]]]) -> tuple[Board, dict[str, pd.DataFrame]]:
    tables = {row["job_id"]: pd.DataFrame(outcomes) for row, outcomes in pairs}
    (group,) = group_rows([row for row, _ in pairs], mix=False)
    return make_board(group, tables.get), tables


def _without(columns: tuple[str, ...], pairs: list[Any], *, of: str | None = None) -> list[Any]:
    return [
        (row, {k: v for k, v in out.items() if k not in columns or (of is not None and row["backbone"] != of)})
        for row, out in pairs
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures in place of their bytes."""
    figures: list[Figure] = []
    monkeypatch.setattr(module, "to_png", lambda figure: figures.append(figure) or b"png")
    return figures


def _panels(figure: Figure) -> list[Axes]:
    return figure.axes


def _legend(axes: Axes) -> str:
    return axes.get_legend().get_texts()[0].get_text()


def _build(folder: Path, pairs: list[Any], *, out: bool = True) -> Report:
    store = ResultStore(folder)
    for row, outcomes in pairs:
        store.append(row, outcomes)
    where = folder / "report" if out else None
    return build_report(folder, suite=None, reference=None, expected=None, out_dir=where)


def test_the_best_candidate_and_the_best_control_are_shown_before_and_after(drawn) -> None:
    board, tables = _board(_pairs())
    assert reliability_plot(board, tables.get) == b"png"
    panels = _panels(drawn[0])
    best = board.candidates[0].backbone
    assert [axes.get_title(loc="left").split("\n") for axes in panels] == [
        [best, "before temperature scaling"],
        [best, "after temperature scaling"],
        [f"{CONTROL} (control)", "before temperature scaling"],
        [f"{CONTROL} (control)", "after temperature scaling"],
    ]


def test_bars_counts_and_ece_are_those_of_the_stored_outcomes_and_the_row(drawn) -> None:
    pairs = _pairs()
    board, tables = _board(pairs)
    reliability_plot(board, tables.get)
    best = board.candidates[0].backbone
    row, outcomes = next(pair for pair in pairs if pair[0]["backbone"] == best)
    for axes, column, ece in zip(_panels(drawn[0]), OLD, ("ece", "ece_scaled"), strict=False):
        bars = reliability(outcomes[column], outcomes["outcome"])
        full = bars.counts > 0
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(bars.accuracy[full].tolist())
        assert [bar.get_x() for bar in axes.patches] == pytest.approx(bars.edges[:-1][full].tolist())
        assert [text.get_text() for text in axes.texts] == [str(count) for count in bars.counts[full]]
        assert _legend(axes) == f"ECE {row[ece]:.3f}"
    assert row["ece"] > 2 * row["ece_scaled"], "the sample is too sure before scaling"


def test_the_bars_are_the_picture_that_is_written(tmp_path: Path) -> None:
    report = _build(tmp_path, _pairs())
    (path,) = (path for name, path in report.files.items() if name.endswith("-reliability.png"))
    with Image.open(path) as picture:
        colours = {tuple(pixel) for pixel in np.asarray(picture.convert("RGB")).reshape(-1, 3)[::7]}
    assert {(0x00, 0x72, 0xB2), (0x6B, 0x6B, 0x6B)} <= colours, "candidate and control in the colours of all plots"
    page = report.files["index.html"].read_text()
    assert page.count("accuracy by confidence before and after temperature scaling, classification") == 1
    assert page.index("<h3>Cost</h3>") < page.index("<h3>Calibration</h3>") < page.index("accuracy by confidence")


@pytest.mark.parametrize("columns", [OLD, BEFORE_ONLY], ids=["no confidences", "not scaled"])
def test_older_rows_have_no_diagram(columns, tmp_path: Path) -> None:
    pairs = _without(columns, _pairs())
    board, tables = _board(pairs)
    assert reliability_plot(board, tables.get) is None
    report = _build(tmp_path, pairs)
    assert not any("reliability" in name for name in report.files)
    assert "accuracy by confidence before" not in report.files["index.html"].read_text()


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.1])
def test_confidences_that_are_none_cost_the_diagram_and_are_named_in_the_log(value, tmp_path: Path, caplog) -> None:
    pairs = _pairs()
    for _, outcomes in pairs:
        outcomes["confidence_scaled"][3] = value
    report = _build(tmp_path, pairs)
    assert not any("reliability" in name for name in report.files) and len(report.boards) == 1
    assert "reliability diagram of job" in caplog.text and "confidences" in caplog.text


def test_a_control_without_confidences_leaves_the_candidate_alone(drawn) -> None:
    board, tables = _board(_without(OLD, _pairs(), of=CONTROL))
    assert reliability_plot(board, tables.get) is not None
    assert len(_panels(drawn[0])) == 2
    alone, tables = _board([pair for pair in _pairs() if pair[0]["backbone"] == CONTROL])
    assert reliability_plot(alone, tables.get) is not None
    assert _panels(drawn[1])[0].get_title(loc="left").startswith(f"{CONTROL} (control)")


def test_of_several_seeds_the_first_is_shown_and_said(drawn) -> None:
    pairs = _pairs(seeds=2)
    board, tables = _board(pairs)
    reliability_plot(board, tables.get)
    best = board.candidates[0].backbone
    first = next(row for row, _ in pairs if row["backbone"] == best and row["seed"] == 0)
    assert _legend(_panels(drawn[0])[0]) == f"ECE {first['ece']:.3f}"
    assert "the first seed" in drawn[0].get_suptitle()


def test_of_several_draws_the_mean_probabilities_are_shown_and_said(drawn) -> None:
    pairs = [(row, {**out, "outcome": 0.1 + 0.8 * out["outcome"]}) for row, out in _pairs()]
    board, tables = _board(pairs)
    reliability_plot(board, tables.get)
    best = tables[board.candidates[0].job]
    bars = reliability(best["confidence"], best["prediction"] == best["label"])
    heights = [bar.get_height() for bar in _panels(drawn[0])[0].patches]
    assert heights == pytest.approx(bars.accuracy[bars.counts > 0].tolist())
    assert _legend(_panels(drawn[0])[0]).startswith("ECE of the mean 0.")
    assert "the draws' mean probabilities" in drawn[0].get_suptitle()


def _cells(table: Table, title: str) -> list[str]:
    place = [head.title for head in table.heads].index(title)
    return [row[place].text for row in table.rows]


def test_the_table_has_every_metric_before_and_after_as_means_over_seeds(tmp_path: Path) -> None:
    pairs = _pairs(seeds=2)
    report = _build(tmp_path, pairs, out=False)
    titles = [table.title.rpartition(": ")[2] for table in report.tables]
    assert titles[1:3] == ["cost", "calibration"]
    table = report.tables[2]
    assert [head.title for head in table.heads] == [
        *("backbone", "ECE", "ECE (T)", "NLL", "NLL (T)"),
        *("adapt. ECE", "adapt. ECE (T)", "Brier", "Brier (T)", "T"),
    ]
    best = report.boards[0].entries[0].backbone
    own = [row for row, _ in pairs if row["backbone"] == best]
    for title, name in (("ECE", "ece"), ("ECE (T)", "ece_scaled"), ("NLL (T)", "nll_scaled"), ("Brier", "brier")):
        assert _cells(table, title)[0] == f"{np.mean([row[name] for row in own]):.3f}"
    assert _cells(table, "T")[0] == "3 ", "the mean of 2.5 and 3.5"
    assert len(table.muted) == 1


def test_a_temperature_on_its_bound_is_marked_and_explained() -> None:
    pairs = _pairs()
    pairs[2] = ({**pairs[2][0], "temperature": 0.05, "temperature_on_bound": True}, pairs[2][1])
    board, _ = _board(pairs)
    table = calibration_table(board)
    marked = [row[0].text for row, cell in zip(table.rows, _cells(table, "T"), strict=True) if cell == "0.05*"]
    assert marked == [NAMES[2]] and any("no minimum" in sentence for sentence in table.caption)
    assert not any("no minimum" in sentence for sentence in calibration_table(_board(_pairs())[0]).caption)


def test_rows_without_scaling_show_what_they_have_and_rows_without_calibration_no_table() -> None:
    kept = [({k: v for k, v in row.items() if "_scaled" not in k and k != "temperature"}, out) for row, out in _pairs()]
    table = calibration_table(_board(kept)[0])
    assert [head.title for head in table.heads] == ["backbone", "ECE", "NLL", "adapt. ECE", "Brier"]
    assert not any("(T)" in sentence for sentence in table.caption)
    mixed = calibration_table(_board(kept[:1] + _pairs()[1:])[0])
    at = [row[0].text for row in mixed.rows].index(NAMES[0])
    assert _cells(mixed, "ECE (T)")[at] == "–" and _cells(mixed, "ECE")[at] != "–"
    assert calibration_table(_board(list(sample_results()))[0]) is None


def test_calibration_fits_a_terminal_of_80_columns_and_the_csv_has_it_all(tmp_path: Path) -> None:
    report = _build(tmp_path, _pairs())
    out = io.StringIO()
    report.print(Console(file=out, width=80, force_terminal=False))
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines[:-1]) <= 80
    head = next(line for line in lines if "ECE (T)" in line)
    assert head.split() == ["backbone", "ECE", "ECE", "(T)", "NLL", "NLL", "(T)", "T"]
    frame = pd.read_csv(report.files["ranking.csv"])
    entries = report.boards[0].entries
    for name in ("ece", "ece_scaled", "adaptive_ece_scaled", "brier_scaled", "nll_scaled", "temperature"):
        assert frame[name].tolist() == [entry.metrics[name] for entry in entries]
    assert "calibration" in report.files["ranking.md"].read_text()
