"""Under which circumstances a number came about: host, versions, commit. Read without importing what is asked about."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from datetime import datetime, timezone
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from bob.core.version import __version__


@lru_cache(maxsize=1)
def provenance() -> dict[str, str | bool | None]:
    """Return host, Python, torch, timm and bob versions, and the git commit with its dirty flag, as row columns."""
    commit, dirty = _git_state(Path(__file__).resolve().parents[2])
    return {
        "host": socket.gethostname(),
        "python_version": platform.python_version(),
        "torch_version": _version("torch"),
        "timm_version": _version("timm"),
        "bob_version": __version__,
        "git_commit": commit,
        "git_dirty": dirty,
    }


@lru_cache(maxsize=1)
def library_versions() -> tuple[str | None, str | None]:
    """Return the versions of torch and timm, which decide the bits of a feature."""
    return _version("torch"), _version("timm")


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def allocation_id() -> str:
    """Return SLURM's number of the allocation this process runs in, as users write it; empty outside of one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return commit and dirty flag of the checkout the package runs from; (None, None) for an installed package."""
    if not (folder / ".git").exists():
        return None, None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
