"""Graphs of every kind that the engine knows, with what a run of each must come to."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from typing_extensions import TypedDict

from distgraph.graph import END, START, StateGraph
from distgraph.types import Command, Send


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]
    n: int


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[], Any]
    value: Any
    """What the run ends with; for a failure, the error's text."""
    status: str = "done"
    input: Any = None

    def graph(self) -> Any:
        return self.make().compile(backend="local")

    @property
    def given(self) -> Any:
        return {"items": []} if self.input is None else self.input


def adds(name: str, events: int = 2) -> Callable[..., Any]:
    """A node that adds its name to ``items``, behind some custom events."""

    def node(state, writer):
        for i in range(events):
            writer((name, i))
        return {"items": [name]}

    return node


def builder(*names: str, schema: Any = State) -> Any:
    made = StateGraph(schema)
    for name in names:
        made.add_node(name, adds(name))
    return made


def fan() -> Any:
    """Three in parallel, then one."""
    made = builder("a", "b", "c", "last")
    for name in "abc":
        made.add_edge(START, name).add_edge(name, "last")
    return made


def join() -> Any:
    """A join of branches of one and of two steps."""
    made = builder("a", "b", "b2", "last")
    made.add_edge(START, "a").add_edge(START, "b").add_edge("b", "b2")
    return made.add_edge(["a", "b2"], "last")


def deferred() -> Any:
    """A deferred node waits for the longer branch, though the shorter one has triggered it."""
    made = builder("a", "b", "b2")
    made.add_node("last", adds("last"), defer=True)
    made.add_edge(START, "a").add_edge(START, "b").add_edge("b", "b2")
    return made.add_edge("a", "last").add_edge("b2", "last")


def cycle() -> Any:
    """Two nodes a round, three rounds."""

    def count(state):
        return {"n": state.get("n", 0) + 1, "items": [f"count{state.get('n', 0)}"]}

    made = builder("beside")
    made.add_node("count", count).add_edge(START, "count").add_edge(START, "beside")
    return made.add_conditional_edges(
        "count", lambda state: ["count", "beside"] if state["n"] < 3 else END
    )


def map_reduce() -> Any:
    """Sends to one node, a further task by an edge, and a join of all."""

    def square(state, writer):
        writer(state["n"])
        return {"items": [state["n"] ** 2]}

    made = builder("split", "beside", "last")
    made.add_node("square", square)
    made.add_edge(START, "split").add_edge("split", "beside")
    made.add_conditional_edges("split", lambda _: [Send("square", {"n": n}) for n in (3, 1, 2)])
    return made.add_edge("square", "last").add_edge("beside", "last")


def commands() -> Any:
    """Commands that update, lead on and send, beside a plain node."""

    def lead(state) -> Command[Any]:
        return Command(update={"items": ["lead"]}, goto=["a", Send("b", {"items": ["sent"]})])

    def b(state):
        return {"items": [f"b:{'+'.join(state['items'])}"]}

    made = builder("a", "beside")
    made.add_node("lead", lead).add_node("b", b)
    return made.add_edge(START, "lead").add_edge(START, "beside")


def nested() -> Any:
    """Subgraphs two deep, parallel nodes on every level."""
    inner = builder("i1", "i2").add_edge(START, "i1").add_edge(START, "i2").compile(backend="local")
    middle = builder("m1").add_node("inner", inner)
    middle.add_edge(START, "m1").add_edge(START, "inner")
    outer = builder("o1", "last").add_node("middle", middle.compile(backend="local"))
    outer.add_edge(START, "o1").add_edge(START, "middle")
    return outer.add_edge("middle", "last").add_edge("o1", "last")


def nested_sends() -> Any:
    """One subgraph several times in a step, with a conditional edge behind it."""

    class Part(TypedDict, total=False):
        n: int
        out: Annotated[list[Any], operator.add]

    class Whole(TypedDict, total=False):
        out: Annotated[list[Any], operator.add]

    def step(name: str) -> Callable[[Any], Any]:
        return lambda state: {"out": [(name, state["n"])]}

    part = StateGraph(Part, output_schema=Whole)
    part.add_node("x", step("x")).add_node("y", step("y"))
    part.add_edge(START, "x").add_edge(START, "y")
    made = StateGraph(Whole).add_node("part", part.compile(backend="local"))
    made.add_node("last", lambda state: {"out": [len(state["out"])]})
    made.add_conditional_edges(START, lambda _: [Send("part", {"n": n}) for n in range(3)])
    return made.add_conditional_edges("part", lambda _: "last")


def branches() -> Any:
    """Conditional edges of two nodes of a step that lead to the same nodes."""
    made = builder("a", "b", "c", "d")
    made.add_edge(START, "a").add_edge(START, "b")
    made.add_conditional_edges("a", lambda state: ["c", "d"])
    made.add_conditional_edges("b", lambda state: "d" if "b" in state["items"] else END)
    return made


def to_parent() -> Any:
    """A node of a subgraph leads the graph around it on, while its siblings are at work."""

    def leave(state) -> Command[Any]:
        return Command(graph=Command.PARENT, update={"items": ["left"]}, goto="target")

    child = builder("s1", "s2").add_node("leave", leave)
    for name in ("s1", "s2", "leave"):
        child.add_edge(START, name)
    made = builder("beside", "target").add_node("child", child.compile(backend="local"))
    return made.add_edge(START, "child").add_edge(START, "beside")


def failing() -> Any:
    """One of three nodes of a step fails, in a subgraph."""

    def fail(state):
        raise ValueError("no luck")

    child = builder("c1").add_node("fail", fail).add_edge(START, "c1").add_edge(START, "fail")
    made = builder("a", "never").add_node("child", child.compile(backend="local"))
    return made.add_edge(START, "a").add_edge(START, "child").add_edge("child", "never")


def conflicting() -> Any:
    """Two nodes of a step write a key that has no reducer."""
    made = StateGraph(State)
    for name, value in (("a", 1), ("b", 2)):
        made.add_node(name, lambda state, value=value: {"n": value}).add_edge(START, name)
    return made


def bottomless() -> Any:
    """A cycle without an end."""
    made = builder("a", "b").add_edge(START, "a").add_edge(START, "b")
    return made.add_edge("a", "a")


def _items(*items: Any, **more: Any) -> dict[str, Any]:
    return {"items": list(items), **more}


CASES = [
    Case("fan", fan, _items("a", "b", "c", "last")),
    Case("join", join, _items("a", "b", "b2", "last")),
    Case("deferred", deferred, _items("a", "b", "b2", "last")),
    Case(
        "cycle",
        cycle,
        _items("beside", "count0", "beside", "count1", "beside", "count2", n=3),
    ),
    Case("map_reduce", map_reduce, _items("split", "beside", 9, 1, 4, "last")),
    Case("commands", commands, _items("beside", "lead", "a", "b:sent")),
    Case("nested", nested, _items("i1", "i2", "m1", "o1", "last")),
    Case(
        "nested_sends",
        nested_sends,
        {"out": [*((name, n) for n in range(3) for name in "xy"), 6]},
        input={"out": []},
    ),
    Case("branches", branches, _items("a", "b", "c", "d")),
    Case("to_parent", to_parent, _items("beside", "left", "target")),
    Case("failing", failing, "no luck", "error"),
    Case("conflicting", conflicting, "key 'n' was written by 'a', 'b'", "error"),
    Case("bottomless", bottomless, "recursion limit of 25 supersteps", "error"),
]

ENDING = [case for case in CASES if case.status == "done"]
