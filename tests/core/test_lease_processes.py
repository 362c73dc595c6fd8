"""Leases between real processes: one holder at a time, freed by death and by silence."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from store_workers import count_under_lease, hold_forever, start, wait_for

from bob.core.lease import TTL_S, Lease, holding


@pytest.fixture
def lease_path(tmp_path: Path) -> Path:
    return tmp_path / "leases" / "x.lease"


def _foreign(path: Path, *, age_s: float) -> None:
    """Leave a lease of a process on another host, last touched so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "born": 0.0}))
    os.utime(path, (time.time() - age_s,) * 2)


def test_holders_in_many_processes_exclude_each_other(lease_path: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    workers = [start(count_under_lease, lease_path, counter, 25) for _ in range(4)]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert counter.read_text() == "100"


def test_lease_of_a_killed_holder_is_free_at_once(lease_path: Path, tmp_path: Path) -> None:
    worker = start(hold_forever, lease_path, tmp_path / "log")
    wait_for(tmp_path / "log")
    assert Lease.try_take(lease_path) is None
    os.kill(worker.pid, signal.SIGKILL)
    # Not reaped yet: the holder is a zombie, which must count as gone.
    before = time.monotonic()
    with holding(lease_path, timeout_s=10):
        assert time.monotonic() - before < 5
    worker.join()


def test_lease_of_another_host_stands_while_it_is_touched_and_falls_when_it_is_not(lease_path: Path) -> None:
    _foreign(lease_path, age_s=TTL_S / 2)
    assert Lease.try_take(lease_path) is None
    _foreign(lease_path, age_s=TTL_S + 5)
    lease = Lease.try_take(lease_path)
    assert lease is not None and lease.held()
    lease.release()
    assert not lease_path.exists()


def test_reused_process_id_does_not_keep_a_dead_holders_lease(lease_path: Path) -> None:
    lease_path.parent.mkdir()
    dead = {"token": "t", "host": socket.gethostname(), "pid": os.getpid(), "born": 1.0}
    lease_path.write_text(json.dumps(dead))
    lease = Lease.try_take(lease_path)
    assert lease is not None
    lease.release()


def test_stalled_holder_sees_its_loss_and_leaves_the_successor_alone(lease_path: Path) -> None:
    stalled = Lease.try_take(lease_path)
    assert stalled is not None
    _foreign(lease_path, age_s=0)  # what a successor elsewhere left after this holder stalled
    assert not stalled.held()
    stalled.release()
    assert lease_path.exists()


def test_two_that_see_one_stale_lease_do_not_both_get_it(lease_path: Path) -> None:
    _foreign(lease_path, age_s=TTL_S + 5)
    first = Lease.try_take(lease_path)
    assert first is not None
    assert Lease.try_take(lease_path) is None
    first.release()


@pytest.mark.parametrize("content", ["", '{"token"', "\x00\x00"])
def test_unreadable_lease_is_freed_by_age_alone(lease_path: Path, content: str) -> None:
    lease_path.parent.mkdir()
    lease_path.write_text(content)
    assert Lease.try_take(lease_path) is None
    os.utime(lease_path, (time.time() - TTL_S - 5,) * 2)
    lease = Lease.try_take(lease_path)
    assert lease is not None
    lease.release()


def test_waiting_for_a_held_lease_ends_at_the_timeout(lease_path: Path) -> None:
    with holding(lease_path), pytest.raises(TimeoutError, match=str(os.getpid())), holding(lease_path, timeout_s=0.3):
        pytest.fail("a held lease was taken")


def test_nothing_but_the_lease_is_left_beside_it(lease_path: Path) -> None:
    with holding(lease_path):
        assert [path.name for path in lease_path.parent.iterdir()] == ["x.lease"]
    assert list(lease_path.parent.iterdir()) == []
