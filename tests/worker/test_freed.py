"""What an attempt has made is freed at its end, not by the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, TypedDict

import pytest

from distgraph.contract.attempt import RunInfo
from distgraph.errors import RunCancelled
from distgraph.graph import StateGraph
from distgraph.worker.attempt import run_sync
from distgraph.worker.calls import Calls
from distgraph.worker.context import active_task
from tests.engine.play import Play, Recorder, options

pytest.importorskip("langchain_core.runnables.config")
pregel = pytest.importorskip("langgraph.pregel")


class State(TypedDict):
    number: int


class Port:
    """A way to the driver that leads nowhere, and keeps the calls as a real one does."""

    def __init__(self, request: Any) -> None:
        self.calls = Calls(request, self)

    def ship(self, function: Any) -> tuple[Any, str]:
        raise AssertionError("the attempt has ended")

    def send(self, call: Any) -> None:
        raise AssertionError("the attempt has ended")

    def flush(self) -> None: ...

    def waiting(self, change: int) -> None: ...

    def future(self) -> Future[Any]:
        return Future()


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("modes", [frozenset[str](), frozenset({"custom", "values", "updates"})])
def test_an_attempt_leaves_nothing_to_the_garbage_collector(
    modes: frozenset[str], without_collector: None
) -> None:
    left: list[weakref.ref[Any]] = []
    kept: list[dict[str, Any]] = []

    def node(state: State) -> dict[str, int]:
        task: Any = active_task()
        left.extend(map(weakref.ref, (task, task.calls, task.runtime.control)))
        kept.append(dict(task.config["configurable"]))
        return {"number": state["number"] + 1}

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.set_entry_point("node")
    builder.set_finish_point("node")
    graph = builder.compile(backend="local")
    run = options(modes=modes)
    play = Play(graph, run)
    play.start({"number": 1})
    request = play.of("node").request
    port = Port(request)
    left.append(weakref.ref(port))
    outcome = run_sync(graph.program, request, RunInfo(run.shared), Recorder(), port.calls)
    del port
    assert ("number", 2) in outcome.writes
    configurable = kept.pop()
    scratchpad = configurable.pop("__pregel_scratchpad")
    call = configurable.pop("__pregel_call")
    del configurable
    assert [reference() for reference in left] == [None] * 4
    # code of a thread that goes on may still use them
    assert [scratchpad.interrupt_counter() for _ in range(2)] == [0, 1]
    assert scratchpad.get_null_resume(True) is None
    with pytest.raises(RunCancelled, match="task 'node' was called after the attempt of its node"):
        call(node, ((), {}))
