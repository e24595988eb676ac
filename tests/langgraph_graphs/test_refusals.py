"""What cannot be honoured is refused when ``distribute`` is called, by name, with the remedy."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.managed.base import ManagedValue
from langgraph.types import CachePolicy, RetryPolicy
from typing_extensions import TypedDict

from distgraph import distribute
from distgraph.errors import MissingExtraError, UnsupportedError
from distgraph.langgraphs import versions
from tests.langgraph_graphs.support import VERSION


class State(TypedDict, total=False):
    n: int


class Dice(ManagedValue[int]):
    @staticmethod
    def get(scratchpad: Any) -> int:
        return 4


class Rolled(TypedDict, total=False):
    n: int
    dice: Annotated[int, Dice]


def node(state: State) -> dict[str, int]:
    return {"n": 1}


def graph(**options: Any) -> StateGraph:
    return StateGraph(State).add_node("work", node, **options).add_edge(START, "work")


def refused(given: Any, told: str, **options: Any) -> None:
    with pytest.raises(UnsupportedError, match=told):
        distribute(given, backend="local", **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [("retry_policy", RetryPolicy()), ("cache_policy", CachePolicy())],
)
def test_policies_of_a_node(option, value):
    refused(graph(**{option: value}), f"Node `work`: {option} cannot be honoured")


@pytest.mark.skipif(VERSION < (1, 2, 0), reason="new in LangGraph 1.2")
def test_what_newer_versions_give_a_node():
    async def waits(state: State) -> None:
        """Takes no time."""

    def handle(state: State, error: Any) -> dict[str, int]:
        return {"n": -1}

    late = StateGraph(State).add_node("work", waits, timeout=1).add_edge(START, "work")
    refused(late, "Node `work`: timeout cannot be honoured")
    refused(graph(error_handler=handle), "Node `work`: error_handler cannot be honoured")


@pytest.mark.skipif(VERSION < (1, 2, 11), reason="new in LangGraph 1.2.11")
def test_a_trace_policy():
    from langgraph.types import TracePolicy

    policy = TracePolicy(process_inputs=lambda value: "hidden")
    refused(graph(trace_policy=policy), "Node `work`: trace_policy cannot be honoured")


def test_a_node_of_a_subgraph_by_both_names():
    child = graph(retry_policy=RetryPolicy()).compile()
    parent = StateGraph(State).add_node("child", child).add_edge(START, "child")
    refused(parent, "Node `work` of subgraph `child`: retry_policy cannot be honoured")


def test_a_checkpointer():
    from langgraph.checkpoint.memory import InMemorySaver

    told = r"compiled with checkpointer=InMemorySaver\(\.\.\.\).*Compile it without"
    refused(graph().compile(checkpointer=InMemorySaver()), told)
    refused(graph().compile(checkpointer=True), "checkpointer=True")
    assert distribute(graph().compile(checkpointer=False), backend="local").invoke({}) == {"n": 1}


def test_a_cache():
    from langgraph.cache.memory import InMemoryCache

    refused(graph().compile(cache=InMemoryCache()), r"Graph `LangGraph`: cache=InMemoryCache")


@pytest.mark.parametrize("option", ["step_timeout", "retry_policy", "cache_policy"])
def test_options_of_the_engine(option):
    made = graph().compile()
    setattr(made, option, 1 if option == "step_timeout" else (RetryPolicy(),))
    refused(made, f"Graph `LangGraph`: {option}=")


@pytest.mark.skipif(VERSION < (1, 2, 0), reason="new in LangGraph 1.2")
def test_stream_transformers():
    def shout(scope: Any) -> None:
        """Would be called for each run."""

    refused(graph().compile(transformers=[shout]), "stream transformer shout cannot be honoured")


def test_the_functional_api():
    from langgraph.func import entrypoint

    @entrypoint()
    def flow(n: int) -> int:
        return n + 1

    refused(flow, "is an @entrypoint of LangGraph's functional API.*StateGraph")
    parent = StateGraph(State).add_node("flow", flow).add_edge(START, "flow")
    refused(parent, "Subgraph `flow` is an @entrypoint")


def test_a_call_of_a_functional_task_is_told_where_it_happens(backend):
    from langgraph.func import task

    @task
    def double(n: int) -> int:
        return 2 * n

    def calls(state: State) -> dict[str, Any]:
        return {"n": double(2).result()}

    made = StateGraph(State).add_node("calls", calls).add_edge(START, "calls")
    with pytest.raises(UnsupportedError, match="node 'calls' called 'double'.*functional API"):
        distribute(made, backend=backend).invoke({"n": 1})


def test_a_remote_graph():
    from langgraph.pregel.remote import RemoteGraph

    remote = RemoteGraph("agent", url="http://127.0.0.1:1")
    refused(remote, "RemoteGraph, whose engine is elsewhere")
    parent = StateGraph(State).add_node("far", remote).add_edge(START, "far")
    refused(parent, "Node `far` is a RemoteGraph.*def node")


def test_a_managed_value_of_the_users():
    made = StateGraph(Rolled).add_node("work", node).add_edge(START, "work")
    refused(made, "state key 'dice' is a managed value of Dice.*IsLastStep")


def test_a_store_in_this_process_on_a_cluster():
    from langgraph.store.memory import InMemoryStore

    made = graph().compile(store=InMemoryStore())
    with pytest.raises(UnsupportedError, match="InMemoryStore lives in one process"):
        distribute(made, backend="ray")


def test_what_a_node_captures_is_checked_at_once():
    import threading

    from distgraph.errors import SerializationError

    lock = threading.Lock()

    def locked(state: State) -> None:
        with lock:
            pass

    made = StateGraph(State).add_node("locked", locked).add_edge(START, "locked")
    with pytest.raises(SerializationError, match=r"node 'locked'.*lock.*a lock"):
        distribute(made, backend="ray")


@pytest.mark.parametrize("found", ["0.6.11", "1.0.9", "1.2.23", "1.3.0", "2.0.0"])
def test_other_versions_are_refused_with_the_range(monkeypatch, found):
    monkeypatch.setattr(versions.metadata, "version", lambda name: found)
    refused(graph(), rf"langgraph {found} is installed; .* 1\.0\.10 to 1\.2\.22")


@pytest.mark.parametrize("found", ["1.0.10", "1.1.10", "1.2.22", "1.2.22rc1"])
def test_versions_within_the_range_are_read(monkeypatch, found):
    monkeypatch.setattr(versions.metadata, "version", lambda name: found)
    assert distribute(graph(), backend="local").invoke({}) == {"n": 1}


def test_without_langgraph_the_extra_is_named(monkeypatch):
    def missing(name: str) -> str:
        raise versions.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions.metadata, "version", missing)
    with pytest.raises(MissingExtraError, match=r"distgraph\[agents\]"):
        distribute(graph())
