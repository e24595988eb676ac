"""The page on architecture names what the code has: floors, files, and the symbols in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project.test_layout import FLOORS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "project" / "architecture.md").read_text(encoding="utf-8")

FILES = sorted(set(re.findall(r"`((?:distgraph|actors|tests)/[\w/]*(?:\.py|/))`", PAGE)))
SYMBOLS = sorted(
    set(re.findall(r"`(\w+(?:\.[a-z_]+)?)`,? (?:\(|in )`((?:distgraph|actors)/[\w/]+\.py)`", PAGE))
)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_the_page_names_exists(file: str) -> None:
    assert (ROOT / file).exists()


@pytest.mark.parametrize(("symbol", "file"), SYMBOLS)
def test_a_symbol_that_the_page_names_is_in_its_file(symbol: str, file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    name, _, member = symbol.partition(".")
    found = {_name(node): node for node in tree.body}
    assert name in found
    if member:
        owner = found[name]
        assert isinstance(owner, ast.ClassDef)
        assert member in {_name(node) for node in owner.body}


def _name(node: ast.stmt) -> str:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def test_the_page_names_enough_to_be_a_map() -> None:
    assert len(FILES) >= 30
    assert len(SYMBOLS) >= 20


def test_the_floors_of_the_page_are_those_of_the_layout_in_their_order() -> None:
    table = PAGE[PAGE.index("| floor |") : PAGE.index("Both front doors")]
    level = {name: number for number, names in enumerate(FLOORS) for name in names}
    shown = re.findall(
        r"`((?:distgraph|actors)[\w.]*)`", re.sub(r"\|[^|]*\|[^|]*\|\n", "\n", table)
    )
    packages = {name for name in level if (ROOT / name.replace(".", "/")).is_dir()}
    assert packages - set(shown) == {"distgraph"}
    levels = [level[name] for name in shown]
    assert levels == sorted(levels, reverse=True)
