"""Profiles as artifacts: rounds of measurements, one each time a runner asks, until they are enough."""

from __future__ import annotations

import json
import logging
import socket
import time
from pathlib import Path
from typing import Any

from bob.backbones.backbone import Backbone
from bob.core.files import canonical_json, read_regular, write_text
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.job import Need
from bob.jobs.profiles import PROFILE_FILE, RENEWED, is_disturbed, read_profile
from bob.store import ResultStore
from bob.tasks.setup import Setup
from bob.training.profile_rounds import OTHERS, is_enough, summary
from bob.training.profiling import Circumstances, measure_profile, next_round

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
    rounds.append(next_round(rounds, *_what(setup)))
    if is_disturbed(rounds[-1]):
        log.warning("Others took %.0f %% of the host's CPU time during this round.", 100 * rounds[-1][OTHERS])
    write_text(path, json.dumps({"host": socket.gethostname(), "run": run, "rounds": rounds}))
    return is_enough(rounds)


def write_profile(setup: Setup, need: Need, folder: Path) -> None:
    """Write what the rounds come to, taking them now if no runner had them taken, to a folder.

    A disturbed profile that is there is replaced by a quiet one, in the rows of the store too.
    """
    known = read_profile(ArtifactStore(setup.context.cache_dir), need)
    if setup.context.run:
        run, rounds = _rounds(_rounds_file(setup, need), setup.context.run)
        figures = summary(rounds, run=run)
    else:
        figures = measure_profile(*_what(setup))
    if known is not None and (is_disturbed(figures) or not is_disturbed(known)):
        log.warning("The profile that is there stays: it is quiet, or this one is disturbed too.")
        return
    write_text(folder / PROFILE_FILE, canonical_json(figures if known is None else {**figures, RENEWED: True}))
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
        found = json.loads(read_regular(path))
        taken = [entry for entry in found["rounds"] if entry["profile_others_cpu"] >= 0 and entry["round_s"] >= 0]
        # A runner that is killed time and again gets on; what is older is of another state of the machine.
        if found["run"] == run or (age_s < KEPT_S and found["host"] == socket.gethostname()):
            return str(found["run"]), taken
    except FileNotFoundError:
        log.debug("No round of %s yet.", path.parent.name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s is damaged (%r): the rounds begin anew.", path, error)
    return run, []
