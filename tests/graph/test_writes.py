from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from distgraph.errors import InvalidUpdateError, ParentCommand
from distgraph.graph.writes import EdgeWriter, StateWriter
from distgraph.types import Command, Overwrite, Send

WRITER = StateWriter("n", ("a", "b"))
ROOT = StateWriter("n", ("__root__",))


def writes(value: Any, writer: StateWriter = WRITER) -> list[Any]:
    return list(writer(value, lambda select: None, None))


class Model(BaseModel):
    a: int = 0
    c: int = 0


@dataclass
class Data:
    a: int
    b: int | None = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ({}, []),
        ({"x": 1}, []),
        ({"a": 1, "x": 2, "b": None}, [("a", 1), ("b", None)]),
        (Model(a=1), [("a", 1)]),
        (Data(1), [("a", 1), ("b", None)]),
        (Command(), []),
        (Command(update={"a": 1, "x": 2}), [("a", 1)]),
        (Command(update=[("a", 1), ("a", 2)]), [("a", 1), ("a", 2)]),
        (Command(update=Data(1, 2)), [("a", 1), ("b", 2)]),
        (Command(goto="m"), [("branch:to:m", None)]),
        (Command(goto="__end__"), []),
        (Command(goto=("m", "k")), [("branch:to:m", None), ("branch:to:k", None)]),
        (
            Command(update={"a": 1}, goto=[Send("m", 1), "k"]),
            [("a", 1), ("__pregel_tasks", Send("m", 1)), ("branch:to:k", None)],
        ),
        (Send("m", 1), [("__pregel_tasks", Send("m", 1))]),
        (
            [Send("m", 1), Send("m", 2)],
            [("__pregel_tasks", Send("m", 1)), ("__pregel_tasks", Send("m", 2))],
        ),
        (
            [Command(update={"a": 1}), {"b": 2}, Command(goto="m")],
            [("a", 1), ("b", 2), ("branch:to:m", None)],
        ),
        ([Command(update={"a": 1}), None], [("a", 1)]),
        ({"a": Overwrite([1])}, [("a", Overwrite([1]))]),
    ],
)
def test_what_a_node_returns_becomes_writes(value: Any, expected: list[Any]) -> None:
    assert writes(value) == expected
    assert list(asyncio.run(WRITER.acall(value, lambda s: None, None))) == expected


@pytest.mark.parametrize("value", ["text", 5, [{"a": 1}], [], ({"a": 1},)])
def test_other_values_are_refused_naming_the_node(value: Any) -> None:
    with pytest.raises(InvalidUpdateError, match="Node `n`: Expected dict, got"):
        writes(value)


def test_a_command_with_an_update_that_has_no_keys_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match=r"Node `n`: Command\(update=…\) must be a dict"):
        writes(Command(update="text"))


def test_a_command_that_leads_to_something_else_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match=r"Command\(goto=…\) takes node names and Sends"):
        writes(Command(goto=[5]))


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: [{"a": 1}, c]])
def test_a_command_for_the_parent_is_raised(wrap: Any) -> None:
    command = Command(graph=Command.PARENT, update={"z": 1}, goto="m")
    with pytest.raises(ParentCommand) as caught:
        writes(wrap(command))
    assert caught.value.command is command


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        (["x"], [("__root__", ["x"])]),
        ({"a": 1}, [("__root__", {"a": 1})]),
        (Command(update=["x"], goto="m"), [("__root__", ["x"]), ("branch:to:m", None)]),
        ([Command(update="x"), "y"], [("__root__", "x"), ("__root__", "y")]),
        (Send("m", 1), [("__pregel_tasks", Send("m", 1))]),
    ],
)
def test_in_a_graph_of_one_value_the_return_is_the_write(value: Any, expected: list[Any]) -> None:
    assert writes(value, ROOT) == expected


def test_langgraphs_own_objects_are_taken_for_ours() -> None:
    theirs = pytest.importorskip("langgraph.types")
    assert writes(theirs.Send("m", 1)) == [("__pregel_tasks", Send("m", 1))]
    assert writes(theirs.Send("m", 1, timeout=3))[0][1].timeout.run_timeout == 3
    assert writes(theirs.Command(update={"a": 1}, goto=[theirs.Send("m", 1), "k"])) == [
        ("a", 1),
        ("__pregel_tasks", Send("m", 1)),
        ("branch:to:k", None),
    ]
    assert writes([theirs.Command(update={"a": 1}), {"b": 2}]) == [("a", 1), ("b", 2)]
    with pytest.raises(ParentCommand):
        writes(theirs.Command(graph=theirs.Command.PARENT))


def test_edges_write_the_same_whatever_is_returned() -> None:
    writer = EdgeWriter((("branch:to:m", None), ("join:n+k:m", "n")))
    assert list(writer("anything", lambda s: None, None)) == [
        ("branch:to:m", None),
        ("join:n+k:m", "n"),
    ]
