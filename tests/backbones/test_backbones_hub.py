"""Downloads from a hub that works, lacks the file, breaks off, or is not there: a local server plays the hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

CONTENT = os.urandom(300_000)
COMMIT = "a" * 40
NAME = "resnet18.a1_in1k"
FETCH = """
import json, sys, time
from pathlib import Path
from bob.backbones import hub, weights
from bob.backbones.catalogue import catalogue, find
from bob.core.errors import WeightsMissingError
hub.BACKOFF_S = 0.05
names, started, out = sys.argv[2:], time.monotonic(), []
for name in names:
    try:
        file = weights.fetch(find(name), weights_dirs=[], cache_dir=Path(sys.argv[1]))
        out.append({"sha256": file.sha256, "source": file.source})
    except WeightsMissingError as error:
        out.append({"error": str(error)})
print(json.dumps({"files": out, "seconds": time.monotonic() - started}))
"""


class Hub(http.server.ThreadingHTTPServer):
    """A hub with one repository; ``faults`` are spent one per request for the file's content."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = []
        self.files = {"model.safetensors": CONTENT}
        self.downloads = 0
        self.requests = []


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        self.server.requests.append(f"{self.command} {self.path}")

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        if self.path == "/":
            return self.plain(200)
        repository, _, file = self.path.partition("/resolve/main/")
        if repository != f"/timm/{NAME}":
            # As the real hub tells that there is no such repository.
            return self.plain(404, {"X-Error-Code": "RepoNotFound"})
        if file not in self.server.files:
            return self.plain(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        return self.file(self.server.files[file], body=body)

    def plain(self, status, headers=None):
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(key, value)
        self.end_headers()

    def file(self, content, *, body):
        fault = self.server.faults.pop(0) if body and self.server.faults else None
        if fault == "busy":
            return self.plain(503)
        self.send_response(200)
        etag = hashlib.sha256(content).hexdigest()
        for key, value in {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.server.downloads += 1
            self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = True


@pytest.fixture
def server():
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture
def fetch(tmp_path):
    def run(address, *names):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), *names]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def address_of(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_a_checkpoint_is_downloaded_once_and_then_found_in_the_cache(server, fetch):
    [first] = fetch(address_of(server), NAME)["files"]
    [again] = fetch(address_of(server), NAME)["files"]
    assert first == {"sha256": hashlib.sha256(CONTENT).hexdigest(), "source": "hub"}
    assert again == {**first, "source": "hub cache"}
    assert server.downloads == 1


def test_the_older_file_name_is_tried_when_the_newer_is_not_there(server, fetch):
    server.files = {"pytorch_model.bin": CONTENT}
    [file] = fetch(address_of(server), NAME)["files"]
    assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("faults", [["cut"], ["busy"], ["cut", "busy"]])
def test_a_transient_failure_is_tried_again_and_leaves_whole_weights(server, fetch, faults):
    server.faults = list(faults)
    [file] = fetch(address_of(server), NAME)["files"]
    assert file.get("sha256") == hashlib.sha256(CONTENT).hexdigest(), file
    assert not server.faults


def test_a_server_that_keeps_failing_gives_the_reason_and_the_next_step(server, fetch):
    server.faults = ["busy"] * 100
    [file] = fetch(address_of(server), NAME)["files"]
    assert "cannot be downloaded" in file["error"]
    assert "503" in file["error"]
    assert "--weights" in file["error"]


def test_a_repository_that_the_hub_does_not_have_is_said_at_once(server, fetch):
    [file] = fetch(address_of(server), "resnet34.a1_in1k")["files"]
    assert "has no repository 'timm/resnet34.a1_in1k'" in file["error"]


def test_a_repository_without_weights_is_said_at_once(server, fetch):
    server.files = {}
    [file] = fetch(address_of(server), NAME)["files"]
    assert "has none of model.safetensors, pytorch_model.bin" in file["error"]


def test_twenty_checkpoints_of_an_unreachable_hub_cost_seconds(fetch):
    from bob.backbones.catalogue import catalogue

    names = [entry.name for entry in catalogue() if entry.package is None][:20]
    found = fetch("http://127.0.0.1:9", *names)
    assert len(found["files"]) == 20
    assert all("http://127.0.0.1:9 cannot be reached" in file["error"] for file in found["files"])
    assert found["seconds"] < 5


def test_several_processes_download_a_checkpoint_once(server, fetch):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: fetch(address_of(server), NAME)["files"][0]["sha256"], range(3)))
    assert set(found) == {hashlib.sha256(CONTENT).hexdigest()}
    assert server.downloads == 1


def test_an_offline_setting_is_honoured_and_named(monkeypatch, tmp_path):
    from bob.backbones import hub, weights
    from bob.backbones.catalogue import find
    from bob.core.errors import WeightsMissingError

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_ask", lambda address: pytest.fail("the network was asked"))
    with pytest.raises(WeightsMissingError, match="HF_HUB_OFFLINE is set"):
        weights.fetch(find(NAME), weights_dirs=[], cache_dir=tmp_path)
