"""Checkpoints and hubs that attack: none of their code is run, nothing leaves the caches, no secret is told."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from bob.backbones import catalogue, hub
from bob.backbones.checkpoints import read_state
from bob.backbones.weights import locate
from bob.core.errors import DataMissingError, UnknownNameError, WeightsError
from bob.core.text import without_secrets
from bob.data.downloads import bring
from bob.probes.feature_files import load_features, write_meta
from bob.training.checkpoint import Checkpoints

NAME = "resnet18.a1_in1k"


class _Runs:
    """What a pickle of it does: it leaves a file, as it could leave anything."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def _zip(path, evil):
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": evil}, path)


def _legacy(path, evil):
    torch.save({"weight": evil}, path, _use_new_zipfile_serialization=False)


def _bare(path, evil):
    path.write_bytes(pickle.dumps({"weight": evil}))


def _old_protocol(path, evil):
    path.write_bytes(pickle.dumps(evil, protocol=0))


def _tar(path, evil):
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(evil)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _numpy_objects(path, evil):
    torch.save({"weight": np.array([evil], dtype=object)}, path)


def _tensor_attributes(path, evil):
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.note = evil
    torch.save({"weight": weight}, path)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("make", [_zip, _legacy, _bare, _old_protocol, _tar, _numpy_objects, _tensor_attributes])
def test_no_layout_of_a_checkpoint_gets_its_code_run(tmp_path, monkeypatch, make, suffix):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # torch's own switch must not matter
    path, mark = tmp_path / f"evil{suffix}", tmp_path / "ran"
    make(path, _Runs(mark))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(path)
    assert not mark.exists()


def test_the_attack_above_would_work_on_a_reader_that_trusts(tmp_path):
    mark = tmp_path / "ran"
    _zip(tmp_path / "evil.pth", _Runs(mark))
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert mark.exists()


def test_the_error_names_the_code_and_does_not_advise_to_trust_it(tmp_path):
    _zip(tmp_path / "evil.pth", _Runs(tmp_path / "ran"))
    with pytest.raises(WeightsError) as caught:
        read_state(tmp_path / "evil.pth")
    text = str(caught.value)
    assert "posix.system" in text and "weights_only" not in text and ".safetensors" in text


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with pytest.raises(WeightsError, match="TorchScript"):
        read_state(tmp_path / "script.pt")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
        {key: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for key in "ab"},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "os.system", "shape": [1], "data_offsets": [0, 4]}},
    ],
)  # fmt: skip
def test_a_safetensors_header_that_lies_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "evil.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"0000")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path / "evil.safetensors")


def test_a_safetensors_header_of_any_length_or_depth_is_refused(tmp_path):
    for content in (struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 600_000) + b'{"a":' * 120_000):
        (tmp_path / "evil.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match="cannot be read"):
            read_state(tmp_path / "evil.safetensors")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new", [False, True])
def test_any_damage_to_a_checkpoint_is_a_plain_error_or_tensors(tmp_path, new):
    torch.save(
        {"weight": torch.zeros(3), "bias": torch.ones(2)}, tmp_path / "good.pth", _use_new_zipfile_serialization=new
    )
    content, path = (tmp_path / "good.pth").read_bytes(), tmp_path / "bad.pth"
    dice = random.Random(0)
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        path.write_bytes(bytes(changed))
        try:
            assert all(isinstance(value, torch.Tensor) for value in read_state(path).values())
        except WeightsError:
            continue


def test_a_backbones_name_never_becomes_a_path_or_an_address():
    for name in ("../../evil.in1k", "hf-hub:evil/model", "local-dir:/tmp/evil", "/tmp/evil.in1k", "../x.random"):
        with pytest.raises(UnknownNameError, match="not known"):
            catalogue.find(name)


def test_a_pipe_or_device_in_a_weights_folder_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / f"{NAME}.pth")
    (tmp_path / f"{NAME}.safetensors").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="not on this machine"):
        locate(catalogue.find(NAME), weights_dirs=[tmp_path], cache_dir=tmp_path / "cache")


def test_a_resumed_training_and_kept_features_run_no_code(tmp_path, caplog):
    mark = tmp_path / "ran"
    store = Checkpoints(tmp_path / "work")
    (tmp_path / "work").mkdir(exist_ok=True)
    for name in ("latest.pt", "best.pt"):
        torch.save({"step": _Runs(mark)}, tmp_path / "work" / name)
    assert store.load() is None and store.load_best() is None and "cannot be read" in caplog.text
    write_meta(tmp_path, ("a",), {"splits": ["test"]})
    (tmp_path / "test-ids.json").write_text("[]")
    for name in ("test-labels.npy", "test.npy"):
        np.save(tmp_path / "test.npy", np.zeros((1, 2), dtype=np.float32))
        np.save(tmp_path / "test-labels.npy", np.zeros(1, dtype=np.int64))
        np.save(tmp_path / name, np.array([_Runs(mark)], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match=r"allow_pickle|Python objects"):
            load_features(tmp_path)["test"]
    assert not mark.exists()


class _Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror of the hub that answers with an ETag and a commit of its choice."""

    answer = ("a" * 64, "b" * 40)

    def log_message(self, *_):
        """Say nothing."""

    def do_HEAD(self):
        self._send(b"")

    def do_GET(self):
        self._send(b"from the mirror")

    def _send(self, body):
        etag, commit = self.answer
        self.send_response(200)
        for key, value in {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Content-Length": "15"}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


DOWNLOAD = """
from bob.backbones import catalogue, hub
try:
    print(hub.download(catalogue.find("resnet18.a1_in1k")))
except hub.HubError as error:
    print("HubError:", error)
"""


@pytest.mark.parametrize(
    ("etag", "commit"), [("../../../../escaped", "b" * 40), ("a" * 64, "../../../../../escaped"), ("..", "b" * 40)]
)
def test_a_hub_that_names_a_path_writes_nothing_outside_the_cache(tmp_path, etag, commit):
    handler = type("Handler", (_Mirror,), {"answer": (etag, commit)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": f"http://user:hunter2@127.0.0.1:{server.server_address[1]}", "no_proxy": "127.0.0.1"}
    environment |= {"HF_HOME": str(tmp_path / "deep" / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    server.shutdown()
    assert "no name for a file" in done.stdout and "hunter2" not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"from the mirror"]


def test_errors_that_become_rows_tell_no_token_and_no_password():
    token = "hf_" + hashlib.sha256(b"x").hexdigest()[:34]
    told = without_secrets(
        f"403 for url: https://me:hunter2@mirror.example/x?X-Amz-Signature=abcd&a=b (Authorization: Bearer {token})"
    )
    assert told == "403 for url: https://...@mirror.example/x?... (Authorization: Bearer hf_...)"
    assert "hunter2" not in str(hub.HubError("https://me:hunter2@mirror.example cannot be reached"))


def test_an_archive_cannot_be_unpacked_outside_its_folder(tmp_path):
    archive = tmp_path / "data.tar"
    for member in ("../escaped", "folder/../../escaped", str(tmp_path / "escaped"), "folder/link/escaped"):
        with tarfile.open(archive, "w") as tar:
            if "link" in member:
                link = tarfile.TarInfo("folder/link")
                link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
                tar.addfile(link)
            entry = tarfile.TarInfo(member)
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))

        def download(place: Path) -> None:
            with tarfile.open(archive) as tar:
                tar.extractall(place)  # as a library does that asks for no filter

        with pytest.raises(DataMissingError, match="could not be downloaded"):
            bring("evil", "folder", download, cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
        assert not list(tmp_path.rglob("escaped"))
