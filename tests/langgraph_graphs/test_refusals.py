"""What cannot be honoured is refused when ``distribute`` is called, by name, with the remedy."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.managed.base import ManagedValue
from typing_extensions import TypedDict

from distgraph import distribute
from distgraph.errors import MissingExtraError, UnsupportedError
from distgraph.langgraphs import versions


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


def test_a_remote_graph():
    from langgraph.pregel.remote import RemoteGraph

    remote = RemoteGraph("agent", url="http://127.0.0.1:1")
    refused(remote, "RemoteGraph: another server runs it already. Call its own invoke or stream")


def test_a_chain_around_a_graph_names_what_to_distribute():
    from langchain_core.runnables import RunnableLambda

    identity = RunnableLambda(lambda state: state)
    chain = identity | graph().compile() | identity
    with pytest.raises(TypeError) as caught:
        distribute(chain, backend="local")
    assert str(caught.value) == (
        "distribute takes a graph that LangGraph compiled, or its StateGraph, got "
        "RunnableSequence. A step of it is a graph: use chain.steps[0] | "
        "distribute(chain.steps[1]) | chain.steps[2] in its place"
    )
    with pytest.raises(TypeError, match="got RunnableSequence$"):
        distribute(identity | identity, backend="local")
    steps = chain.steps
    mended = steps[0] | distribute(steps[1], backend="local") | steps[2]
    assert mended.invoke({"n": 0}) == {"n": 1}


def test_a_managed_value_of_the_users():
    made = StateGraph(Rolled).add_node("work", node).add_edge(START, "work")
    refused(made, "state key 'dice' is a managed value of Dice.*IsLastStep")


def test_what_a_node_captures_is_checked_at_once():
    import threading

    from distgraph.errors import SerializationError

    lock = threading.Thread()

    def locked(state: State) -> None:
        with lock:
            pass

    made = StateGraph(State).add_node("locked", locked).add_edge(START, "locked")
    with pytest.raises(SerializationError, match=r"node 'locked'.*lock.*a thread"):
        distribute(made, backend="ray")


@pytest.mark.parametrize("found", ["0.6.11", "1.0.9", "2.0.0", "2.1.3"])
def test_other_versions_are_refused_with_the_range(monkeypatch, found):
    monkeypatch.setattr(versions.metadata, "version", lambda name: found)
    refused(
        graph(), rf"langgraph {found} is installed; .* of 1\.0\.10 up to, not including, 2\.0\.0"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("found", ["1.0.10", "1.1.10", "1.2.22", "1.2.22rc1", "1.2.24"])
def test_versions_that_were_tested_are_read(monkeypatch, found):
    monkeypatch.setattr(versions.metadata, "version", lambda name: found)
    assert distribute(graph(), backend="local").invoke({}) == {"n": 1}


def test_a_newer_version_is_read_with_one_warning(monkeypatch):
    monkeypatch.setattr(versions.metadata, "version", lambda name: "1.9.1")
    with pytest.warns(UserWarning, match=r"langgraph 1\.9\.1 is newer than 1\.2\.24") as told:
        for _ in range(2):
            assert distribute(graph(), backend="local").invoke({}) == {"n": 1}
    assert [one.filename for one in told] == [__file__]


def test_without_langgraph_the_extra_is_named(monkeypatch):
    def missing(name: str) -> str:
        raise versions.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions.metadata, "version", missing)
    with pytest.raises(MissingExtraError, match=r"distgraph\[agents\]"):
        distribute(graph())
