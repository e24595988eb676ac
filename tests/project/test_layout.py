"""The folders are the architecture: what may import what, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard, get_origin

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "distgraph"

LAZY_LINES: set[tuple[str, str]] = {
    ("distgraph/backends/__init__.py", "actors"),
    ("distgraph/cli/doctor.py", "actors"),
    ("distgraph/cli/serve.py", "actors"),
    ("distgraph/cli/top.py", "actors"),
}
"""Where the library names the Ray backend: inside a function, when it is chosen or looked at."""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("distgraph._internal", "distgraph.concurrency", "distgraph.langgraphs.vocabulary"),
    (
        "distgraph.constants",
        "distgraph.types",
        "distgraph.managed",
        "distgraph.logs",
        "distgraph.loss_policy",
        "distgraph.metrics",
        "distgraph.placement",
        "distgraph.ray_messages",
        "distgraph.status",
        "distgraph.warnings",
    ),
    ("distgraph.errors",),
    ("distgraph.spans", "distgraph.wire"),
    ("distgraph.runtime", "distgraph.config", "distgraph.interop"),
    ("distgraph.channels",),
    ("distgraph.contract",),
    ("distgraph.capacity",),
    ("distgraph.serde",),
    ("distgraph.streaming",),
    ("distgraph.engine",),
    ("distgraph.worker",),
    ("distgraph.persistence",),
    ("distgraph.driver",),
    ("distgraph.backends",),
    ("distgraph.callbacks", "distgraph.invocation", "distgraph.run", "distgraph.runs"),
    ("distgraph.event_streams", "distgraph.views"),
    ("distgraph.graph",),
    ("distgraph.func",),
    ("distgraph.prebuilt",),
    ("distgraph.langgraphs",),
    ("distgraph.agents",),
    ("distgraph.serve",),
    ("distgraph.cli",),
    ("distgraph",),
    ("actors",),
)
"""Packages and modules from the lowest floor to the highest. A module imports only from its own
floor and from lower ones; imports inside functions and for type checkers count. The longest name in
the table decides."""

UPWARD: set[tuple[str, str]] = {
    ("distgraph/backends/__init__.py", "actors.backend"),  # the default backend, when it is chosen
    ("distgraph/cli/doctor.py", "actors.doctor"),  # the command line, when it looks at a cluster
    ("distgraph/cli/serve.py", "actors.serve"),  # and when it serves from one
    ("distgraph/cli/top.py", "actors.overview"),
}
"""Imports from a higher floor that are left."""

LARGEST_CIRCLE = 4
"""Files of the largest import circle, imports inside functions and for type checkers included."""

LARGEST_FILE = 700
"""Lines of the largest file. A file that outgrows it holds more than one idea."""

HEAVY = ("ray", "actors", "langchain_core", "langgraph", "pydantic", "numpy", "openai", "rich")
"""What ``import distgraph`` must not load."""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _modules(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def _imports(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield every module that a file imports, also by name through importlib."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", node
        elif isinstance(node, ast.Call) and getattr(
            node.func, "attr", getattr(node.func, "id", "")
        ) in ("import_module", "__import__"):
            names = [c.value for arg in node.args for c in ast.walk(arg) if _is_text(c)]
            yield from ((name, node) for name in names)


def _is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _below(module: str, packages: tuple[str, ...]) -> str | None:
    return next((p for p in packages if module == p or module.startswith(f"{p}.")), None)


def test_the_library_imports_neither_ray_nor_the_ray_backend() -> None:
    found = {
        (_name(path), package)
        for path in _modules(LIBRARY)
        for module, _ in _imports(path)
        if (package := _below(module, ("ray", "actors")))
    }
    assert found <= LAZY_LINES


def test_the_lazy_line_is_inside_a_function() -> None:
    for file, package in sorted(LAZY_LINES):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        top = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = [getattr(n, "module", None) or n.names[0].name for n in top]
        assert not [n for n in names if _below(n, (package,))], file


def test_the_engine_is_pure() -> None:
    impure = ("asyncio", "threading", "time", "socket", "queue", "random", "concurrent", "os")
    found = [
        (_name(path), module)
        for path in _modules(LIBRARY / "engine")
        for module, _ in _imports(path)
        if _below(module, impure)
    ]
    assert found == []


def _own_modules() -> dict[str, Path]:
    names = {}
    for package in ("distgraph", "actors"):
        for path in _modules(ROOT / package):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def _own_imports(path: Path, own: dict[str, Path]) -> set[str]:
    """Return the project's modules that a file imports; a package only where it is meant itself."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    found &= own.keys()
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def _floor(module: str) -> int:
    names = {name: level for level, names in enumerate(FLOORS) for name in names}
    parts = module.split(".")
    return next(
        names[name] for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in names
    )


def test_a_module_imports_only_from_its_own_floor_and_lower_ones() -> None:
    own = _own_modules()
    upward = {
        (_name(path), imported)
        for module, path in own.items()
        for imported in _own_imports(path, own)
        if _floor(imported) > _floor(module)
    }
    assert upward <= UPWARD


def test_no_import_circle_is_large() -> None:
    own = _own_modules()
    imports = {module: _own_imports(path, own) - {module} for module, path in own.items()}
    reached: dict[str, set[str]] = {}
    for module in own:
        seen: set[str] = set()
        todo = [module]
        while todo:
            new = imports[todo.pop()] - seen
            seen |= new
            todo += new
        reached[module] = seen
    circles = {
        frozenset(other for other in seen if module in reached[other])
        for module, seen in reached.items()
        if module in seen
    }
    assert {circle for circle in circles if len(circle) > LARGEST_CIRCLE} == set()


def test_no_file_is_large() -> None:
    lines = {
        _name(path): len(path.read_text(encoding="utf-8").splitlines())
        for package in ("distgraph", "actors")
        for path in _modules(ROOT / package)
    }
    assert {name: count for name, count in lines.items() if count > LARGEST_FILE} == {}


def test_langgraph_s_private_names_stand_in_one_file() -> None:
    private = re.compile(r"langgraph\._internal|langgraph\.\w+\._|__pregel")
    found = {
        _name(path)
        for package in ("distgraph", "actors")
        for path in _modules(ROOT / package)
        if private.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"distgraph/langgraphs/vocabulary.py"}


def test_the_translation_of_langgraphs_graphs_needs_no_builder() -> None:
    found = {
        (_name(path), module)
        for path in _modules(LIBRARY / "langgraphs")
        for module, _ in _imports(path)
        if _below(module, ("distgraph.graph.state", "distgraph.prebuilt.chat_agent_executor"))
    }
    assert found == set()


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = (
        "import json, sys, time; start = time.perf_counter(); import distgraph; "
        "spent = time.perf_counter() - start; "
        "print(json.dumps({'ms': spent * 1000, 'modules': sorted(sys.modules)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    # For the reader of the log: a clock on a shared machine is no ground for a failure.
    print(f"import distgraph: {seen['ms']:.0f} ms, {len(seen['modules'])} modules")
    assert [m for m in seen["modules"] if m in HEAVY] == []


@pytest.mark.parametrize("package", ["distgraph", "actors"])
def test_every_module_says_what_it_is(package: str) -> None:
    silent = []
    for path in _modules(ROOT / package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            silent.append(_name(path))
    assert silent == []


def test_every_public_name_of_the_library_exists_and_has_a_docstring() -> None:
    import distgraph

    missing = []
    for name in distgraph.__all__:
        value = getattr(distgraph, name)
        is_alias = get_origin(value) is not None  # a routine, to Python 3.10
        if not is_alias and (inspect.isroutine(value) or inspect.isclass(value)):
            missing += [] if value.__doc__ else [name]
    assert missing == []


def test_the_version_is_the_same_everywhere() -> None:
    import distgraph

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{distgraph.__version__}"\n' in text
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{distgraph.__version__}]" in changelog
