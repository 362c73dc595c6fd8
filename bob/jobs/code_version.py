"""What a submission was made of: code, versions, uncommitted changes. Compared again when its jobs start."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bob.core.plugins import code_of
from bob.core.version import __version__
from bob.jobs.job import Job
from bob.jobs.provenance import provenance

PACKAGE = Path(__file__).resolve().parent.parent
# What decides numbers: another version of one of these may give another score.
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scipy", "pillow", "pycocotools", "hotcoco")
GIT_TIMEOUT_S = 60
MAX_DIFF_BYTES = 5_000_000


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The code that a submission was made with.

    Attributes:
        git_commit: Of the checkout the package runs from; None for an installed package.
        git_dirty: Whether files differed from it; None as above.
        code: SHA-256 over the package's Python files and the user's own that the jobs name.
        versions: Of Python, of BoB, and of the packages that decide numbers.
    """

    git_commit: str | None
    git_dirty: bool | None
    code: str
    versions: tuple[tuple[str, str], ...]


def pin(plugins: Sequence[str] = ()) -> Pin:
    """Return what the code is now.

    Args:
        plugins: The user's own Python files that the jobs name.
    """
    facts = provenance()
    commit, dirty = facts["git_commit"], facts["git_dirty"]
    return Pin(
        git_commit=str(commit) if commit else None,
        git_dirty=None if dirty is None else bool(dirty),
        code=_code_digest(plugins),
        versions=tuple(sorted(_versions().items())),
    )


def plugin_code(job: Job) -> str:
    """Return the digest of the plug-in code that a job's number follows from, its backbone's aside; empty without any.

    That is the code which registered its task, its protocol, the reader of a data set of its, or an entry that one of
    its parameters names, such as a head or a score.
    """
    specs = [job.dataset_spec, *(other.spec for other in job.others)]
    names = {job.task, f"{job.task}/{job.protocol}", *(spec.kind for spec in specs if spec)}
    for _, value in job.params:
        names |= {item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, str)}
    return code_of(names)


def changes(before: Pin, after: Pin) -> list[str]:
    """Return what differs, a sentence each; nothing if the code is the same."""
    said = []
    if before.git_commit != after.git_commit:
        said.append(f"the commit was {before.git_commit} at the submission and is {after.git_commit} now")
    if before.code != after.code:
        said.append(f"the Python files differ from those of the submission ({before.code[:12]}, now {after.code[:12]})")
    old, new = dict(before.versions), dict(after.versions)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            said.append(f"{name} was {old.get(name)} at the submission and is {new.get(name)} now")
    return said


def dirty_diff() -> bytes:
    """Return the uncommitted changes of the checkout as a patch; empty without a checkout or changes."""
    folder = PACKAGE.parent
    if not (folder / ".git").exists():
        return b""
    command = ["git", "diff", "--no-ext-diff", "--no-textconv", "HEAD"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"# the changes could not be read: {error}\n".encode()
    if len(done.stdout) > MAX_DIFF_BYTES:
        return done.stdout[:MAX_DIFF_BYTES] + b"\n# ... cut here: the changes are larger than 5 MB\n"
    return done.stdout


def _code_digest(plugins: Sequence[str]) -> str:
    state = hashlib.sha256()
    own = [(path.relative_to(PACKAGE).as_posix(), path) for path in sorted(PACKAGE.rglob("*.py"))]
    for name, path in [*own, *((f"plugin {Path(plugin).name}", Path(plugin)) for plugin in sorted(plugins))]:
        state.update(f"{name}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "battle-of-the-backbones": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
