"""Private names of other packages that BoB uses, for want of public ones: the versions are bounded, and this fails."""

from __future__ import annotations

import importlib
import inspect

import pytest

PRIVATE = {
    "submitit.slurm.slurm:_make_sbatch_string": "bob/runners/slurm/slurm.py writes batch scripts with it",
    "submitit.core._submit:": "the batch scripts of bob/runners/slurm/slurm.py run it as a module",
    "accelerate.state:AcceleratorState._reset_state": "bob/training/trial.py forgets a trial's precision with it",
}


@pytest.mark.parametrize("reference", PRIVATE)
def test_it_is_still_there(reference):
    module, _, path = reference.partition(":")
    why = f"{reference} is gone from the installed version: {PRIVATE[reference]}; narrow the bound in pyproject.toml"
    try:
        found = importlib.import_module(module)
        for name in filter(None, path.split(".")):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        pytest.fail(why)


def test_a_batch_script_is_made_from_what_bob_gives():
    from submitit.slurm.slurm import _make_sbatch_string

    taken = set(inspect.signature(_make_sbatch_string).parameters)
    assert {"command", "folder", "map_count", "additional_parameters", "setup"} <= taken
