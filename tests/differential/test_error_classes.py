"""Mistakes in builds, compiles and calls: an error of LangGraph's class, or a stricter one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from distgraph.errors import InvalidUpdateError

THREAD = {"configurable": {"thread_id": "1"}}
ELSEWHERE = {"configurable": {"thread_id": "1", "checkpoint_ns": "nowhere"}}
ID = "0" * 32


class State(TypedDict, total=False):
    x: str
    n: Annotated[int, operator.add]
    items: Annotated[list[Any], operator.add]


class Library:
    """One library's modules."""

    def __init__(self, name: str) -> None:
        self.graph, self.types, self.errors, self.prebuilt, self.func, self.config = (
            import_module(f"{name}.{module}")
            for module in ("graph", "types", "errors", "prebuilt", "func", "config")
        )

    def builder(self, node: Any = None, schema: Any = State) -> Any:
        builder = self.graph.StateGraph(schema).add_node("a", node or give)
        return builder.add_edge("__start__", "a")

    def app(self, node: Any = None, *, saved: bool = False) -> Any:
        return self.builder(node).compile(checkpointer=InMemorySaver() if saved else None)

    def routed(self, returned: Any, *path_map: Any) -> Any:
        builder = self.builder().add_node("b", give)
        return builder.add_conditional_edges("a", lambda state: returned, *path_map).compile()

    def both(self, node: Any) -> Any:
        """Return a graph of two nodes in parallel."""
        return self.builder(node).add_node("b", node).add_edge("__start__", "b").compile()

    def asked(self) -> Any:
        """Return a graph of two pending interrupts."""
        ask = self.types.interrupt
        builder = self.builder(lambda state: {"x": ask("a?")})
        builder.add_node("b", lambda state: {"items": [ask("b?")]}).add_edge("__start__", "b")
        app = builder.compile(checkpointer=InMemorySaver())
        app.invoke({"x": ""}, THREAD)
        return app


Mistake = Callable[[Library], Any]


def give(state: Any) -> Any:
    return {"x": "given"}


def generate(state: Any) -> Any:
    yield state


def resumed(value: Any) -> Mistake:
    return lambda lib: lib.asked().invoke(lib.types.Command(resume=value), THREAD)


def returned(value: Any) -> Mistake:
    return lambda lib: lib.app(lambda state: value).invoke({"x": ""})


def command(**fields: Any) -> Mistake:
    return lambda lib: lib.app(lambda state: lib.types.Command(**fields)).invoke({"x": ""})


def called(*args: Any, **options: Any) -> Mistake:
    return lambda lib: lib.app().invoke(*(args or ({"x": ""},)), **options)


def schema_of(annotation: Any) -> Mistake:
    class Schema(TypedDict):
        n: annotation  # type: ignore[valid-type]

    Schema.__annotations__["n"] = annotation
    return lambda lib: lib.builder(schema=Schema).compile()


def updated(values: Any, node: str | None = None, config: Any = THREAD) -> Mistake:
    return lambda lib: lib.app(saved=True).update_state(config, values, node)


SAME: dict[str, Mistake] = {
    "a node that is no function": lambda lib: lib.builder().add_node("b", 5),
    "a list as a node": lambda lib: lib.builder().add_node("b", [1]),
    "a node twice": lambda lib: lib.builder().add_node("a", give),
    "a reserved name": lambda lib: lib.builder().add_node("__start__", give),
    "a reserved sign": lambda lib: lib.builder().add_node("b|c", give),
    "an edge from END": lambda lib: lib.builder().add_edge("__end__", "a"),
    "an edge to START": lambda lib: lib.builder().add_edge("a", "__start__"),
    "an edge of several from an unknown node": lambda lib: lib.builder().add_edge(["b"], "a"),
    "an edge to an unknown node": lambda lib: lib.builder().add_edge("a", "b").compile(),
    "an edge from an unknown node": lambda lib: lib.builder().add_edge("b", "a").compile(),
    "a conditional edge twice": lambda lib: (
        lib.builder().add_conditional_edges("a", give).add_conditional_edges("a", give)
    ),
    "a path that is no function": lambda lib: lib.builder().add_conditional_edges("a", 5, ["a"]),
    "a path to an unknown node": lambda lib: lib.routed("b", ["c"]),
    "no entry point": lambda lib: lib.graph.StateGraph(State).add_node("a", give).compile(),
    "an empty sequence": lambda lib: lib.graph.StateGraph(State).add_sequence([]),
    "a node of a sequence twice": lambda lib: lib.builder().add_sequence([give, give]),
    "an interrupt before an unknown node": lambda lib: lib.builder().compile(
        interrupt_before=["b"]
    ),
    "a checkpointer that is none": lambda lib: lib.builder().compile(checkpointer="x"),
    "a class as the checkpointer": lambda lib: lib.builder().compile(checkpointer=InMemorySaver),
    "a reducer of one argument": schema_of(Annotated[int, lambda one: one]),
    "a reducer of three arguments": schema_of(Annotated[int, lambda one, two, three: one]),
    "no schema": lambda lib: lib.graph.StateGraph(),
    "a Send to nobody": lambda lib: lib.types.Send("a"),
    "a Command with another field": lambda lib: lib.types.Command(other=1),
    "interrupt outside of a node": lambda lib: lib.types.interrupt(1),
    "get_config outside of a node": lambda lib: lib.config.get_config(),
    "get_store outside of a node": lambda lib: lib.config.get_store(),
    "an entrypoint without a parameter": lambda lib: lib.func.entrypoint()(lambda: 1),
    "an entrypoint that generates": lambda lib: lib.func.entrypoint()(generate),
    "a task outside of an entrypoint": lambda lib: lib.func.task(give)(1),
    "a message of another type": lambda lib: lib.graph.add_messages([], [object()]),
    "a message of another role": lambda lib: lib.graph.add_messages([], [("nobody", "hi")]),
    "another format": lambda lib: lib.graph.add_messages([], ["hi"], format="other"),
    "a tool that is none": lambda lib: lib.prebuilt.ToolNode([5]),
    "a prompt that is none": lambda lib: lib.prebuilt.create_react_agent(
        FakeListChatModel(responses=[]), [], prompt=5
    ),
    "a condition on a state without messages": lambda lib: lib.prebuilt.tools_condition({}),
    "a node that returns text": returned("text"),
    "a node that returns a number": returned(1),
    "a node that returns numbers": returned([1, 2]),
    "a key that is added to another type": returned({"n": "text"}),
    "a list that is added to no list": returned({"items": 5}),
    "two writers of a key": lambda lib: lib.both(give).invoke({"x": ""}),
    "two overwrites of a key": lambda lib: lib.both(
        lambda state: {"items": lib.types.Overwrite([])}
    ).invoke({"x": ""}),
    "a goto to a number": command(goto=5),
    "a Command to no parent": lambda lib: lib.app(
        lambda state: lib.types.Command(graph=lib.types.Command.PARENT, update={"x": ""})
    ).invoke({"x": ""}),
    "a path that returns None": lambda lib: lib.routed(None).invoke({"x": ""}),
    "a path that returns START": lambda lib: lib.routed("__start__").invoke({"x": ""}),
    "a path to what path_map lacks": lambda lib: lib.routed("c", ["b"]).invoke({"x": ""}),
    "several paths, one of them to what path_map lacks": lambda lib: lib.routed(
        ["b", "c"], {"b": "b"}
    ).invoke({"x": ""}),
    "a path to a Send to the end": lambda lib: lib.routed(lib.types.Send("__end__", {})).invoke(
        {"x": ""}
    ),
    "no input": called(None),
    "an input of another type": called("text"),
    "an input that goes on from nothing": lambda lib: lib.app(saved=True).invoke(None, THREAD),
    "no thread": lambda lib: lib.app(saved=True).invoke({"x": ""}),
    "a limit of no step": called({"x": ""}, {"recursion_limit": 0}),
    "a loop": lambda lib: (
        lib.builder().add_edge("a", "a").compile().invoke({"x": ""}, {"recursion_limit": 3})
    ),
    "a resume of several interrupts by one value": resumed("yes"),
    "the state without a checkpointer": lambda lib: lib.app().get_state(THREAD),
    "the history without a checkpointer": lambda lib: list(lib.app().get_state_history(THREAD)),
    "an update without a checkpointer": lambda lib: lib.app().update_state(THREAD, {"x": ""}),
    "no updates": lambda lib: lib.app(saved=True).bulk_update_state(THREAD, []),
    "an empty superstep of updates": lambda lib: lib.app(saved=True).bulk_update_state(
        THREAD, [[]]
    ),
    "an update as an unknown node": updated({"x": ""}, "b"),
    "an update of no dict": updated(5, "a"),
    "an update by another type": updated({"n": "text"}, "a"),
    "a copy of nothing": updated(None, "__copy__"),
    "an update of an unknown subgraph": updated({"x": ""}, "a", ELSEWHERE),
    "a cache that is not there": lambda lib: lib.app().clear_cache(),
    "a mode of version 3": lambda lib: lib.app().stream_events(
        {"x": ""}, version="v3", stream_mode="values"
    ),
    "a checkpointer of a parent that is not there": lambda lib: (
        lib.builder().compile(checkpointer=True).invoke({"x": ""}, THREAD)
    ),
}
"""LangGraph raises an error of a class of its own choice."""

STRICTER: dict[str, tuple[Mistake, type[Exception]]] = {
    "an unknown option of invoke": (called(foo=1), TypeError),
    "an unknown option of add_node": (
        lambda lib: lib.builder().add_node("b", give, foo=1),
        TypeError,
    ),
    "an unknown option of StateGraph": (lambda lib: lib.graph.StateGraph(State, foo=1), TypeError),
    "an unknown option of entrypoint": (lambda lib: lib.func.entrypoint(foo=1), TypeError),
    "an unknown option of task": (lambda lib: lib.func.task(foo=1), TypeError),
    "a retry policy that is none": (
        lambda lib: lib.builder().add_node("b", give, retry_policy=5).compile(),
        TypeError,
    ),
    "a cache that is none": (lambda lib: lib.builder().compile(cache="x"), TypeError),
    "a path map that is none": (lambda lib: lib.routed("b", "b"), TypeError),
    "an interrupt before an unknown node, for one run": (
        called(interrupt_before=["b"]),
        ValueError,
    ),
    "another durability": (
        lambda lib: lib.app(saved=True).invoke({"x": ""}, THREAD, durability="other"),
        ValueError,
    ),
    "another version of the stream": (
        lambda lib: list(lib.app().stream({"x": ""}, version="v9")),
        ValueError,
    ),
    "a run id that is none": (called({"x": ""}, {"run_id": "text"}), ValueError),
    "an empty thread id": (
        lambda lib: lib.app(saved=True).invoke({"x": ""}, {"configurable": {"thread_id": ""}}),
        ValueError,
    ),
    "a Command whose update is text": (command(update="text"), InvalidUpdateError),
    "a Command whose update is a number": (command(update=5), InvalidUpdateError),
    "a path to a number": (lambda lib: lib.routed(5).invoke({"x": ""}), ValueError),
    "a path to a set": (lambda lib: lib.routed({"b"}).invoke({"x": ""}), ValueError),
}
"""LangGraph accepts it, and does nothing or something else; distgraph raises an error."""


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")


def error_of(mistake: Mistake, library: str) -> Exception | None:
    try:
        mistake(Library(library))
    except Exception as error:
        return error
    return None


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("mistake", SAME.values(), ids=SAME)
def test_who_catches_langgraph_s_error_catches_this_one(mistake: Mistake) -> None:
    theirs, ours = error_of(mistake, "langgraph"), error_of(mistake, "distgraph")
    assert theirs is not None
    assert type(theirs).__name__ in [cls.__name__ for cls in type(ours).__mro__]
    assert str(ours)


@pytest.mark.parametrize(("mistake", "cls"), STRICTER.values(), ids=STRICTER)
def test_what_langgraph_lets_pass_is_an_error(mistake: Mistake, cls: type[Exception]) -> None:
    assert error_of(mistake, "langgraph") is None
    assert isinstance(error_of(mistake, "distgraph"), cls)


def test_an_unmapped_path_is_told_in_plain_words() -> None:
    error = error_of(SAME["a path to what path_map lacks"], "distgraph")
    assert str(error) == (
        "Branch `condition` of node `a` did not return a valid destination: 'c' is not one of 'b'. "
        "Add it to path_map or return one of these"
    )
