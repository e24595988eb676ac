"""A module that the caller has reloaded is reloaded by a worker that reads a program of it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from distgraph.graph.state import StateGraph
from distgraph.serde import reloads
from distgraph.serde.program import (
    ProgramBlob,
    dumps_spec,
    extend_path,
    load_program,
    load_spec,
)
from tests.support.elsewhere import Elsewhere

NAME = "module_that_changes"


class Edited:
    """A module of the user, and its file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.write(1)
        self.module: ModuleType = importlib.import_module(NAME)

    def write(self, value: int) -> None:
        text = f"def node(state):\n    return {{'x': {value}}}\n\n"
        text += f"def reduced(old, new):\n    return {value}\n"
        self._file.write_text(text + "#" * value)  # another size: files are compared by that too

    def reload(self, value: int) -> None:
        self.write(value)
        importlib.reload(self.module)


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edited]:
    monkeypatch.setattr(reloads, "_known", {})
    monkeypatch.setattr(reloads, "_now", ())
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Edited(tmp_path / f"{NAME}.py")
    del sys.modules[NAME]


@pytest.fixture
def worker(edited: Edited, tmp_path: Path) -> Iterator[Elsewhere]:
    with Elsewhere() as process:
        process(extend_path, [str(tmp_path)])
        yield process


class State(TypedDict):
    x: int


def blob_of(node: Any) -> ProgramBlob:
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    return ProgramBlob(graph.compile(backend="local").program)


def ran(blob: bytes) -> Any:
    bound: Any = load_program(blob).nodes["node"].bound
    return bound({"x": 0}, None)


def test_a_worker_that_has_the_module_runs_its_new_code(edited: Edited, worker: Elsewhere) -> None:
    first = blob_of(edited.module.node).get()
    assert worker(ran, first[0]) == {"x": 1}
    for value in (2, 3):
        edited.reload(value)
        blob, digest = blob_of(edited.module.node).get()
        assert digest != first[1]
        assert worker(ran, blob) == {"x": value}
    assert worker(ran, first[0]) == {"x": 3}  # by name, as in one process


def test_the_module_is_reloaded_once(edited: Edited, worker: Elsewhere) -> None:
    worker(ran, blob_of(edited.module.node).get()[0])
    edited.reload(2)
    blob, _ = blob_of(edited.module.node).get()
    edited.write(3)  # and not reloaded
    assert [worker(ran, blob), worker(ran, blob_of(lambda state: {"x": 4}).get()[0])] == [
        {"x": 3},
        {"x": 4},
    ]
    edited.write(5)
    assert worker(ran, blob) == {"x": 3}


def test_a_worker_without_the_module_imports_it(edited: Edited, worker: Elsewhere) -> None:
    edited.reload(2)
    assert worker(ran, blob_of(edited.module.node).get()[0]) == {"x": 2}


def test_a_graph_that_was_compiled_before_is_pickled_again(
    edited: Edited, worker: Elsewhere
) -> None:
    program = blob_of(edited.module.node)
    before = program.get()
    assert program.get() is before
    worker(ran, before[0])
    # %autoreload puts the new code into the function that the graph has
    edited.write(2)
    old = edited.module.node
    importlib.reload(edited.module)
    old.__code__ = edited.module.node.__code__
    edited.module.node = old  # type: ignore[attr-defined]
    after = program.get()
    assert after is not before and program.get() is after
    assert worker(ran, after[0]) == {"x": 2}


def reduced(blob: bytes) -> int:
    channel: Any = load_spec(blob).channels["x"]
    found: int = channel.operator(0, 0)
    return found


def test_reducers_are_those_of_the_reloaded_module(edited: Edited, worker: Elsewhere) -> None:
    def spec() -> bytes:
        class Reduced(TypedDict):
            x: Annotated[int, edited.module.reduced]

        graph = (
            StateGraph(Reduced).add_node("node", edited.module.node).add_edge("__start__", "node")
        )
        return dumps_spec(graph.compile(backend="local").program.spec, with_classes=False)

    assert worker(reduced, spec()) == 1
    edited.reload(2)
    assert worker(reduced, spec()) == 2


def test_reading_a_program_here_reloads_nothing(edited: Edited) -> None:
    edited.reload(2)
    blob, _ = blob_of(edited.module.node).get()
    edited.write(3)
    assert ran(blob) == {"x": 2}


def test_installed_modules_and_first_imports_do_not_count(edited: Edited) -> None:
    import json.tool

    importlib.reload(json.tool)
    assert reloads.reloads() == ()
    edited.reload(2)
    assert [name for name, _ in reloads.reloads()] == [NAME]
