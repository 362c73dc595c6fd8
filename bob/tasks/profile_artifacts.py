"""Profiles as artifacts: rounds of measurements, one each time a runner asks, until they are enough."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from bob.backbones.backbone import Backbone
from bob.core.files import canonical_json, write_text
from bob.jobs.job import Need
from bob.jobs.profiles import PROFILE_FILE, RENEWED, is_disturbed
from bob.store import ResultStore
from bob.tasks.setup import Setup
from bob.training.profile_rounds import OTHERS, is_enough, summary
from bob.training.profiling import Circumstances, measure_profile, measure_round

ROUNDS_FILE = "rounds.json"
KEPT_S = 3600.0

log = logging.getLogger(__name__)


def take_round(setup: Setup, need: Need) -> bool:
    """Take one more round of a profile, and tell whether there are enough."""
    path = _rounds_file(setup, need)
    run, rounds = _rounds(path, setup.context.run)
    if is_enough(rounds):
        return True
    setup.context.progress(f"round {len(rounds) + 1}", 0, 0)
    rounds.append(measure_round(*_what(setup), batch=rounds[0]["throughput_batch"] if rounds else None))
    if is_disturbed(rounds[-1]):
        log.warning("Others took %.0f %% of the host's CPU time during this round.", 100 * rounds[-1][OTHERS])
    write_text(path, json.dumps({"run": run, "rounds": rounds}))
    return is_enough(rounds)


def write_profile(setup: Setup, need: Need, folder: Path) -> None:
    """Write what the rounds come to, taking them now if no runner had them taken, to a folder.

    A profile that is there is replaced if it was disturbed more than this one, in the rows of the store too.
    """
    path = folder / PROFILE_FILE
    known = json.loads(path.read_text()) if path.exists() else None
    if setup.context.run:
        run, rounds = _rounds(_rounds_file(setup, need), setup.context.run)
        figures = summary(rounds, run=run)
    else:
        figures = measure_profile(*_what(setup))
    if known is not None and figures[OTHERS] >= known[OTHERS]:
        log.warning("The host was as busy as before: the earlier profile stays.")
        return
    write_text(path, canonical_json(figures if known is None else {**figures, RENEWED: True}))
    if known is not None:
        ResultStore(setup.context.results_dir).amend_profile(need.key, figures)


def _what(setup: Setup) -> tuple[Backbone, Circumstances]:
    """Return what is profiled, and under which circumstances."""
    size, threads = setup.job.input.image_size, setup.context.threads
    where = Circumstances(image_size=size, precision=setup.precision, device=str(setup.device), threads=threads)
    return setup.backbone, where


def _rounds_file(setup: Setup, need: Need) -> Path:
    return setup.context.work_dir / need.key / ROUNDS_FILE


def _rounds(path: Path, run: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the rounds taken so far and the run that began them: this one, or one that was stopped just before."""
    try:
        age_s = time.time() - path.stat().st_mtime
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return run, []
    # A runner that is killed time and again gets on; what is older is of another state of the machine.
    return (found["run"], found["rounds"]) if found["run"] == run or age_s < KEPT_S else (run, [])
