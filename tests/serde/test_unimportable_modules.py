"""Modules that a server has loaded under a name that nobody can import travel by value."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from distgraph.serde.pickling import by_value, dumps_code, dumps_data
from distgraph.types import Command

SOURCE = """
from dataclasses import dataclass
from typing import Annotated, TypedDict
import operator
from distgraph.graph import START, StateGraph
from distgraph.types import interrupt

STEP = 2

@dataclass
class Note:
    text: str

class State(TypedDict):
    items: Annotated[list, operator.add]

def helper(n):
    return n + STEP

def node(state):
    return {"items": [helper(len(state["items"])), Note("x").text]}

builder = StateGraph(State).add_node("n", node).add_edge(START, "n")

def writes(state):
    return {"items": [Note("written")]}

def asks(state):
    return {"items": [f"{interrupt(Note('sure?'))} {state['items'][0].text}"]}

asking = StateGraph(State).add_sequence([writes, asks]).add_edge(START, "writes")
"""


def load(name: str, path: Path) -> ModuleType:
    """Load a file as LangGraph's development server does."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "agent.py"
    path.write_text(SOURCE)
    yield load("__agent", path)
    del sys.modules["__agent"]
    cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES.discard("__agent")


def read_elsewhere(blob: bytes, then: str, tmp_path: Path) -> str:
    (tmp_path / "blob").write_bytes(blob)
    code = (
        "import sys, pathlib; from distgraph.serde.pickling import loads; "
        f"value = loads(pathlib.Path(sys.argv[1]).read_bytes()); print({then})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "blob")],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_function_with_its_globals_is_read_in_another_process(agent: Any, tmp_path: Path) -> None:
    blob = dumps_code(agent.node)
    assert read_elsewhere(blob, "value({'items': [1]})", tmp_path) == "{'items': [3, 'x']}"


def test_an_object_of_such_a_module_is_data(agent: Any, tmp_path: Path) -> None:
    dumps_code(agent.node)  # a graph is always sent before its data
    blob = dumps_data({"note": agent.Note("hello")})
    assert read_elsewhere(blob, "value['note'].text", tmp_path) == "hello"


def test_a_module_that_can_be_imported_travels_by_name(agent: Any) -> None:
    assert by_value(agent.node)
    assert not by_value(load)


def test_another_file_of_the_same_name_is_not_taken_for_the_module(tmp_path: Path) -> None:
    path = tmp_path / "colorsys.py"
    path.write_text("def f():\n    return 'mine'\n")
    before = sys.modules.get("colorsys")
    module: Any = load("colorsys", path)
    try:
        assert by_value(module.f)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules["colorsys"]
        if before is not None:
            sys.modules["colorsys"] = before


def test_a_module_that_a_program_made_travels_by_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = ModuleType("made_by_a_program")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec("STEP = 3\ndef helper(n): return n + STEP\n", made.__dict__)
    try:
        assert read_elsewhere(dumps_code(made.helper), "value(4)", tmp_path) == "7"
    finally:
        cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES.discard(made.__name__)


@pytest.mark.ray
def test_a_graph_of_such_a_module_runs_on_workers(agent: Any, ray_session: Any) -> None:
    graph = agent.builder.compile(backend="ray")
    assert graph.invoke({"items": []}) == {"items": [2, "x"]}


@pytest.mark.ray
def test_the_driver_reads_objects_of_such_a_module_from_a_file(
    agent: Any, ray_session: Any, tmp_path: Path
) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}}
    with SqliteSaver.from_conn_string(str(tmp_path / "saved.sqlite")) as saver:
        graph = agent.asking.compile(backend="ray", checkpointer=saver)
        (question,) = graph.invoke({"items": []}, thread)["__interrupt__"]
        assert question.value == agent.Note("sure?")
        end = graph.invoke(Command(resume="yes"), thread)
        assert end == {"items": [agent.Note("written"), "yes written"]}
        assert graph.get_state(thread).values == end
