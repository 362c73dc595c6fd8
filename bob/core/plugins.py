"""What users add without a fork: entries of any registry, from a Python file or from an installed package.

A file is named with ``--plugin FILE``, under ``plugins`` in a suite, or with ``bob.load_plugin``. It is run, and what
it registers is there from then on: backbones, tasks, protocols, heads, scores, data set readers, metric columns. An
installed package does the same with one entry point of the group ``bob.plugins``, whose value is the module to import::

    [project.entry-points."bob.plugins"]
    my_lab = "my_lab.bob_entries"

Each entry is known by the code that registered it. Jobs that use it carry the digest of that code in their id, so that
a changed file makes new jobs and never takes the rows of the old code for those of the new.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bob.core.errors import BobError
from bob.core.files import digest, sha256_file

GROUP = "bob.plugins"
# The modules whose import fills a registry with BoB's own entries.
REGISTRIES = (
    "bob.backbones.user_backbones",
    "bob.data.readers",
    "bob.heads.head_registry",
    "bob.probes.post_hoc_scores",
    "bob.tasks.metric_columns",
    "bob.tasks.spec",
)
EXTENSIBLE = "a backbone, task, protocol, head, score, reader or metric column (docs/extending.md)"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The code that registers entries.

    Attributes:
        file: The Python file; of a package the module that its entry point names.
        digest: Of the file's content, and of the version of its package.
    """

    file: Path
    digest: str


_loading: contextvars.ContextVar[Source | None] = contextvars.ContextVar("bob_plugin", default=None)
_registered: dict[tuple[str, str], Source] = {}
_loaded: dict[Path, str] = {}
_installed: dict[str, metadata.EntryPoint] = {}


def source() -> Source | None:
    """Return the code that is registering entries at this moment; None outside a plug-in."""
    return _loading.get()


def source_of(kind: str, name: str) -> Source | None:
    """Return the plug-in that registered an entry; None for BoB's own."""
    return _registered.get((kind, name))


def may_replace(kind: str, name: str) -> bool:
    """Tell whether the plug-in that is being loaded registered this entry itself, in an earlier state or a copy."""
    now, before = source(), source_of(kind, name)
    return now is not None and before is not None and (now.file == before.file or now.digest == before.digest)


def note(kind: str, name: str) -> None:
    """Remember who registers an entry."""
    now = source()
    if now is not None:
        _registered[kind, name] = now


def code_of(names: Collection[str], *, but: str = "backbone") -> str:
    """Return one digest of all plug-in code that registered entries of these names; empty if none did.

    Args:
        names: Of a job's task, protocol, reader, and the parameters' values that name entries.
        but: A kind that does not count: a backbone's code is in its own identity.
    """
    found = sorted({known.digest for (kind, name), known in _registered.items() if name in names and kind != but})
    return digest(found) if found else ""


def load_plugin(path: Path | str) -> None:
    """Run a user's Python file, which registers its entries. Running the same content again does nothing.

    Raises:
        BobError: There is no such file, it fails, or it registers nothing.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise BobError(f"plug-in file '{path}' is not there: expected a Python file that registers {EXTENSIBLE}.")
    content = sha256_file(path)
    if _loaded.get(path) == content:
        return
    state = Source(file=path, digest=content)
    with _registering(state):
        _run(path, content)
    if state not in _registered.values():
        raise BobError(f"plug-in file '{path}' registers nothing: expected {EXTENSIBLE}.")
    _loaded[path] = content


def load_installed() -> None:
    """Import the plug-ins of installed packages, once.

    Raises:
        BobError: One cannot be imported; the message names its package.
    """
    for point in _points(tuple(sys.path)):
        key = f"{point.name} = {point.value}"
        if key in _installed:
            continue
        _installed[key] = point  # before it is imported: what it looks up may miss, and come here again
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        with _registering(_source_of_point(point, package)):
            try:
                point.load()
            except Exception as error:
                del _installed[key]
                if isinstance(error, BobError):
                    raise
                raise BobError(
                    f"the plug-in {point.name!r} of package {package} fails when it is imported: "
                    f"{type(error).__name__}: {error}.",
                    hint="Repair it, or remove it: pip uninstall " + package.partition(" ")[0],
                ) from error


@functools.lru_cache(maxsize=8)
def _points(path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """Return the entry points of the packages on ``sys.path``: reading all packages takes 10 ms, and names are many."""
    return tuple(metadata.entry_points(group=GROUP))


def _source_of_point(point: metadata.EntryPoint, package: str) -> Source:
    try:
        found = importlib.util.find_spec(point.module)
    except ImportError:
        found = None
    file = Path(found.origin) if found is not None and found.origin else None
    content = sha256_file(file) if file is not None and file.is_file() else ""
    return Source(file=file or Path(point.module), digest=digest([package, content]))


@contextlib.contextmanager
def _registering(source: Source) -> Iterator[None]:
    for name in REGISTRIES:  # first: what they register themselves is not the plug-in's, though it imports them
        importlib.import_module(name)
    token = _loading.set(source)
    try:
        yield
    finally:
        _loading.reset(token)


def _run(path: Path, content: str) -> None:
    name = f"bob_plugin_{path.stem}_{content[:12]}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise BobError(f"plug-in file '{path}' is not a Python file: expected a name that ends in '.py'.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look their module up there
    try:
        module_spec.loader.exec_module(module)
    except BobError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        kind = type(error).__name__
        raise BobError(f"plug-in file '{path}' fails when it is loaded: {kind}: {error}.") from error
