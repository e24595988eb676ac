"""Every thread of the project has an owner, and a name that says which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distgraph import concurrency

ROOT = Path(__file__).parents[2]
STARTERS = {"daemon": 1, "DaemonExecutor": "thread_name_prefix", "Timers": 0}
"""What starts threads, and which argument is the name."""

BY_HAND = ("Thread", "Timer", "ThreadPoolExecutor", "start_new_thread")

OTHERS = {"Thread": ("distgraph/serve/runner.py", "distgraph/serve/threads.py")}
"""Files in which a name is a class of ours: a thread of an agent."""


def _calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Yield each call in the product by the last part of its name."""
    for folder in ("distgraph", "actors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name == "distgraph/concurrency/threads.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    yield name, node, called


def _text(node: ast.expr | None) -> str:
    """Return a string's text up to what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return _text(node.values[0]).rstrip("-")
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "" if node is None else ast.unparse(node)


def _names() -> set[str]:
    names = {"distgraph-thread"}  # in_thread's own
    for file, call, called in _calls():
        where = STARTERS.get(called)
        if where is None:
            continue
        if isinstance(where, int):
            given = call.args[where] if len(call.args) > where else None
        else:
            given = next((k.value for k in call.keywords if k.arg == where), None)
        if (file, called) != ("distgraph/concurrency/timers.py", "daemon"):  # any Timers' name
            names.add(_text(given))
    return names


def _table() -> set[str]:
    return set(re.findall(r"^``(distgraph-[a-z-]+)``$", concurrency.__doc__ or "", re.MULTILINE))


def test_every_thread_is_in_the_table() -> None:
    assert _names() == _table()


def test_threads_are_started_in_one_place() -> None:
    by_hand = [
        (file, ast.unparse(call))
        for file, call, called in _calls()
        if called in BY_HAND and file not in OTHERS.get(called, ())
    ]
    assert by_hand == []


PROGRAM = """
import asyncio, operator, threading, time
from typing import Annotated, TypedDict
from distgraph import START, StateGraph
from distgraph.types import RetryPolicy
from langgraph.checkpoint.memory import InMemorySaver

class State(TypedDict):
    items: Annotated[list, operator.add]

tried = []

def fails_once(state):
    tried.append(1)
    if len(tried) == 1:
        raise ConnectionError
    return {"items": ["a"]}

async def waits(state):
    await asyncio.to_thread(time.sleep, 0.01)
    return {"items": ["b"]}

retry = RetryPolicy(initial_interval=0.01, jitter=False)
builder = StateGraph(State).add_node(fails_once, retry_policy=retry).add_node(waits, timeout=10.0)
graph = builder.add_edge(START, "fails_once").add_edge(START, "waits").compile(
    backend="local", checkpointer=InMemorySaver()
)
config = {"configurable": {"thread_id": "1"}}
assert sorted(graph.invoke({"items": []}, config)["items"]) == ["a", "b"]
assert sorted(asyncio.run(graph.ainvoke({"items": []}, config))["items"]) == ["a", "a", "b", "b"]
print(*(thread.name for thread in threading.enumerate()), sep="\\n")
"""


def test_a_program_has_no_other_threads_after_its_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    main, *names = done.stdout.splitlines()
    assert main == "MainThread"
    assert names
    assert {re.sub(r"_\d+$", "", name) for name in names} <= _table()


@pytest.mark.ray
def test_threads_of_processes_on_ray_are_in_the_table(ray_session: object) -> None:
    import threading

    from tests.support.engines import Engine
    from tests.support.graphs import one

    def node(state, writer):
        import threading

        for i in range(10):
            writer(i)
        return {"items": [thread.name for thread in threading.enumerate()]}

    async def async_node(state, writer):
        import threading

        writer("x")
        return {"items": [thread.name for thread in threading.enumerate()]}

    ns = Engine("ray")
    before = set(threading.enumerate())
    found = []
    for made in (node, async_node):
        found += ns.compile(one(ns, made)).invoke({"items": []})["items"]
    found += [t.name for t in set(threading.enumerate()) - before]
    names = {re.sub(r"(_\d+|-[0-9a-f]{8})$", "", name) for name in found}
    # a worker of the session may have threads that nodes of other tests have started
    own = {name for name in names if name.startswith("distgraph-")}
    assert own
    assert own <= _table()
