"""Which form of a Runnable runs, and what the writers of a node say about the graph."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

import langgraph.prebuilt
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import TypedDict

import distgraph
import distgraph.prebuilt
from distgraph import distribute
from distgraph.placement import resolve
from distgraph.serde.pickling import dumps_code
from distgraph.worker.runnable_forms import async_only


class State(BaseModel):
    items: Annotated[list[str], operator.add] = []


def sync(state: Any) -> Any:
    return state


async def waits(state: Any) -> Any:
    return state


@pytest.mark.parametrize(
    ("action", "sync_caller", "async_caller"),
    [
        (sync, "task", "task"),
        (waits, "async", "async"),
        (RunnableLambda(sync), "task", "task"),
        (RunnableLambda(waits), "async", "async"),
        (RunnableLambda(sync, waits), "thread", "async"),
        (RunnableLambda(sync) | RunnableLambda(waits), "async", "async"),
        (RunnableLambda(sync) | RunnableLambda(sync), "task", "task"),
    ],
    ids=["function", "coroutine function", "lambda", "async lambda", "both", "sequence", "sync"],
)
def test_code_that_waits_waits_in_a_shared_process_for_either_caller(
    action, sync_caller, async_caller
):
    graph = StateGraph(MessagesState).add_node("n", action).add_edge(START, "n")
    node = distribute(graph, backend="local").spec.nodes["n"]
    placed = [
        resolve(form.ray_options, form.is_async).kind
        for form in (node.for_caller(awaits=False), node.for_caller(awaits=True))
    ]
    assert placed == [sync_caller, async_caller]


def test_both_forms_are_not_only_one():
    assert not async_only(RunnableLambda(sync, waits))
    assert async_only(RunnableLambda(waits))


# --- writers ------------------------------------------------------------------------------------


def spec(graph: StateGraph) -> Any:
    return distribute(graph, backend="local").spec.nodes


def one() -> StateGraph:
    return StateGraph(MessagesState).add_node("n", sync)


def test_the_entry_of_a_graph_needs_no_worker():
    start = spec(one().add_edge(START, "n"))["__start__"]
    assert start.inline is not None
    assert start.branch_channels == ()


def test_a_conditional_entry_does():
    def route(state: MessagesState) -> str:
        return "n"

    start = spec(one().add_conditional_edges(START, route, ["n"]))["__start__"]
    assert start.inline is None
    assert start.branch_channels == ("messages",)


def test_a_subgraph_needs_no_worker_for_its_writes_unless_an_edge_is_conditional():
    def route(state: MessagesState) -> list[Send]:
        return []

    child = one().add_edge(START, "n").compile()
    plain = StateGraph(MessagesState).add_node("child", child).add_edge(START, "child")
    assert spec(plain)["child"].inline is not None
    assert spec(plain.add_conditional_edges("child", route))["child"].inline is None


def test_the_driver_needs_no_langgraph_for_a_plain_graph():
    """Its half is pickled without naming anything of LangGraph's."""
    child = StateGraph(State).add_node("n", sync).add_edge(START, "n").compile()
    graph = StateGraph(State).add_node("child", child).add_node("n", sync)
    graph.add_edge(START, "child").add_conditional_edges("child", lambda state: "n", ["n"])
    assert b"langgraph." not in dumps_code(distribute(graph, backend="local").spec).replace(
        b"distgraph.langgraphs.", b""
    )


# --- the form that the run's caller uses --------------------------------------------------------


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


class Form(Runnable[Any, Any]):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return {"log": ["class: sync"]}

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return {"log": ["class: async"]}


class FormModel(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "forms"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("model: sync"))])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("model: async"))])


def forms(what: str) -> RunnableLambda:
    async def waiting(state: Any) -> Any:
        return {"log": [f"{what}: async"]}

    return RunnableLambda(lambda state: {"log": [f"{what}: sync"]}, waiting)


async def go_async(state: Any) -> str:
    return "by async"


def text_of(message: Any) -> Any:
    return {"log": [message.content]}


def nodes_in_both_forms(builder: Any, start: str) -> Any:
    """Return a graph with nodes and a path that have a sync and an async form."""

    def log() -> Any:
        return builder(Log)

    child = log().add_node("n", forms("subgraph")).add_edge(start, "n").compile()
    called = log().add_node("n", forms("called")).add_edge(start, "n").compile()

    async def acall(state: Any) -> Any:
        return {"log": (await called.ainvoke({"log": []}))["log"]}

    nodes = {
        "lambda": forms("lambda"),
        "retried": forms("retried").with_retry(),
        "sequence": RunnableLambda(sync) | forms("sequence"),
        "class": Form(),
        "model": RunnableLambda(lambda state: "?") | FormModel() | text_of,
        "child": child,
        "calls": RunnableLambda(lambda state: called.invoke({"log": []}), acall),
        "sync only": lambda state: {"log": ["sync only: sync"]},
    }
    graph = log()
    for name, action in nodes.items():
        graph.add_node(name, action).add_edge(start, name)
    graph.add_node("by sync", lambda state: {"log": ["path: sync"]})
    graph.add_node("by async", lambda state: {"log": ["path: async"]})
    path = RunnableLambda(lambda state: "by sync", go_async, name="path")
    return graph.add_conditional_edges("class", path, ["by sync", "by async"])


PREFIXES = ["called", "class", "lambda", "model", "path", "retried", "sequence", "subgraph"]


def expected(form: str) -> list[str]:
    return sorted([f"{name}: {form}" for name in PREFIXES] + ["sync only: sync"])


@pytest.mark.parametrize("way", ["distgraph", "distribute"])
def test_the_form_of_a_node_is_that_of_the_runs_caller(backend, way):
    if way == "distgraph":
        graph = nodes_in_both_forms(distgraph.StateGraph, START).compile(backend=backend)
    else:
        graph = distribute(nodes_in_both_forms(StateGraph, START).compile(), backend=backend)
    assert sorted(graph.invoke({"log": []})["log"]) == expected("sync")
    assert sorted(asyncio.run(graph.ainvoke({"log": []}))["log"]) == expected("async")


def wrap(request: Any, execute: Any) -> Any:
    answer = execute(request)
    return answer.model_copy(update={"content": f"sync({answer.content})"})


async def awrap(request: Any, execute: Any) -> Any:
    answer = await execute(request)
    return answer.model_copy(update={"content": f"async({answer.content})"})


def both_tools() -> list[Any]:
    def look(x: int) -> str:
        """Look."""
        return "sync"

    async def alook(x: int) -> str:
        return "async"

    return [
        StructuredTool.from_function(look, alook, name="both"),
        StructuredTool.from_function(look, name="one"),
    ]


def answers(state: Any) -> list[str]:
    return [message.content for message in state["messages"][1:]]


@pytest.mark.parametrize("way", ["distgraph", "distribute"])
@pytest.mark.parametrize(
    ("wrappers", "of_sync", "of_async"),
    [
        ({}, ["sync", "sync"], ["async", "sync"]),
        ({"wrap_tool_call": wrap}, ["sync(sync)"] * 2, ["sync(sync)"] * 2),
        (
            {"wrap_tool_call": wrap, "awrap_tool_call": awrap},
            ["sync(sync)"] * 2,
            ["async(async)", "async(sync)"],
        ),
    ],
    ids=["plain", "sync wrapper", "both wrappers"],
)
def test_the_form_of_a_tool_call_is_that_of_the_runs_caller(
    backend, way, wrappers, of_sync, of_async
):
    home = distgraph.prebuilt if way == "distgraph" else langgraph.prebuilt
    builder = distgraph.StateGraph if way == "distgraph" else StateGraph
    graph = builder(MessagesState).add_node("tools", home.ToolNode(both_tools(), **wrappers))
    graph.add_edge(START, "tools")
    if way == "distgraph":
        graph = graph.compile(backend=backend)
    else:
        graph = distribute(graph.compile(), backend=backend)
    calls = [{"name": name, "args": {"x": 1}, "id": name} for name in ("both", "one")]
    asked = {"messages": [AIMessage("", tool_calls=calls)]}
    assert answers(graph.invoke(asked)) == of_sync
    assert answers(asyncio.run(graph.ainvoke(asked))) == of_async
