"""Channels of every kind, and graphs that were put together from channels and nodes."""

from __future__ import annotations

import operator
import subprocess
import sys
from typing import Annotated, Any

import pytest
from langchain_core.tools import tool
from langgraph.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    Topic,
    UntrackedValue,
)
from langgraph.channels.base import BaseChannel
from langgraph.errors import EmptyChannelError, InvalidUpdateError
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.prebuilt import ToolNode
from langgraph.pregel import NodeBuilder, Pregel
from typing_extensions import TypedDict

from distgraph import channels as own
from distgraph import distribute
from distgraph._internal.missing import MISSING
from distgraph.errors import EmptyChannelError as OwnEmpty
from distgraph.errors import InvalidUpdateError as OwnInvalid
from distgraph.langgraphs.channels import ForeignChannel, translate_channels
from distgraph.serde.pickling import dumps_code, loads
from tests.langgraph_graphs.support import VERSION, newest, same


class Longest(BaseChannel[str, str, str]):
    """Keeps the longest text that was ever written."""

    __slots__ = ("kept",)

    def __init__(self, typ: Any = str, key: str = "") -> None:
        super().__init__(typ, key)
        self.kept: str | None = None

    @property
    def ValueType(self) -> Any:
        return str

    @property
    def UpdateType(self) -> Any:
        return str

    def from_checkpoint(self, checkpoint: Any) -> Longest:
        new = Longest(self.typ, self.key)
        new.kept = checkpoint if isinstance(checkpoint, str) else None
        return new

    def update(self, values: Any) -> bool:
        if any(not value for value in values):
            raise InvalidUpdateError("an empty text")
        best = max([self.kept or "", *values], key=len)
        changed = best != (self.kept or "")
        self.kept = best or None
        return changed

    def get(self) -> str:
        if self.kept is None:
            raise EmptyChannelError()
        return self.kept

    def checkpoint(self) -> Any:
        return self.kept


class Kinds(TypedDict, total=False):
    plain: str
    added: Annotated[list[str], operator.add]
    brief: Annotated[str, EphemeralValue]
    any: Annotated[str, AnyValue]
    untracked: Annotated[str, UntrackedValue]
    topic: Annotated[list[str], Topic(str, accumulate=True)]
    longest: Annotated[str, Longest]
    last: IsLastStep
    left: RemainingSteps


def seen(state: Kinds) -> str:
    return ",".join(f"{key}={state[key]}" for key in sorted(state) if key != "added")


def first(state: Kinds) -> dict[str, Any]:
    out = dict.fromkeys(("plain", "brief", "any", "untracked", "topic", "longest"), "f")
    return {**out, "added": [seen(state)]}


def second(state: Kinds) -> dict[str, Any]:
    return {"topic": "s", "longest": "second", "added": [seen(state)]}


def third(state: Kinds) -> dict[str, Any]:
    return {"longest": "3rd", "added": [seen(state)]}


def route(state: Kinds) -> str:
    return "third" if state["longest"] == "second" else "__end__"


def kinds(*_: Any) -> StateGraph:
    return (
        StateGraph(Kinds)
        .add_node("first", first)
        .add_node("second", second)
        .add_node("third", third)
        .add_edge(START, "first")
        .add_edge("first", "second")
        .add_conditional_edges("second", route)
    )


@newest
def test_channels_of_every_kind(backend):
    same(backend, kinds, {"plain": "p"}, stream_mode=["values", "updates"])


def test_a_channel_of_the_users_own_class(backend):
    out = distribute(kinds(), backend=backend).invoke({"plain": "p"})
    assert out["longest"] == "second"
    assert "longest=second" in out["added"][-1]


def adapted() -> ForeignChannel:
    channels, _ = translate_channels({"key": Longest(str, "key")}, "Graph")
    channel = channels["key"]
    assert isinstance(channel, ForeignChannel)
    return channel


def test_an_adapted_channel_is_empty_until_written():
    channel = adapted()
    assert not channel.is_available()
    with pytest.raises(OwnEmpty, match="'key' is empty"):
        channel.get()
    assert channel.update(["ab"])
    assert channel.get() == "ab"
    assert not channel.update(["a"])


def test_an_adapted_channels_refusal_is_ours():
    with pytest.raises(OwnInvalid, match="an empty text"):
        adapted().update([""])


def test_an_adapted_channels_copies_are_independent_and_travel():
    channel = adapted()
    channel.update(["ab"])
    copy = channel.copy()
    copy.update(["abc"])
    assert channel.get() == "ab"
    assert loads(dumps_code(copy)).get() == "abc"
    assert copy.from_checkpoint(MISSING).is_available() is False
    assert copy.from_checkpoint(copy.checkpoint()).get() == "abc"


@pytest.mark.skipif(VERSION < (1, 2, 0), reason="new in LangGraph 1.2")
def test_a_delta_channel_is_a_reducer_of_batches():
    from langgraph.channels.delta import DeltaChannel

    def joined(state: list[str], writes: list[list[str]]) -> list[str]:
        return [*state, *(w for write in writes for w in write)]

    class Delta(TypedDict, total=False):
        items: Any

    Delta.__annotations__["items"] = Annotated[list, DeltaChannel(joined)]
    graph = (
        StateGraph(Delta)
        .add_node("a", lambda state: {"items": ["a"]})
        .add_node("b", lambda state: {"items": ["b"]})
        .add_edge(START, "a")
        .add_edge(START, "b")
    )
    assert distribute(graph, backend="local").invoke({"items": ["x"]}) == graph.compile().invoke(
        {"items": ["x"]}
    )


def test_the_driver_reads_an_agents_graph_without_langgraph_and_tools_of_langchain():
    class State(TypedDict):
        messages: Annotated[list[Any], add_messages]

    @tool
    def search(query: str) -> str:
        """Search."""
        return query

    builder = StateGraph(State).add_node("tools", ToolNode([search])).add_edge(START, "tools")
    spec = distribute(builder.compile(), backend="local").spec
    script = (
        "import sys; from distgraph.serde.pickling import loads;"
        "spec = loads(bytes.fromhex(sys.stdin.read()));"
        "print(spec.channels['messages'].operator.__module__);"
        "print(spec.nodes['tools'].split.options('search').is_async);"
        "print([m for m in ('langgraph', 'langchain_core') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=dumps_code(spec).hex(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["distgraph.graph.message", "False", "[]"]


def test_another_reducer_of_messages_stays_as_it_is():
    class State(TypedDict):
        messages: Annotated[list[Any], add_messages(format="langchain-openai")]

    builder = StateGraph(State).add_node("node", lambda state: {}).add_edge(START, "node")
    found, _ = translate_channels(builder.compile().channels, "Graph")
    channel = found["messages"]
    assert isinstance(channel, own.BinaryOperatorAggregate)
    assert not channel.operator.__module__.startswith("distgraph")


def test_known_channels_become_ours():
    given = {
        "last": LastValue(int),
        "sum": BinaryOperatorAggregate(int, operator.add),
        "brief": EphemeralValue(int, guard=False),
        "topic": Topic(int, accumulate=True),
    }
    found, managed = translate_channels(given, "Graph")
    assert managed == {}
    assert {key: type(channel) for key, channel in found.items()} == {
        "last": own.LastValue,
        "sum": own.BinaryOperatorAggregate,
        "brief": own.EphemeralValue,
        "topic": own.Topic,
        "__pregel_tasks": own.Topic,
    }
    brief, topic = found["brief"], found["topic"]
    assert isinstance(brief, own.EphemeralValue) and brief.guard is False
    assert isinstance(topic, own.Topic) and topic.accumulate is True
    assert all(channel.key == key for key, channel in found.items())


def test_sentinels_that_writers_compare_travel_as_themselves():
    from langgraph.pregel._read import DEFAULT_BOUND
    from langgraph.pregel._write import PASSTHROUGH, SKIP_WRITE, ChannelWriteEntry

    assert loads(dumps_code([DEFAULT_BOUND]))[0] is DEFAULT_BOUND
    entry, skipped = loads(dumps_code((ChannelWriteEntry("c"), SKIP_WRITE)))
    assert entry.value is PASSTHROUGH
    assert skipped is SKIP_WRITE
    assert type(loads(dumps_code(object()))) is object


# --- without a StateGraph -----------------------------------------------------------------------


def shout(value: str) -> str:
    return value + value


def low_level(*_: Any) -> Pregel:
    """Channels and nodes put together by hand."""
    twice = NodeBuilder().subscribe_only("a").do(shout).write_to("b", "c")
    both = (
        NodeBuilder()
        .subscribe_to("b")
        .read_from("a")
        .do(lambda read: f"{read['a']}-{read['b']}")
        .write_to(c=lambda value: value.upper())
    )
    return Pregel(
        nodes={"twice": twice, "both": both},
        channels={
            "a": LastValue(str),
            "b": EphemeralValue(str),
            "c": Topic(str, accumulate=True),
        },
        input_channels=["a"],
        output_channels=["b", "c"],
    )


def test_a_graph_of_channels_and_nodes(backend):
    graph = distribute(low_level(), backend=backend)
    assert graph.invoke({"a": "x"}) == low_level().invoke({"a": "x"}) == {"c": ["xx", "X-XX"]}


@newest
def test_its_stream_is_that_of_its_own_default_mode(backend):
    same(backend, low_level, {"a": "x"})
    same(backend, low_level, {"a": "x"}, stream_mode=["updates", "values"])
