"""Graphs of several shapes, after those that LangGraph measures itself with."""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage

from benchmarks.engines import Engine, engines
from benchmarks.harness import Case, Contender, Family, Metric, Plan, check

WALL = Metric("wall", "ms")

ROUNDS = 5


# --- a subgraph for each item -------------------------------------------------------------------


class Subjects(TypedDict):
    subjects: list[str]
    texts: Annotated[list[str], operator.add]


class Text(TypedDict, total=False):
    subject: str
    text: str
    texts: list[str]


def begin_text(state: Text) -> Text:
    return {"text": f"about {state['subject']}"}


def extend(state: Text) -> Text:
    return {"text": state["text"] + " more"}


def hand_over(state: Text) -> Text:
    return {"texts": [state["text"]]}


def long_enough(state: Text) -> str:
    return "done" if state["text"].count(" more") >= ROUNDS else "again"


def subgraphs(engine: Engine) -> Any:
    """Return a graph that sends each item to a subgraph that loops."""
    inner = engine.StateGraph(Text)
    for node in (begin_text, extend, hand_over):
        engine.add(inner, node.__name__, node)
    inner.set_entry_point("begin_text")
    inner.add_edge("begin_text", "extend")
    inner.add_conditional_edges("extend", long_enough, {"again": "extend", "done": "hand_over"})
    inner.set_finish_point("hand_over")
    builder = engine.StateGraph(Subjects)
    builder.add_node("write", inner.compile())
    send = engine.Send
    builder.add_conditional_edges(
        "__start__",
        lambda state: [send("write", {"subject": s}) for s in state["subjects"]],
        ["write"],
    )
    builder.set_finish_point("write")
    return engine.compile(builder)


def run_subgraphs(graph: Any, count: int) -> Mapping[str, float]:
    given = {"subjects": [str(number) for number in range(count)], "texts": []}
    begin = time.perf_counter()
    result = graph.invoke(given)
    spent = (time.perf_counter() - begin) * 1e3
    check("texts", len(result["texts"]), count)
    return {WALL.name: spent}


# --- a long sequence ----------------------------------------------------------------------------


class Number(TypedDict):
    number: int


def add_one(state: Number) -> Number:
    return {"number": state["number"] + 1}


def sequence(engine: Engine, count: int) -> Any:
    """Return a graph of many nodes in a row."""
    builder = engine.StateGraph(Number)
    names = [f"node_{number}" for number in range(count)]
    for name in names:
        engine.add(builder, name, add_one)
    builder.set_entry_point(names[0])
    for one, following in pairwise(names):
        builder.add_edge(one, following)
    builder.set_finish_point(names[-1])
    return engine.compile(builder)


def run_sequence(graph: Any, count: int) -> Mapping[str, float]:
    begin = time.perf_counter()
    result = graph.invoke({"number": 0}, {"recursion_limit": count + 5})
    spent = (time.perf_counter() - begin) * 1e3
    check("number", result["number"], count)
    return {WALL.name: spent}


# --- a wide state -------------------------------------------------------------------------------


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return both dicts as one."""
    return {**one, **other}


KEYS = 12


def wide_lists(engine: Engine) -> Any:
    """Return a graph whose nodes append to lists under many keys."""
    fields: dict[str, Any] = {f"key_{n}": Annotated[list, operator.add] for n in range(KEYS)}
    state: Any = TypedDict("Lists", {**fields, "size": int})  # type: ignore[misc]

    def node(given: Any, at: int) -> dict[str, Any]:
        new = [{"at": at, "number": number} for number in range(given["size"])]
        return {f"key_{(at + n) % KEYS}": new for n in range(3)}

    return _wide(engine, state, node)


def wide_dicts(engine: Engine) -> Any:
    """Return a graph whose nodes add entries to dicts under many keys."""
    fields: dict[str, Any] = {f"key_{n}": Annotated[dict, merged] for n in range(KEYS)}
    state: Any = TypedDict("Dicts", {**fields, "size": int})  # type: ignore[misc]

    def node(given: Any, at: int) -> dict[str, Any]:
        new = {f"{at}.{number}": {"number": number} for number in range(given["size"])}
        return {f"key_{(at + n) % KEYS}": new for n in range(3)}

    return _wide(engine, state, node)


def _wide(engine: Engine, state: Any, node: Any) -> Any:
    """Three nodes in a row, then four side by side, then one."""
    builder = engine.StateGraph(state)
    for at in range(8):
        engine.add(builder, f"node_{at}", partial(node, at=at))
    builder.set_entry_point("node_0")
    builder.add_edge("node_0", "node_1")
    builder.add_edge("node_1", "node_2")
    for at in range(3, 7):
        builder.add_edge("node_2", f"node_{at}")
    builder.add_edge([f"node_{at}" for at in range(3, 7)], "node_7")
    builder.set_finish_point("node_7")
    return engine.compile(builder)


def run_wide(graph: Any, size: int, empty: Any) -> Mapping[str, float]:
    given = {f"key_{n}": empty for n in range(KEYS)} | {"size": size}
    begin = time.perf_counter()
    result = graph.invoke(given)
    spent = (time.perf_counter() - begin) * 1e3
    check("entries", sum(len(result[f"key_{n}"]) for n in range(KEYS)), 8 * 3 * size)
    return {WALL.name: spent}


# --- an agent -----------------------------------------------------------------------------------


class Scripted(FakeMessagesListChatModel):
    """Asks for a tool so many times, and then answers."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


def look_up(what: str) -> str:
    """Look something up."""
    return f"{what}: found"


def agent(engine: Engine, calls: int) -> Any:
    """Return an agent with a model that calls a tool so many times."""
    asks = [
        AIMessage(
            "", id=str(n), tool_calls=[{"name": "look_up", "args": {"what": str(n)}, "id": str(n)}]
        )
        for n in range(calls)
    ]
    model = Scripted(responses=[*asks, AIMessage("done", id="end")])

    def talk(state: Any) -> dict[str, Any]:
        model.i = sum(isinstance(message, AIMessage) for message in state["messages"])
        return {"messages": [model.invoke(state["messages"])]}

    def onward(state: Any) -> str:
        return "tools" if state["messages"][-1].tool_calls else "__end__"

    builder = engine.StateGraph(engine.MessagesState)
    engine.add(builder, "talk", talk)
    builder.add_node("tools", engine.ToolNode([look_up]))
    builder.set_entry_point("talk")
    builder.add_conditional_edges("talk", onward, ["tools", "__end__"])
    builder.add_edge("tools", "talk")
    return engine.compile(builder)


def run_agent(graph: Any, calls: int) -> Mapping[str, float]:
    begin = time.perf_counter()
    result = graph.invoke(
        {"messages": [("user", "look everything up")]}, {"recursion_limit": 2 * calls + 10}
    )
    spent = (time.perf_counter() - begin) * 1e3
    check("messages", len(result["messages"]), 2 * calls + 2)
    return {WALL.name: spent}


# ------------------------------------------------------------------------------------------------


def _case(name: str, build: Any, run: Any, *given: Any, warm: Any = None) -> Case:
    contenders = []
    for engine in engines():
        graph = build(engine)
        less = partial(run, graph, *(given if warm is None else warm))
        contenders.append(Contender(engine.name, partial(run, graph, *given), less))
    return Case(name, (WALL,), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    found = [
        _case(f"fan-out to a subgraph, {count}×", subgraphs, run_subgraphs, count, warm=(3,))
        for count in (10, plan.pick(100, 30))
    ]
    for calls in (10, plan.pick(100, 20)):
        build = partial(agent, calls=calls)
        found.append(_case(f"agent, {calls} tool calls", build, run_agent, calls))
    for size in (plan.pick(300, 100), plan.pick(1_200, 300)):
        found += [
            _case(f"wide state, lists, {size}", wide_lists, run_wide, size, [], warm=(3, [])),
            _case(f"wide state, dicts, {size}", wide_dicts, run_wide, size, {}, warm=(3, {})),
        ]
    for count in (10, plan.pick(1_000, 100)):
        build = partial(sequence, count=count)
        found.append(_case(f"sequence of {count:,} nodes", build, run_sequence, count))
    return tuple(found)


FAMILY = Family(
    "shapes",
    "Graphs of several shapes",
    "After the graphs that LangGraph is measured with: a subgraph that loops for each of many "
    "items, an agent with a scripted model, nodes that add so many entries to 3 of 12 keys each, a "
    "row of nodes. Whole runs of trivial nodes by `invoke`.",
    cases,
)
