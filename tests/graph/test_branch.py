from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel
from typing_extensions import TypedDict

from distgraph.errors import InvalidUpdateError
from distgraph.graph import END, START, StateGraph
from distgraph.graph.branch import BranchWriter
from distgraph.types import Send

CONTEXT = SimpleNamespace(
    config={"tags": ["t"]}, writer=None, store="STORE", runtime="RUNTIME", previous=None
)


class State(TypedDict):
    items: Annotated[list, operator.add]
    name: str


class Part(TypedDict):
    name: str


class Model(BaseModel):
    name: str


def node(state: Any) -> Any:
    return {}


def writer(path: Any, path_map: Any = None, schema: Any = State, **node_args: Any) -> BranchWriter:
    builder = StateGraph(schema).add_node("a", node, **node_args).add_node("b", node)
    builder.add_edge(START, "a").add_conditional_edges("a", path, path_map)
    made = builder.compile().program.nodes["a"].writers[-1]
    assert isinstance(made, BranchWriter)
    return made


def routed(
    path: Any,
    path_map: Any = None,
    *,
    returned: Any = None,
    state: dict[str, Any] | None = None,
    **kwargs: Any,
) -> list[Any]:
    values = {"items": [1], "name": "n"} if state is None else state

    def read(select: Sequence[str] | str) -> Any:
        if isinstance(select, str):
            return values.get(select)
        return {key: values[key] for key in select if key in values}

    made = writer(path, path_map, **kwargs)
    if made.is_async:
        return list(asyncio.run(made.acall(returned, read, CONTEXT)))
    writes = list(made(returned, read, CONTEXT))
    assert writes == list(asyncio.run(made.acall(returned, read, CONTEXT)))
    return writes


async def async_route(state: Any) -> str:
    return "b"


@pytest.mark.parametrize(
    ("path", "path_map", "expected"),
    [
        (lambda s: "b", None, [("branch:to:b", None)]),
        (lambda s: END, None, []),
        (lambda s: ["a", "b", END], None, [("branch:to:a", None), ("branch:to:b", None)]),
        (lambda s: [], None, []),
        (lambda s: True, {True: "b", False: END}, [("branch:to:b", None)]),
        (lambda s: False, {True: "b", False: END}, []),
        (lambda s: "b", ["b"], [("branch:to:b", None)]),
        (lambda s: Send("b", 1), None, [("__pregel_tasks", Send("b", 1))]),
        (
            lambda s: [Send("b", i) for i in s["items"]] + ["end"],
            {"end": END},
            [("__pregel_tasks", Send("b", 1))],
        ),
        (async_route, None, [("branch:to:b", None)]),
        (RunnableLambda(lambda s: "b"), None, [("branch:to:b", None)]),
        (RunnableLambda(async_route), None, [("branch:to:b", None)]),
    ],
)
def test_what_a_path_returns_becomes_writes(path: Any, path_map: Any, expected: Any) -> None:
    assert routed(path, path_map) == expected


def test_langgraphs_send_is_taken_for_ours() -> None:
    theirs = pytest.importorskip("langgraph.types")
    assert routed(lambda s: [theirs.Send("b", 1)]) == [("__pregel_tasks", Send("b", 1))]


def test_a_path_reads_the_state_and_the_keys_that_only_its_node_returned() -> None:
    seen: list[Any] = []
    routed(lambda s: seen.append(s) or "b", returned={"name": "old", "extra": 1})
    assert seen[0] == {"items": [1], "name": "n", "extra": 1}


def test_a_path_with_its_own_schema_reads_that_and_nothing_else() -> None:
    seen: list[Any] = []

    def route(state: Part) -> str:
        seen.append(state)
        return "b"

    routed(route, returned={"extra": 1})
    assert seen[0] == {"name": "n"}
    assert writer(route).select == ("name",)


def test_a_path_reads_what_its_node_reads() -> None:
    assert writer(lambda s: "b").select == ("items", "name")
    assert writer(lambda s: "b", input_schema=Part).select == ("name",)


def test_a_path_on_a_model_receives_an_instance() -> None:
    seen: list[Any] = []
    routed(lambda s: seen.append(s) or "b", schema=Model, state={"name": "n"})
    assert seen[0] == Model(name="n")


def test_a_path_on_a_state_of_one_value_receives_it_bare() -> None:
    seen: list[Any] = []
    routed(
        lambda s: seen.append(s) or "b",
        schema=Annotated[list, operator.add],
        state={"__root__": [1]},
    )
    assert seen[0] == [1]


def test_a_path_is_injected_as_a_node_is() -> None:
    seen: list[Any] = []

    def route(state: Any, config: Any, *, store: Any, runtime: Any) -> str:
        seen.append((config["tags"], store, runtime))
        return "b"

    routed(route)
    assert seen[0] == (["t"], "STORE", "RUNTIME")


@pytest.mark.parametrize("result", [None, START, 5, ["b", None]])
def test_a_result_that_is_no_destination_is_refused_naming_the_branch(result: Any) -> None:
    def route(state: Any) -> Any:
        return result

    with pytest.raises(ValueError, match="Branch `route` of node `a` did not return a valid dest"):
        routed(route)


@pytest.mark.parametrize("result", ["c", None, ["yes", "c"], [["yes"]]])
def test_a_result_that_is_not_in_the_path_map_is_refused_naming_what_is(result: Any) -> None:
    with pytest.raises(ValueError, match=r"is not one of 'yes', 'no'\. Add it to path_map"):
        routed(lambda s: result, {"yes": "b", "no": END})


def test_a_send_to_the_end_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match="Cannot send a packet to the END node"):
        routed(lambda s: Send(END, 1))


def test_destinations_come_from_a_literal_return_type() -> None:
    def route(state: Any) -> Literal["b", "__end__"]: ...

    assert writer(route).ends == {"b": "b", "__end__": "__end__"}
    assert writer(RunnableLambda(route)).ends == {"b": "b", "__end__": "__end__"}
    assert writer(lambda s: "b").ends is None


def test_a_conditional_entry_reads_the_whole_state_and_runs_on_a_worker() -> None:
    builder = StateGraph(State, input_schema=Part).add_node("a", node)
    graph = builder.set_conditional_entry_point(async_route, {"b": "a"}).compile()
    assert graph.spec.nodes[START].branch_channels == ("items", "name")
    assert graph.spec.nodes[START].inline is None
    assert graph.spec.nodes[START].is_async is True
    assert graph.program.nodes[START].user_writers is True
