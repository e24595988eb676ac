"""The folders are the architecture: what may import what, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import json
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
}
"""The one place where the library names the Ray backend: inside a function, when it is chosen."""

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
