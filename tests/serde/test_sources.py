"""Source lines of code that travels by value: cells of notebooks, scripts that workers lack."""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distgraph
from distgraph.graph.state import StateGraph
from distgraph.serde.pickling import content_hash
from distgraph.serde.program import check_program, load_program
from distgraph.serde.sources import is_installed, keep_sources, sources_of
from tests.support.elsewhere import Elsewhere

CELL = '''\
"""A cell."""
from functools import wraps

def logged(function):
    @wraps(function)
    def call(state):
        return function(state)
    return call


@logged
def decorated(state):
    text = """two
lines"""
    return {"n": 1}  # decorated

short = lambda state: {"n": 2}  # short

class Tool:
    def use(self, state):
        return {"n": 3}  # use

method = Tool().use

async def waits(state):
    return {"n": 4}  # waits

def made(n):
    def inside(state):
        return {"n": n}  # inside
    return inside

inner = made(5)
'''
LAST_LINES = {
    "decorated": '    return {"n": 1}  # decorated\n',
    "short": 'short = lambda state: {"n": 2}  # short\n',
    "method": '        return {"n": 3}  # use\n',
    "waits": '    return {"n": 4}  # waits\n',
    "inner": '        return {"n": n}  # inside\n',
}


@pytest.fixture
def cell() -> Iterator[dict[str, Any]]:
    """The names of a notebook's cell: the lines are in ``linecache`` only, as IPython has them."""
    name = "/tmp/ipykernel_1/2958273142.py"
    lines = CELL.splitlines(keepends=True)
    linecache.cache[name] = (len(CELL), None, lines, name)
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(CELL, name, "exec"), scope)
    yield scope
    linecache.cache.pop(name)


def blob_of(node: Any) -> bytes:
    builder = StateGraph(dict).add_node("n", node).add_edge("__start__", "n")
    return check_program(builder.compile(backend="local").program)


def source_there(blob: bytes) -> str:
    """Return what a worker finds as the source of the node of a program."""
    bound = load_program(blob).nodes["n"].bound
    return inspect.getsource(getattr(bound, "func", None) or bound.afunc)


@pytest.mark.parametrize("name", LAST_LINES)
def test_the_source_of_a_cell_is_found_on_a_worker(
    name: str, cell: dict[str, Any], elsewhere: Elsewhere
) -> None:
    found = elsewhere(source_there, blob_of(cell[name]))
    assert found == inspect.getsource(cell[name])
    assert found.endswith(LAST_LINES[name])


def test_the_source_of_a_script_that_the_worker_lacks_is_found_there(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("# first\n\ndef node(state):\n    return {}  # here\n")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), scope)
    blob = blob_of(scope["node"])
    script.unlink()
    assert elsewhere(source_there, blob) == "def node(state):\n    return {}  # here\n"


def test_the_source_is_that_of_the_code_that_travelled(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    for number in (1, 2):
        script.write_text(f"def node(state):\n    return {{'n': {number}}}\n")
        linecache.checkcache(str(script))
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(script.read_text(), str(script), "exec"), scope)
        found = elsewhere(source_there, blob_of(scope["node"]))
        assert found == script.read_text()
        script.write_text("# edited, while the run goes on\n")


def test_a_program_has_one_hash_wherever_its_file_is(tmp_path: Path) -> None:
    hashes = set[str]()
    for folder in ("a", "b"):
        script = tmp_path / folder / "script.py"
        script.parent.mkdir()
        script.write_text(f"def node(state):\n    return {{}}  # in {folder}\n")
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(script.read_text(), str(script), "exec"), scope)
        hashes.add(content_hash(blob_of(scope["node"])))
    assert len(hashes) == 1


def test_sources_of_installed_packages_stay(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("x = 1\n")
    long = tmp_path / "long.py"
    long.write_text("# x\n" * (1 << 19))
    missing = str(tmp_path / "missing.py")
    names = [str(own), str(long), missing, "<string>", functools.__file__, pytest.__file__]
    assert sources_of([*names, str(distgraph.__file__)]) == {str(own): "x = 1\n"}
    assert [is_installed(n) for n in names] == [False, False, False, False, True, True]


def test_what_a_process_knows_already_stays() -> None:
    name = "/tmp/ipykernel_1/known.py"
    keep_sources({name: "x = 1\n"})
    known = linecache.cache[name]
    keep_sources({name: "x = 1\n"})
    assert linecache.cache[name] is known
    keep_sources({name: "x = 2\n"})
    assert linecache.getline(name, 1) == "x = 2\n"
    linecache.checkcache()
    assert linecache.getline(name, 1) == "x = 2\n"
    linecache.cache.pop(name)
