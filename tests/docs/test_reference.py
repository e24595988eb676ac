"""The API reference has every public name, and names only objects that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import distgraph

API = Path(__file__).parents[2] / "docs" / "reference" / "api"
MODULES = {
    "distgraph": "distgraph",
    "distgraph.agents": "agents",
    "distgraph.callbacks": "callbacks",
    "distgraph.channels": "channels",
    "distgraph.config": "runtime",
    "distgraph.errors": "errors",
    "distgraph.func": "func",
    "distgraph.graph": "graph",
    "distgraph.prebuilt": "prebuilt",
    "distgraph.runs": "runs",
    "distgraph.runtime": "runtime",
    "distgraph.types": "types",
}
"""Public modules, and the page of each."""


def _objects(page: str) -> list[str]:
    return re.findall(r"^::: (\S+)", (API / f"{page}.md").read_text("utf-8"), re.MULTILINE)


def _resolve(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", sorted(path.stem for path in API.glob("*.md")))
def test_every_object_of_a_page_exists_and_has_a_docstring(page: str) -> None:
    assert [path for path in _objects(page) if not _resolve(path).__doc__] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_of_a_module_is_on_its_page(module: str) -> None:
    page = MODULES[module]
    text = (API / f"{page}.md").read_text("utf-8")
    documented = set(re.findall(r"`([\w.]+)`", text))
    for path in _objects(page):
        found = _resolve(path)
        if isinstance(found, ModuleType):
            documented |= set(getattr(found, "__all__", None) or vars(found))
        documented.add(path.rpartition(".")[2])
    public = getattr(importlib.import_module(module), "__all__", ())
    assert sorted(set(public) - documented - {"__version__"}) == []


def test_lazily_imported_names_of_the_package_are_on_its_page() -> None:
    text = (API / "distgraph.md").read_text("utf-8")
    names = [name for name in dir(distgraph) if name[0].isalpha() and name in distgraph._HOMES]
    objects = {path.rpartition(".")[2] for path in _objects("distgraph")}
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in text and name not in objects] == []
