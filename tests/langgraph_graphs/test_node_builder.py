"""Graphs that are built with LangGraph's ``NodeBuilder`` and ``Pregel``, run by ``distribute``."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.channels import BinaryOperatorAggregate, EphemeralValue, LastValue, Topic
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.types import Command, RetryPolicy, interrupt

import distgraph

THREAD: Any = {"configurable": {"thread_id": "1"}}
MODES = ["values", "updates"]


def whole(value_type: type, *names: str) -> dict[str, Any]:
    return {name: LastValue(value_type) for name in names}


def two_nodes() -> Any:
    first = NodeBuilder().subscribe_only("a").do(lambda x: x + x).write_to("b", "log")
    second = NodeBuilder().subscribe_to("b").do(lambda x: x["b"] + "!").write_to("c", "log")
    channels = {"a": EphemeralValue(str), **whole(str, "b", "c"), "log": Topic(str, True)}
    return Pregel(
        nodes={"first": first, "second": second},
        channels=channels,
        input_channels=["a"],
        output_channels=["b", "c", "log"],
    )


def cycle() -> Any:
    from langgraph.pregel._write import ChannelWriteEntry

    entry = ChannelWriteEntry(channel="value", skip_none=True)
    node = NodeBuilder().subscribe_only("value").do(lambda x: x + x if len(x) < 9 else None)
    return Pregel(
        nodes={"n": node.write_to(entry)},
        channels={"value": EphemeralValue(str)},
        input_channels=["value"],
        output_channels=["value"],
    )


def bare_values() -> Any:
    node = NodeBuilder().subscribe_only("a").do(lambda x: x + 1).do(lambda x: x * 2)
    return Pregel(
        nodes={"n": node.write_to("b", c=lambda x: x * 10, d=7)},
        channels=whole(int, "a", "b", "c", "d"),
        input_channels="a",
        output_channels=["b", "c", "d"],
    )


def nested() -> Any:
    inner = NodeBuilder().subscribe_only("a").do(lambda x: x + 1).write_to("b")
    graph = Pregel(
        nodes={"n": inner},
        channels=whole(int, "a", "b"),
        input_channels="a",
        output_channels="b",
    )
    outer = NodeBuilder().subscribe_only("x").do(graph).write_to("y")
    return Pregel(
        nodes={"o": outer}, channels=whole(int, "x", "y"), input_channels="x", output_channels="y"
    )


@pytest.mark.parametrize(
    ("build", "input"),
    [(two_nodes, {"a": "x"}), (cycle, {"value": "a"}), (bare_values, 1), (nested, 1)],
    ids=["two nodes", "cycle", "bare values", "nested"],
)
def test_it_streams_what_langgraph_streams(
    build: Callable[[], Any], input: Any, backend: str
) -> None:
    theirs, ours = build(), distgraph.distribute(build(), backend=backend)
    assert list(ours.stream(input, stream_mode=MODES)) == list(
        theirs.stream(input, stream_mode=MODES)
    )
    assert asyncio.run(ours.ainvoke(input)) == theirs.invoke(input)
    assert ours.get_input_jsonschema() == theirs.get_input_jsonschema()


def test_it_keeps_a_thread_with_questions_and_retries(backend: str) -> None:
    def build() -> Any:
        def asks(value: dict[str, Any]) -> Any:
            return value["a"] + (value.get("sum") or 0) + interrupt("more?")

        node = NodeBuilder().subscribe_to("a").read_from("sum").do(asks)
        node = node.add_retry_policies(RetryPolicy()).write_to("sum")
        channels = {"a": EphemeralValue(int), "sum": BinaryOperatorAggregate(int, operator.add)}
        return Pregel(
            nodes={"asks": node},
            channels=channels,
            input_channels=["a"],
            output_channels=["sum"],
            checkpointer=InMemorySaver(),
        )

    def run(graph: Any) -> Any:
        asked = graph.invoke({"a": 1}, THREAD)["__interrupt__"][0].value
        answered = graph.invoke(Command(resume=10), THREAD)
        return asked, answered, graph.get_state(THREAD).values, graph.get_state(THREAD).next

    assert run(distgraph.distribute(build(), backend=backend)) == run(build())


def test_tags_of_a_node_are_in_the_tasks():
    node = NodeBuilder().subscribe_only("a").do(lambda x: x + 1).write_to("b").meta("tag", key="v")

    def graph() -> Any:
        return Pregel(
            nodes={"n": node},
            channels=whole(int, "a", "b"),
            input_channels="a",
            output_channels="b",
        )

    def first(graph: Any) -> Any:
        return next(iter(graph.stream(1, {"tags": ["run"]}, stream_mode="tasks")))

    reference = first(graph())
    if "metadata" not in reference:
        pytest.skip("tasks have no metadata in this version of LangGraph")
    ours = first(distgraph.distribute(graph(), backend="local"))
    assert ours["metadata"] == reference["metadata"]
    assert ours["metadata"]["tags"] == ["run", "tag"]
