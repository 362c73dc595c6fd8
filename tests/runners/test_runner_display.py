"""What a run shows: sentences for a pipe, bars for a terminal that is restored."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from runner_jobs import job, run_suite

from bob.core.errors import ConfigError
from bob.runners.local.display import LinesDisplay, LiveDisplay, make_display, sentence
from bob.runners.local.schedule import Work


def test_a_pipe_gets_a_sentence_with_numbers_for_every_job(tmp_path: Path) -> None:
    file = io.StringIO()
    run_suite(tmp_path, [job(0), job(1, "fail")], display=make_display("auto", Console(file=file)))
    lines = file.getvalue().splitlines()
    assert lines[0] == "2 jobs to run with 2 workers."
    assert any("toy.a toy/linear on toys seed 0: top1 0.500 in " in line for line in lines)
    assert any("seed 1: failed after" in line and "ValueError: three is not four." in line for line in lines)
    assert {line[:4] for line in lines[1:]} == {"[1/2", "[2/2"}
    assert "\x1b" not in file.getvalue()


def test_a_terminal_gets_bars_and_its_cursor_back(tmp_path: Path) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=140)
    display = make_display("auto", console)
    assert isinstance(display, LiveDisplay)
    run_suite(tmp_path, [job(0, "sleep", seconds=0.6), job(1, "fail")], display=display)
    shown = file.getvalue()
    assert "sleeping" in shown
    assert "2/2" in shown
    assert "1 failed" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_names_with_brackets_are_shown_as_they_are() -> None:
    file = io.StringIO()
    display = LiveDisplay(Console(file=file, force_terminal=True, width=140))
    work = Work(job=job(0, dataset="[red]data[/]"))
    display.open(total=1, workers=1)
    display.begin(0, work)
    display.progress(0, "[bold]phase", 1, 2)
    display.end(0, work, {"status": "failed", "error_class": "E", "error_message": "[/nonsense]", "wall_s": 1.0})
    display.close()
    assert "[red]data[/]" in file.getvalue()
    assert "[/nonsense]" in file.getvalue()


def test_a_sentence_has_the_interval() -> None:
    outcome = {"status": "ok", "metric": "top1", "score": 0.5, "score_low": 0.4, "score_high": 0.6, "wall_s": 2.0}
    assert sentence(Work(job=job(0)), outcome).endswith("top1 0.500 [0.400, 0.600] in 2.0 s.")


def test_displays_are_chosen_by_name() -> None:
    assert isinstance(make_display("lines", Console(force_terminal=True)), LinesDisplay)
    with pytest.raises(ConfigError, match="expected one of auto, live, lines, none"):
        make_display("loud")
