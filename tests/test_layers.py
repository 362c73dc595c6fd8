"""The import rules of docs/architecture.md: a layer imports only what stands below it; the torch-free parts stay so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from places import REPOSITORY

from bob.core.registry import load_reference, resolved
from bob.tasks.spec import TASKS

PACKAGE = REPOSITORY / "bob"

# The heads as data: what builds them stands with the other parts of heads.
HEAD_FILES = (
    "faster_rcnn",
    "cascade_rcnn",
    "mask_rcnn",
    "cascade_mask_rcnn",
    "fcos",
    "retinanet",
    "upernet",
    "deeplabv3plus",
)
DESCRIPTIONS = tuple(
    f"bob.heads.{name}" for name in (*HEAD_FILES, "fcn", "linear_head", "head_registry", "detector_options")
)

# Lowest first. A module belongs to the longest prefix that names it, and may import its own layer and those below.
LAYERS = (
    ("bob.core", "bob.jobs"),  # of bob.jobs only the package itself: its modules stand where they are named
    ("bob.backbones.backbone", "bob.data.dataset", "bob.data.corruptions.names", "bob.probes.post_hoc_scores"),
    (
        *("bob.jobs.job", "bob.jobs.needs", "bob.jobs.context", "bob.jobs.cluster_profile", "bob.jobs.suite"),
        "bob.jobs.suite_source",
        "bob.jobs.protocol_params",
        *("bob.jobs.provenance", "bob.jobs.code_version", "bob.jobs.row", "bob.jobs.artifacts"),
        *("bob.jobs.column", "bob.jobs.cost_columns"),
        "bob.jobs.profiles",
    ),
    (
        *("bob.tasks.spec", "bob.tasks.result", "bob.tasks.metric_columns", "bob.tasks.training_params"),
        *DESCRIPTIONS,
        "bob.tasks.classification.classification_spec",
    ),
    ("bob.store",),
    (
        "bob.backbones",
        "bob.data",
        "bob.metrics",
        "bob.jobs.estimate",
        "bob.jobs.request",
        "bob.jobs.suite_schema",
        "bob.jobs.asked",
    ),
    (
        "bob.probes",
        "bob.training",
        "bob.heads",
        "bob.jobs.plan",
        "bob.jobs.plan_data",
        "bob.jobs.data_overview",
        "bob.jobs.fetching",
        "bob.jobs.listings",
        "bob.reporting",
    ),
    ("bob.tasks",),
    ("bob.jobs.run",),
    ("bob.runners.state",),
    ("bob.runners.ranks", "bob.runners.worker"),
    ("bob.runners.local",),
    ("bob.runners.slurm",),
    ("bob.runners",),
    ("bob.api",),
    ("bob.cli", "bob.__main__"),
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


def imports(tree: ast.AST) -> Iterator[ast.stmt]:
    """Imports that run when the module does, or when one of its functions does; not those for type checking only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield node
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield from imports(node)


def names(nodes: Iterable[ast.AST]) -> set[str]:
    """The names of BoB's modules, and of what is imported from them, in some import statements."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bob"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("bob")}
    return found


def imported(path: Path) -> set[str]:
    """What is imported when this module is: imports inside functions are lazy, and for type checking only, none."""
    return names(ast.parse(path.read_text()).body)


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_its_own_layer_and_those_below(path):
    own = rank(module_name(path))
    assert own is not None, f"{module_name(path)} has no layer: add it to LAYERS"
    above = {name for name in imported(path) if (other := rank(name)) is not None and other > own}
    assert not above


def test_no_module_needs_itself_not_even_through_an_import_inside_a_function():
    known = {module_name(path) for path in MODULES}

    def module(name: str) -> str:
        return name if name in known else name.rpartition(".")[0]

    graph = {
        module_name(path): {module(name) for name in names(imports(ast.parse(path.read_text())))} & known
        for path in MODULES
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules
    assert len(order) == len(graph)


def test_no_two_modules_share_a_file_name():
    counts = Counter(path.name for path in MODULES if not path.name.startswith("__"))
    assert [name for name, count in counts.items() if count > 1] == []


def references() -> list[tuple[str, str]]:
    """Every ``module:attr`` text of the package, which no type checker sees, with the module it stands in."""
    form = re.compile(r"bob(\.\w+)+:\w+")
    return [
        (node.value, module_name(path))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and form.fullmatch(node.value)
    ]


def test_every_lazy_reference_leads_to_something():
    found = references()
    assert len(found) > 30
    for reference, where in found:
        assert load_reference(reference) is not None, where


def test_every_protocol_of_every_task_leads_to_a_function():
    for task in map(TASKS.get, TASKS):
        for protocol in task.protocols.values():
            for entry in filter(None, (protocol.run, task.check, task.cost)):
                assert callable(resolved(entry)), f"{task.name} {protocol.name}: {entry}"


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
