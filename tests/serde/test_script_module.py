"""Code of a script that looks its own names up: pickle, annotations, sources, processes, savers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from distgraph.serde.pickling import learn_classes, loads
from distgraph.serde.script_module import names_of_load, show, stand_in_for_script
from tests.support.elsewhere import ROOT, Elsewhere

SCRIPT = '''\
"""A script with postponed annotations."""
from __future__ import annotations

import concurrent.futures
import enum
import inspect
import json
import multiprocessing
import operator
import pickle
import sys
import typing
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Optional, TypedDict

from langchain_core.tools import tool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import StateGraph
from pydantic import BaseModel, TypeAdapter

from distgraph.serde.pickling import dumps_code, dumps_script_classes

MOST = 5


class Item(BaseModel):
    n: int
    kids: list[Item] = []


@dataclass
class Note:
    n: int
    item: Optional[Item] = None


class Color(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int


class State(TypedDict, total=False):
    item: Item
    notes: Annotated[list[Note], operator.add]


class Tree(BaseModel):
    item: Optional[Item] = None
    notes: Annotated[list[Note], operator.add] = []


class Locked:
    lock = sys.stdout.buffer  # cannot travel: the other classes do


def squared(n):
    return n * n + MOST


def described(item: Item, *, note: Note) -> Color: ...


def pickles():
    values = [Note(1), Color.RED, Point(2), squared]
    assert pickle.loads(pickle.dumps(values)) == values


def evaluates_a_class():
    return sorted(typing.get_type_hints(State, include_extras=True))


def evaluates_a_dataclass():
    return TypeAdapter(Note).validate_python({"n": 1, "item": {"n": 3}}).item.n


def evaluates_a_function():
    return sorted(typing.get_type_hints(described))


def defines_a_model():
    class Out(BaseModel):
        items: list[Item]

    return Out(items=[{"n": 1}]).items[0].n


def defines_a_tool():
    @tool
    def look(item: Item, color: Color) -> str:
        """Look."""
        return f"{item.n} {color.name}"

    return look.invoke({"item": {"n": 1}, "color": 1})


def builds_graphs():
    def write(state):
        return {"item": Item(n=1), "notes": [Note(2)]}

    for schema in (State, Tree):
        graph = StateGraph(schema).add_node(write).add_edge("__start__", "write").compile()
        yield graph.invoke({"notes": []})["notes"][0].n


def shows_sources():
    return [inspect.getsource(what) for what in (Item, Note, Color, State, squared)]


def starts_processes():
    for how in ("fork", "spawn"):
        context = multiprocessing.get_context(how)
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            yield pool.submit(squared, 3).result()


def told(function):
    found = function()
    return list(found) if inspect.isgenerator(found) else found


NODES = [
    pickles, evaluates_a_class, evaluates_a_dataclass, evaluates_a_function, defines_a_model,
    defines_a_tool, builds_graphs, shows_sources, starts_processes,
]
CHECKPOINT = {"notes": [Note(1, Item(n=2, kids=[Item(n=3)]))], "color": Color.RED, "at": Point(3)}

def report():
    sent = {node.__name__: dumps_code((told, node)).hex() for node in NODES}
    right = {node.__name__: told(node) for node in NODES}
    kind, blob = JsonPlusSerializer().dumps_typed(CHECKPOINT)
    saved = [kind, blob.hex(), [c.hex() for c in dumps_script_classes()], repr(CHECKPOINT)]
    return json.dumps([sent, right, saved])


if __name__ == "__main__":
    if sys.argv[1:]:
        context = multiprocessing.get_context(*sys.argv[1:])
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            print(pool.submit(report).result())
    else:
        print(report())
'''

NAMES = (
    "pickles",
    "evaluates_a_class",
    "evaluates_a_dataclass",
    "evaluates_a_function",
    "defines_a_model",
    "defines_a_tool",
    "builds_graphs",
    "shows_sources",
    "starts_processes",
)


@pytest.fixture(scope="module", params=["", pytest.param("spawn", marks=pytest.mark.long)])
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a script has pickled, also in a process that multiprocessing has spawned."""
    path = tmp_path_factory.mktemp("script") / "script.py"
    path.write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", str(path), *request.param.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def worker() -> Iterator[Elsewhere]:
    with Elsewhere() as worker:
        worker(stand_in_for_script)
        yield worker


def run(blob: bytes) -> Any:
    with names_of_load():
        told, node = loads(blob)
    return told(node)


@pytest.mark.parametrize("name", NAMES)
def test_code_of_a_script_finds_its_names_on_a_worker(
    name: str, script: Any, worker: Elsewhere
) -> None:
    sent, right, _ = script
    assert set(sent) == set(NAMES)
    assert worker(run, bytes.fromhex(sent[name])) == right[name]


def in_turn(blob: bytes) -> list[Any]:
    """Load the same node as a part of two graphs, and as a value; run it as a part of each."""
    with names_of_load() as first:
        one = loads(blob)
    with names_of_load() as second:
        other = loads(blob)
    found = []
    for names, (told, node) in ((first, one), (second, other), (first, one)):
        show(names)
        loads(blob)
        found.append(told(node))
    return found


def test_each_graph_finds_its_own_copies_of_functions(script: Any) -> None:
    sent, right, _ = script
    with Elsewhere() as worker:
        worker(stand_in_for_script)
        found = worker(in_turn, bytes.fromhex(sent["pickles"]))
    assert found == [right["pickles"]] * 3


def read(kind: str, blob: bytes, classes: list[bytes]) -> str:
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    learn_classes(classes)
    return repr(JsonPlusSerializer().loads_typed((kind, blob)))


def test_a_saver_of_another_process_finds_the_classes_of_a_script(script: Any) -> None:
    kind, blob, classes, right = script[2]
    with Elsewhere() as driver:
        driver(stand_in_for_script)
        found = driver(read, kind, bytes.fromhex(blob), [bytes.fromhex(c) for c in classes])
    assert found == right


def test_no_module_stands_in_where_the_script_runs() -> None:
    main = sys.modules["__main__"]
    before = dict(vars(main))
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def shown(state):\n    return OTHER\nOTHER = 1\n", scope)
    from distgraph.serde.pickling import dumps_code

    assert loads(dumps_code(scope["shown"]))({}) == 1
    assert sys.modules["__main__"] is main
    assert dict(vars(main)) == before
