"""Files are replaced whole or not at all, whatever happens to the writer."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from pathlib import Path

import pytest
from store_workers import BLOB_BYTES, start, wait_for, write_forever

from bob.core.files import canonical_json, digest, replacing, sha256_file, write_text


def test_killed_writer_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    path, log = tmp_path / "file", tmp_path / "log"
    pauses = random.Random(5)
    for _ in range(8):
        log.unlink(missing_ok=True)
        writer = start(write_forever, path, log)
        wait_for(log)
        deadline = time.monotonic() + pauses.uniform(0, 0.1)
        while time.monotonic() < deadline:
            content = path.read_bytes()
            assert len(content) == BLOB_BYTES and len(set(content)) == 1
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        content = path.read_bytes()
        assert len(content) == BLOB_BYTES and len(set(content)) == 1


def test_failed_write_keeps_the_old_content_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("the writer failed")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".tmp-")] == []


def test_temporary_file_lies_on_the_file_system_of_its_target(tmp_path: Path) -> None:
    with replacing(tmp_path / "deep" / "er" / "file") as temporary:
        assert temporary.parent == tmp_path / "deep" / "er"
        assert temporary.name.startswith(".tmp-")
        temporary.write_text("x")


def test_equal_values_have_one_text_and_unequal_ones_another_digest() -> None:
    assert canonical_json({"b": 1, "a": [1, None]}) == '{"a":[1,null],"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(math.nan)


def test_sha256_of_a_file_longer_than_a_chunk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 1_000_000)
    # The third example of FIPS 180-2: a million letters a.
    assert sha256_file(tmp_path / "a") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
