"""`bob doctor`: is this machine fit to run, and if not, what to do. It may take a while: it imports everything."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from bob.cli.common import print_json, settings_from
from bob.core.errors import BobError
from bob.core.settings import Settings

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "torchmetrics",
    "pandas",
    "pyarrow",
    "pycocotools",
    "submitit",
)
LEAST_FREE_GB = 2.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        ok: Whether it will do.
        text: What was found.
        next: What to do if it will not do.
    """

    name: str
    ok: bool
    text: str
    next: str = ""


def doctor(options: argparse.Namespace) -> int:
    """Print every finding; exit 1 if one of them would stop a run."""
    settings = settings_from(options)
    findings = [*_python(), *_packages(), *_devices(), *_folders(settings), *_weights(settings)]
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    return 0 if all(finding.ok for finding in findings) else 1


def _print(findings: list[Finding]) -> None:
    from rich.markup import escape

    from bob.core.terminal import Terminal

    console = Terminal()
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[red]fail[/]"
        console.print(f"{mark} {finding.name:14} {escape(finding.text)}", highlight=False, soft_wrap=True)
        if finding.next:
            console.print(f"     next: {escape(finding.next)}", highlight=False, soft_wrap=True)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(name="python", ok=sys.version_info >= (3, 10), text=f"{version} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            module = importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            yield Finding(name=name, ok=False, text=f"cannot be imported: {error}", next=_package_advice())
            continue
        yield Finding(name=name, ok=True, text=getattr(module, "__version__", "version unknown"))


def _package_advice() -> str:
    from importlib import metadata

    found = {name: metadata.version(name) for name in ("torch", "torchvision") if _installed(name)}
    if "+cpu" in found.get("torch", "") and "+cpu" not in found.get("torchvision", "+cpu"):
        return (
            f"torch {found['torch']} is a CPU-only build and torchvision {found['torchvision']} is not: torchvision's "
            "operators are missing, and timm cannot be imported. Install the pair from one place: "
            "pip install --force-reinstall -c constraints.txt torch torchvision"
        )
    return "pip install -c constraints.txt -e '.[dev]' in the project's folder"


def _installed(name: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _devices() -> Iterator[Finding]:
    from bob.core.devices import choose_device, cpu_count

    device, hardware = choose_device("auto")
    yield Finding(name="device", ok=True, text=f"{device}: {hardware}; {cpu_count()} CPU cores to use")


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("results", settings.results_dir), ("cache", settings.cache_dir)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                free_gb = shutil.disk_usage(folder).free / 1e9
        except OSError as error:
            yield Finding(name=name, ok=False, text=f"{folder}: {error}", next=f"choose another with --{name} DIR")
            continue
        enough = free_gb >= LEAST_FREE_GB
        advice = "" if enough else f"free some space, or choose another folder with --{name} DIR"
        yield Finding(name=name, ok=enough, text=f"{folder.absolute()}: {free_gb:.1f} GB free", next=advice)


def _weights(settings: Settings) -> Iterator[Finding]:
    from bob.backbones import catalogue, hub, weights

    here = []
    for backbone in catalogue.catalogue():
        try:
            weights.locate(backbone, weights_dirs=settings.weights_dirs, cache_dir=settings.cache_dir)
            here.append(backbone.name)
        except BobError:
            continue
    total = len(catalogue.catalogue())
    yield Finding(name="weights", ok=bool(here), text=f"{len(here)} of {total} checkpoints here: {', '.join(here[:6])}")
    reason = hub.unreachable()
    text = "reachable" if reason is None else f"not reachable ({reason}); what is not here will be skipped"
    yield Finding(name="hub", ok=True, text=text)
