"""Out of memory: the micro-batch shrinks, the effective batch and its gradient stay, and one picture is the end."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from training_toys import BATCH, CPU, LOSS, batch_of, network, search, trial

from bob.core.errors import OutOfMemoryError
from bob.training.inference import Forward
from bob.training.memory_backoff import PeakMemory, is_out_of_memory
from bob.training.search import run_search

CPU_SHORTAGE = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


class Hungry(nn.Module):
    """Fails like an allocator when more than ``room`` pictures go through at once, from call ``after`` on."""

    def __init__(self, inner: nn.Module, *, room: int, after: int = 0, error: Exception | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.room, self.after, self.error = room, after, error or RuntimeError(CPU_SHORTAGE)
        self.calls = 0
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.sizes.append(len(images))
        outputs = self.inner(images)
        if len(images) > self.room and self.calls > self.after:
            raise self.error
        return outputs


def gradients(model: nn.Module, micro_batch: int, size: int) -> dict[str, torch.Tensor]:
    run = trial(1e-3, model=model, clip_norm=0.0)
    run.stepper.micro_batch = micro_batch
    run.model.train()
    images, labels = batch_of(0, size)
    loss = run.stepper._gradients(images, labels)
    return {"loss": loss, **{name: p.grad.clone() for name, p in model.named_parameters()}}


@pytest.mark.parametrize(("size", "micro_batch"), [(8, 4), (8, 3), (7, 2), (5, 1)])
def test_accumulated_gradients_are_those_of_the_whole_batch(size, micro_batch):
    whole = gradients(network(batch_norm=False, dropout=0.0), size, size)
    parts = gradients(network(batch_norm=False, dropout=0.0), micro_batch, size)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_the_micro_batch_halves_until_it_fits_and_the_search_keeps_it(tmp_path):
    built = []

    def build(lr: float):
        built.append(Hungry(network(), room=3))
        return trial(lr, model=built[-1])

    found, _ = run_search(search(tmp_path, build=build))
    assert [entry["micro_batch"] for entry in found.trials] == [2, 2]
    assert built[0].sizes[:6] == [8, 4, 2, 2, 2, 2]
    assert built[1].sizes[:4] == [2, 2, 2, 2], "the second trial begins where the first one arrived"


def test_a_late_failure_restarts_the_step_from_the_same_state():
    """A shortage at step 6 must leave what a run with the small micro-batch from step 6 on would have."""
    late = trial(1e-2, model=Hungry(network(), room=4, after=5))
    planned = trial(1e-2, model=Hungry(network(), room=BATCH))
    torch.manual_seed(3)
    for step in range(8):
        late._step(*batch_of(step))
    torch.manual_seed(3)
    for step in range(8):
        if step == 5:
            planned.stepper.micro_batch = 4
        planned._step(*batch_of(step))
    assert late.stepper.micro_batch == 4
    for (name, mine), theirs in zip(late.model.state_dict().items(), planned.model.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_memory_that_runs_out_with_one_picture_is_an_error():
    run = trial(1e-3, model=Hungry(network(), room=0))
    with pytest.raises(OutOfMemoryError, match="one picture at a time"):
        run._step(*batch_of(0))


def test_another_error_is_not_taken_for_a_lack_of_memory():
    run = trial(1e-3, model=Hungry(network(), room=0, error=RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):
        run._step(*batch_of(0))
    assert run.stepper.micro_batch == BATCH


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_SHORTAGE)]
)
def test_every_allocators_error_is_recognised(error):
    assert is_out_of_memory(error)
    model = Hungry(network(), room=2, error=error)
    forward = Forward(model, device=CPU, precision="fp32")
    images, _ = batch_of(0)
    whole = Forward(network(), device=CPU, precision="fp32")(images)
    torch.testing.assert_close(forward(images), whole)
    assert forward.part == 2


def test_a_real_allocation_that_cannot_be_met_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_peak_sees_what_was_allocated_in_between():
    peak = PeakMemory(CPU)
    before = peak.mb()
    block = torch.ones(50_000_000, dtype=torch.float32)
    del block
    assert peak.mb() - before > 150


def test_the_loss_returned_is_the_mean_over_the_batch():
    run = trial(1e-3, model=network(dropout=0.0, batch_norm=False))
    images, labels = batch_of(0)
    expected = LOSS(run.model(images), labels) / len(labels)
    run.stepper.micro_batch = 3
    assert run.stepper.step(images, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.gpu
def test_the_peak_of_a_gpu_that_nothing_has_used_yet_can_be_measured():
    code = (
        "import torch; from bob.training.memory_backoff import PeakMemory\n"
        "assert not torch.cuda.is_initialized()\n"
        "peak = PeakMemory(torch.device('cuda:0')); kept = torch.zeros(1_000_000, device='cuda:0')\n"
        "assert 4.0 <= peak.mb() < 10"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
