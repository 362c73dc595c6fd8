"""Real fine-tuning jobs of a user's own tiny backbones, each with a fault of its own that a file switches on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from bob.core.settings import Settings
from bob.jobs.job import Job
from bob.jobs.plan import expand
from bob.jobs.suite import check_suite, read_suite
from bob.runners.local.local_runner import LocalRunner, Summary

# The step at which a fault comes: later than any that a profile takes.
PLUGIN = '''\
import ctypes
import os
import resource
import signal
import time
from pathlib import Path

import torch
from torch import nn

from bob.backbones.catalogue import register
from bob.backbones.backbone import Backbone, InputConfig

INPUT = InputConfig(image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0)
SWITCH = Path(__file__).with_name("faults-on")
STEP, MB = 5, 1 << 20


def tight(room_mb):
    """Leave so much room in this process's address space, once."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:"))
        resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + room_mb * MB, resource.RLIM_INFINITY))


def hungry(images, room_pictures):
    """Ask for 100 MB a picture, never touched, where there is room for so many pictures."""
    tight(150 * room_pictures + 50)
    return torch.empty(len(images) * 100 * MB, dtype=torch.uint8)


def broken_metric(*_):
    raise ZeroDivisionError("the metric divides by zero")


class Faulty(nn.Module):
    def __init__(self, fault):
        super().__init__()
        torch.manual_seed(0)
        self.fault, self.steps = fault, 0
        self.conv = nn.Conv2d(3, 16, 4, stride=4)
        self.norm = nn.GroupNorm(4, 16) if fault == "oom_at_a_step_without_norm" else nn.BatchNorm2d(16)

    def forward(self, images):
        self.steps += self.training
        if SWITCH.exists() and self.steps >= STEP:
            held = getattr(self, self.fault, lambda images: None)(images)
            if torch.is_tensor(held) and held.dtype == images.dtype:
                images = held
        return torch.relu(self.norm(self.conv(images)))

    def nan(self, images):
        return images * float("nan")

    def nan_scores(self, images):
        return images if self.training else images * float("nan")

    def raises(self, images):
        raise KeyError("a key that is not there")

    def exits(self, images):
        raise SystemExit(3)

    def interrupts(self, images):
        raise KeyboardInterrupt

    def ends(self, images):
        os._exit(7)

    def segfaults(self, images):
        ctypes.string_at(0)

    def hangs(self, images):
        ctypes.PyDLL(None).sleep(600)  # in C, with the interpreter's lock held: no Python handler runs

    def metric(self, images):
        import bob.tasks.classification.classification_finetune as scoring

        scoring.classification_metrics = broken_metric

    def oom_at_a_step(self, images):
        return hungry(images, 4) if self.training else None

    oom_at_a_step_without_norm = oom_at_a_step

    def oom_at_scoring(self, images):
        return None if self.training else hungry(images, 8)

    def oom_at_one_picture(self, images):
        return hungry(images, 0) if self.training else None

    def picture(self, images):
        kind, _, path = SWITCH.read_text().partition(" ")
        if path:
            SWITCH.write_text("")
            import test_faults_reading

            getattr(test_faults_reading, kind)(Path(path))

    def fork_bomb(self, images):
        if os.fork() == 0:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGSEGV)


FAULTS = [name for name in vars(Faulty) if not name.startswith("_") and name != "forward"]
for fault in ["none", *FAULTS]:
    entry = Backbone(
        name=f"{fault}.v1", family="own", pretrain_method="none", pretrain_data="none", params_m=0.001,
        license="MIT", input=INPUT,
    )
    register(entry, build=lambda image_size, fault=fault: Faulty(fault))
'''
SUITE = """\
name: faults
backbones: [{backbones}]
datasets: [{data}]
tasks: [{{task: classification, protocols: [{{protocol: {protocol}, params: {params}}}]}}]
image_size: 32
precision: fp32
budget: {{max_train: 64, max_val: 20, max_test: 20, images_seen: 80, trials: 1}}
plugins: [faulty.py]
"""


def write(
    folder: Path,
    backbones: Sequence[str],
    *,
    data: str = "scenes",
    protocol: str = "finetune",
    params: str = "{batch_size: 8}",
) -> None:
    """Write the plug-in, the suite, and the switch, on."""
    names = ", ".join(f"{name}.v1" for name in backbones)
    (folder / "faulty.py").write_text(PLUGIN)
    (folder / "faults.yaml").write_text(SUITE.format(backbones=names, data=data, protocol=protocol, params=params))
    switch(folder, on=True)


def switch(folder: Path, *, on: bool) -> None:
    """Turn every fault on or off; the jobs stay the same ones."""
    path = folder / "faults-on"
    path.touch() if on else path.unlink()


def jobs(folder: Path, results: Path, cache: Path) -> dict[str, Job]:
    """Return the suite's jobs by the name of their fault."""
    source = read_suite(folder / "faults.yaml")
    settings = Settings(results_dir=results, cache_dir=cache, data_dir=cache / "data")
    plan = expand(check_suite(source), source, settings)
    # A profile is another thing's test, and would take longer than all of these jobs.
    return {job.backbone.partition(".")[0]: replace(job, uses=tuple({*job.uses} - {"profile"})) for job in plan.jobs}


def run(
    folder: Path,
    *,
    results: Path | None = None,
    cache: Path | None = None,
    timeout_min: Callable[[str], float] = lambda fault: 5.0,
    **options: object,
) -> Summary:
    """Run what is missing of the suite in ``folder``, with the runner's own functions."""
    results, cache = results or folder / "results", cache or folder / "cache"
    todo = [replace(job, timeout_min=timeout_min(name)) for name, job in jobs(folder, results, cache).items()]
    settings = {"workers": 2, "device": "cpu", "display": "none", "grace_s": 1.0, **options}
    return LocalRunner(todo, results_dir=results, cache_dir=cache, **settings).run()


def leftovers(*folders: Path) -> list[str]:
    """Return what a run should not leave: temporary files, leases, checkpoints."""
    names = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in names if path.name.startswith(".tmp-") or path.suffix == ".lease"]


def children() -> list[psutil.Process]:
    """Return this process's living descendants but for multiprocessing's own helper."""
    found = psutil.Process().children(recursive=True)
    living = [child for child in found if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if not any("resource_tracker" in word for word in child.cmdline())]
