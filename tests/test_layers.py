"""The import rules of docs/architecture.md: a layer imports only what stands below it; the torch-free parts stay so."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "bob"

# Lowest first. A module belongs to the longest prefix that names it, and may import its own layer and those below.
LAYERS = (
    (
        "bob.version",
        "bob.child",
        "bob.visible",
        "bob.terminal",
        "bob.errors",
        "bob.files",
        "bob.registry",
        "bob.lease",
        "bob.settings",
        "bob.yaml_source",
        "bob.hardware",
        "bob.memory",
    ),
    ("bob.backbones.spec", "bob.data.spec", "bob.data.corruptions.names"),
    ("bob.job", "bob.context", "bob.cluster", "bob.suite", "bob.provenance", "bob.pins", "bob.row", "bob.needs"),
    ("bob.artifacts", "bob.tasks.spec", "bob.tasks.result", "bob.tasks.classification_spec"),
    ("bob.store",),
    ("bob.backbones", "bob.data", "bob.metrics", "bob.params", "bob.estimate"),
    ("bob.profiling", "bob.probes", "bob.training", "bob.heads", "bob.plan", "bob.plan_data", "bob.report"),
    ("bob.tasks",),
    ("bob.run",),
    ("bob.runners",),
    ("bob.cli",),
)
RANKS = {prefix: rank for rank, layer in enumerate(LAYERS) for prefix in layer}
TORCH_FREE_COMMANDS = (
    ["--help"],
    ["list", "backbones"],
    ["list", "tasks"],
    ["list", "datasets"],
    ["list", "suites"],
    ["plan", "smoke", "--json"],
)
HEAVY = ("torch", "pandas", "pyarrow", "scipy", "timm", "matplotlib")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rank(module: str) -> int | None:
    prefixes = [prefix for prefix in RANKS if module == prefix or module.startswith(prefix + ".")]
    return RANKS[max(prefixes, key=len)] if prefixes else None


def imported(path: Path) -> set[str]:
    """Modules imported when this one is: imports inside functions are lazy, and for type checking only, none."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bob"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("bob")}
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_its_own_layer_and_those_below(path):
    own = rank(module_name(path))
    assert own is not None, f"{module_name(path)} has no layer: add it to LAYERS"
    above = {name for name in imported(path) if (other := rank(name)) is not None and other > own}
    assert not above


@pytest.mark.parametrize("arguments", TORCH_FREE_COMMANDS, ids=" ".join)
def test_planning_commands_import_nothing_heavy(arguments, tmp_path):
    code = (
        "import sys\n"
        "from bob.cli import main\n"
        "try:\n    assert main(sys.argv[1:]) == 0\n"
        "except SystemExit as stop:\n    assert '--help' in sys.argv and not stop.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["status"], ["report"]], ids=" ".join)
def test_reading_results_imports_no_torch(arguments, tmp_path):
    (tmp_path / "results").mkdir()
    code = (
        "import sys\n"
        "from bob.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)\n"
    )
    command = [sys.executable, "-c", code, *arguments, "--results", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_file_is_over_400_lines_and_no_function_over_60():
    long_files = [module_name(path) for path in MODULES if len(path.read_text().splitlines()) > 400]
    long_functions = [
        f"{module_name(path)}.{node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert (long_files, long_functions) == ([], [])
