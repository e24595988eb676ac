"""LangGraph's own ``@task`` and ``@entrypoint``, run by our engine."""

import os
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import StreamWriter, interrupt
from typing_extensions import TypedDict

import distgraph
from distgraph.types import Command

CONFIG = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    value: int


@task
def double(value: int) -> int:
    return value * 2


@task
def process_of() -> int:
    return os.getpid()


@task
async def injected(
    value: int, *, runtime: Runtime, config: RunnableConfig, writer: StreamWriter
) -> list[str]:
    writer(value)
    return [type(runtime).__module__, config["metadata"]["langgraph_node"]]


@entrypoint(checkpointer=InMemorySaver())
def remembering(number: int, *, previous: Any = None) -> entrypoint.final[Any, int]:
    total = number + (previous or 0)
    return entrypoint.final(value=previous, save=double(total).result())


def test_an_entrypoint_is_distributed(ours):
    @entrypoint()
    async def flow(number: int) -> list[Any]:
        return [await double(number), await injected(number)]

    flow = distgraph.distribute(flow)
    chunks = list(flow.stream(2, stream_mode=["custom", "updates"]))
    assert chunks == [
        ("updates", {"double": 4}),
        ("custom", 2),
        ("updates", {"injected": ["langgraph.runtime", "injected"]}),
        ("updates", {"flow": [4, ["langgraph.runtime", "injected"]]}),
    ]


def test_its_tasks_run_elsewhere(ours):
    @entrypoint()
    def flow(number: int) -> int:
        return process_of().result()

    pid = distgraph.distribute(flow).invoke(1)
    assert (pid == os.getpid()) is (ours.name == "local")


def test_its_thread_goes_on(ours):
    saver = InMemorySaver()
    flow = distgraph.distribute(remembering.copy({"checkpointer": saver}))
    theirs = remembering.copy({"checkpointer": saver})
    found = [graph.invoke(1, CONFIG) for graph in (flow, theirs, flow)]
    assert found == [None, 2, 6]


def test_its_questions_are_answered(ours):
    @task
    def ask(what: str) -> str:
        return str(interrupt(what))

    @entrypoint(checkpointer=InMemorySaver())
    def flow(number: int) -> list[Any]:
        return [double(number).result(), ask("name?").result()]

    flow = distgraph.distribute(flow)
    asked = flow.invoke(2, CONFIG)
    assert [question.value for question in asked["__interrupt__"]] == ["name?"]
    assert flow.invoke(Command(resume="ada"), CONFIG) == [4, "ada"]


def test_a_node_of_a_langgraph_graph_calls_tasks(ours):
    def node(state: State) -> State:
        return {"value": double(state["value"]).result()}

    graph = distgraph.distribute(StateGraph(State).add_node("node", node).add_edge(START, "node"))
    assert list(graph.stream({"value": 2})) == [{"double": 4}, {"node": {"value": 4}}]


def test_a_node_of_a_graph_of_ours_calls_tasks_of_langgraph(ours):
    def node(state):
        return {"value": double(state["value"]).result()}

    builder = ours.StateGraph(State).add_node("node", node).add_edge(ours.START, "node")
    assert list(ours.compile(builder).stream({"value": 2})) == [
        {"double": 4},
        {"node": {"value": 4}},
    ]


def test_an_entrypoint_is_a_subgraph(ours):
    @entrypoint()
    def flow(state: State) -> State:
        return {"value": double(state["value"]).result()}

    builder = StateGraph(State).add_node("inner", flow).add_edge(START, "inner")
    graph = distgraph.distribute(builder)
    assert graph.invoke({"value": 2}) == {"value": 4}


def test_a_failure_of_a_task_is_caught(ours):
    @task
    def fail() -> None:
        raise KeyError("x")

    @entrypoint()
    def flow(number: int) -> str:
        with pytest.raises(KeyError):
            fail().result()
        return "caught"

    assert distgraph.distribute(flow).invoke(1) == "caught"
