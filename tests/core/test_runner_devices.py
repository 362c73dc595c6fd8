"""What the machine offers, read from control groups, variables and the kernel, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bob.core import devices
from bob.core.devices import cgroup_cpus, choose_device, cpu_count, crowded, gpus, plan_slots
from bob.core.errors import ConfigError
from bob.core.oom_killer import oom_kills


def test_a_quota_of_an_outer_group_counts_too(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    inner = tmp_path / "root" / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    assert cgroup_cpus(membership, tmp_path / "root") is None
    (inner.parent / "cpu.max").write_text("350000 100000\n")
    assert cgroup_cpus(membership, tmp_path / "root") == 3.5


def test_a_quota_of_version_1_is_read(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/x\n3:cpu,cpuacct:/docker/abc\n")
    group = tmp_path / "root" / "cpu" / "docker" / "abc"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("-1")
    (group / "cpu.cfs_period_us").write_text("100000")
    assert cgroup_cpus(membership, tmp_path / "root") is None
    (group / "cpu.cfs_quota_us").write_text("150000")
    assert cgroup_cpus(membership, tmp_path / "root") == 1.5


def test_the_core_count_follows_the_affinity() -> None:
    command = "import os; from bob.core.devices import cpu_count; os.sched_setaffinity(0, {0}); print(cpu_count())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert 1 <= cpu_count() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("others", "expected"), [(10.0, False), (60.0, True)])
def test_a_crowded_machine_is_told_by_the_cores_we_may_use(
    monkeypatch: pytest.MonkeyPatch, others: float, expected: bool
) -> None:
    mine = os.sched_getaffinity(0)
    shares = [others if core in mine else 35.0 for core in range(max(mine) + 2)]
    monkeypatch.setattr(devices.psutil, "cpu_percent", lambda interval, percpu: shares)
    assert crowded() is expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ("0", "1", "2")), ("2,0", ("2", "0")), ("", ()), ("-1", ()), ("1,-1,2", ("1",)), ("GPU-ab", ("GPU-ab",))],
)
def test_the_visible_gpus_are_those_cuda_would_see(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(devices, "_nvidia_gpus", lambda: ("0", "1", "2"))
    assert gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_gpus_are_listed_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$1" in *uuid*) echo "0, GPU-ab, NVIDIA Thing 9";; *) echo 0;; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose_device("auto") == ("cuda", "NVIDIA Thing 9")
    assert choose_device("cpu")[0] == "cpu"
    tool.write_text("#!/bin/sh\necho 'no driver' >&2; exit 9\n")
    monkeypatch.setattr(devices, "DEV", tmp_path)
    assert gpus() == ()


def test_cores_are_shared_and_gpus_are_not() -> None:
    assert [s.threads for s in plan_slots(cores=4, gpu_names=(), memory_gb=100)] == [1, 1, 1, 1]
    assert [s.threads for s in plan_slots(cores=8, gpu_names=(), jobs=2, memory_gb=100)] == [4, 4]
    assert [s.threads for s in plan_slots(cores=8, gpu_names=(), memory_gb=7)] == [4, 4]
    assert [s.threads for s in plan_slots(cores=1, gpu_names=(), memory_gb=1)] == [1]
    assert [(s.device, s.gpu, s.threads) for s in plan_slots(workers=3, cores=8, gpu_names=())] == [("cpu", "", 2)] * 3
    two = plan_slots(cores=16, gpu_names=("0", "3"))
    assert [(s.device, s.gpu, s.threads) for s in two] == [("cuda:0", "0", 8), ("cuda:0", "3", 8)]
    assert len(plan_slots(workers=1, cores=16, gpu_names=("0", "3"))) == 1
    assert {s.device for s in plan_slots(device="cpu", cores=4, gpu_names=("0",))} == {"cpu"}


def test_a_machine_part_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_nvidia_gpus", lambda: ())
    with pytest.raises(ConfigError, match="no NVIDIA GPU"):
        plan_slots(device="cuda")
    with pytest.raises(ConfigError, match="'tpu' is not known"):
        plan_slots(device="tpu")
    with pytest.raises(ConfigError, match="0 workers"):
        plan_slots(workers=0)


def test_kills_for_memory_are_counted_in_the_own_group_before_the_machine(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert oom_kills(proc=proc, root=root) is None
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 7\n")
    assert oom_kills(proc=proc, root=root) == 7
    (proc / "self" / "cgroup").write_text("0::/job\n")
    (root / "job").mkdir(parents=True)
    (root / "job" / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    assert oom_kills(proc=proc, root=root) == 1
