"""Memory that really runs out: torch's own errors under a limit on the address space, and the kernel's killer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import HELPERS

from bob.core.peak_memory import is_shortage
from bob.jobs.run import status_of
from bob.store import ResultStore

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{HELPERS}{os.pathsep}{HELPERS.parent}", "OMP_NUM_THREADS": "1"}
# The allocator of the workers: it keeps what is freed, which decides whose request is the one that fails.
KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}

# Every step of a net under ever more room: prints what each shortage says, and whether the package knows it.
SHORTAGES = """
import json, resource, sys
import timm, torch
from bob.training.memory_backoff import is_out_of_memory

name, train = sys.argv[1], sys.argv[2] == "train"
model = timm.create_model(name, pretrained=False, num_classes=3).to(memory_format=torch.channels_last).train(train)

def step(pictures):
    images = torch.randn(pictures, 3, 224, 224).to(memory_format=torch.channels_last)
    with torch.set_grad_enabled(train):
        outputs = model(images)
    if train:
        outputs.sum().backward()
        model.zero_grad(set_to_none=True)

step(1)
unlimited = resource.getrlimit(resource.RLIMIT_AS)
said = {}
for room_mb in range(1, 260, 13):
    used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:"))
    resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + (room_mb << 20), unlimited[1]))
    try:
        step(16)
    except (RuntimeError, MemoryError) as error:
        text = f"{type(error).__name__}: {error}".split("you tried")[0]
        said[text] = is_out_of_memory(error)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, unlimited)
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("name", "mode", "allocator"),
    [
        ("resnet18", "train", {}),
        pytest.param("resnet18", "eval", KEEPING, marks=pytest.mark.slow),
        pytest.param("deit_tiny_patch16_224", "train", KEEPING, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", "train", {}, marks=pytest.mark.slow),
        pytest.param("convnext_atto", "train", KEEPING, marks=pytest.mark.slow),
    ],
)
def test_whatever_a_net_says_when_no_memory_is_left_is_recognised(
    name: str, mode: str, allocator: dict[str, str]
) -> None:
    command = [sys.executable, "-c", SHORTAGES, name, mode]
    done = subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **allocator}, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said
    assert all(said.values()), said


@pytest.mark.parametrize(
    "text", ["could not create a primitive descriptor for the matmul primitive", "shapes do not match", ""]
)
def test_what_onednn_says_of_a_shape_is_no_lack_of_memory(text: str) -> None:
    assert not is_shortage(RuntimeError(text))
    assert status_of(RuntimeError(text)) == "failed"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_outside_a_step_is_an_oom_row_too(error: BaseException) -> None:
    assert status_of(error) == "oom"


# A step at which memory runs out late, against one whose micro-batch is set by hand at that step.
LATE = """
import resource, sys
import timm, torch
from training_toys import LOSS, CPU
from bob.training.optimiser import parameter_groups
from bob.training.step import of_outputs
from bob.training.trial import Recipe, Trial

LATE, MB = 3, 1 << 20

class Hungry(torch.nn.Module):
    hungry = False
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, images):
        outputs = self.inner(images)
        if self.hungry:
            torch.empty(len(images) * 100 * MB, dtype=torch.uint8)
        return outputs

def trial():
    torch.manual_seed(0)
    inner = timm.create_model(sys.argv[1], pretrained=False, num_classes=3, drop_rate=0.3, img_size=32) \\
        if "deit" in sys.argv[1] else timm.create_model(sys.argv[1], pretrained=False, num_classes=3, drop_rate=0.3)
    model = Hungry(inner)
    recipe = Recipe(lr=1e-3, steps=6, warmup_steps=1, batch_size=8, clip_norm=1.0, precision="fp32")
    groups = parameter_groups([list(model.named_parameters())], lr=1e-3, layer_decay=1.0, weight_decay=0.05)
    return Trial(model=model, groups=groups, loss=of_outputs(LOSS), recipe=recipe, device=CPU)

def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 32, 32, generator=generator), torch.randint(0, 3, (8,), generator=generator)

def run(at_late):
    made = trial()
    made.model.train()
    torch.manual_seed(7)
    for step in range(6):
        if step == LATE:
            at_late(made)
        made._step(*batch(step))
    return made

def run_out(made):
    used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:"))
    resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + 350 * MB, resource.RLIM_INFINITY))
    made.model.hungry = True

planned = run(lambda made: setattr(made.stepper, "micro_batch", 2))
whole = run(lambda made: None)
late = run(run_out)
assert late.stepper.micro_batch == 2, late.stepper.micro_batch
for (name, one), other in zip(late.model.state_dict().items(), planned.model.state_dict().values(), strict=True):
    assert torch.equal(one, other), name
assert not all(map(torch.equal, late.model.state_dict().values(), whole.model.state_dict().values()))
"""


@pytest.mark.parametrize("name", ["resnet18", pytest.param("deit_tiny_patch16_224", marks=pytest.mark.slow)])
def test_a_real_shortage_late_in_training_leaves_the_bits_of_a_run_planned_with_that_micro_batch(name: str) -> None:
    command = [sys.executable, "-c", LATE, name]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A memory control group below this process's own, 400 MB: version 1 or 2, whichever there is."""
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    is_first = "memory" in own
    root = Path("/sys/fs/cgroup/memory" if is_first else "/sys/fs/cgroup")
    group = root / own.get("memory", own.get("", "")).lstrip("/") / f"bob-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if is_first else "memory.max")).write_text(str(400 << 20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no memory control group can be made here: {error}")
    yield group
    group.rmdir()


def test_a_job_that_the_kernel_kills_for_memory_is_an_oom_row_and_its_neighbours_are_ok(
    tmp_path: Path, memory_group: Path
) -> None:
    command = [sys.executable, str(HELPERS / "fault_memory_runner.py"), str(tmp_path), str(memory_group)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout.splitlines()[-1])
    assert (first, second) == ({"ok": 3, "oom": 1}, {"ok": 1})
    records = [path.read_text() for path in (tmp_path / "results" / "records").rglob("*.oom.json")]
    assert len(records) == 1
    assert "the kernel's out-of-memory killer ended it" in json.loads(records[0])["error_message"]
    assert len(ResultStore(tmp_path / "results").load()) == 4
