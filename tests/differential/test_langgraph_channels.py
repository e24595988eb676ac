"""Channels imported from LangGraph in the annotations of a state of either library's graph."""

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Optional

import pytest
from langgraph.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    NamedBarrierValue,
    Topic,
    UntrackedValue,
)
from langgraph.channels.base import BaseChannel
from langgraph.channels.delta import DeltaChannel
from langgraph.channels.last_value import LastValueAfterFinish
from langgraph.managed import IsLastStep, RemainingSteps
from pydantic import BaseModel
from typing_extensions import NotRequired, Required, TypedDict


def extend(state, writes):
    return [*state, *(item for write in writes for item in write)]


class Everything(TypedDict):
    delta: Annotated[list, DeltaChannel(extend)]
    total: Annotated[int, BinaryOperatorAggregate(int, operator.add)]
    topic: Annotated[list, Topic(str, accumulate=True)]
    brief: Annotated[str, EphemeralValue(str)]
    loose: Annotated[str, UntrackedValue(str)]
    any: Annotated[str, AnyValue(str)]
    barrier: Annotated[Any, NamedBarrierValue(str, {"x", "y"})]
    late: Annotated[str, LastValueAfterFinish(str)]


class Classes(TypedDict):
    topic: Annotated[list, Topic]
    brief: Annotated[str, EphemeralValue]
    loose: Annotated[str, "a note", UntrackedValue]
    last: Annotated[str, LastValue]


class Qualified(TypedDict):
    topic: Required[Annotated[list, Topic(str, True)]]
    total: NotRequired[Annotated[Annotated[int, BinaryOperatorAggregate(int, operator.add)], "x"]]
    delta: Annotated[NotRequired[list], DeltaChannel(extend)]


class Model(BaseModel):
    topic: Annotated[list, Topic(str, True)] = []
    total: Annotated[int, BinaryOperatorAggregate(int, operator.add)] = 0
    brief: Annotated[Optional[str], EphemeralValue(str)] = None  # noqa: UP045


@dataclass
class Data:
    topic: Annotated[list, Topic(str, True)] = field(default_factory=list)
    total: Annotated[int, BinaryOperatorAggregate(int, operator.add)] = 0


class Only(TypedDict):
    total: Annotated[int, BinaryOperatorAggregate(int, operator.add)]


class Both(Only):
    topic: Annotated[list, Topic(str, True)]


FIRST = {"delta": ["a"], "total": 1, "topic": "x", "brief": "b", "loose": "l", "any": "p"}
SECOND = {"delta": ["b"], "total": 2, "topic": ["y", "z"], "any": "q"}


def chain(schema, **schemas):
    def build(ns):
        keys = set(schema.__annotations__)

        def one(state):
            return {k: v for k, v in FIRST.items() if k in keys} | (
                {"barrier": "x", "late": "l"} if schema is Everything else {}
            )

        def two(state):
            return {k: v for k, v in SECOND.items() if k in keys}

        def three(state):
            shown = state if isinstance(state, dict) else vars(state)
            seen = ",".join(sorted(k for k, v in shown.items() if v))
            return {"topic": [seen]} if "topic" in keys else {"total": 1}

        builder = ns.StateGraph(schema, **schemas)
        return builder.add_sequence([one, two, three]).add_edge(ns.START, "one")

    return build


@pytest.mark.parametrize(
    ("schema", "input"),
    [
        (Everything, {"delta": ["in"], "total": 10, "brief": "in"}),
        (Classes, {"brief": "in", "last": "in"}),
        (Qualified, {"topic": "in", "delta": ["in"]}),
        (Model, {"topic": ["in"], "total": 5}),
        (Data, {"total": 5}),
    ],
    ids=["instances", "classes", "qualified", "pydantic", "dataclass"],
)
def test_channels_of_langgraph_keep_their_meaning(differ, schema, input):
    outcome = differ.stream(chain(schema), input, stream_mode=["values", "updates", "tasks"])
    assert outcome.error is None
    assert outcome.chunks


def test_channels_of_input_and_output_schemas(differ):
    build = chain(Both, input_schema=Only, output_schema=Only)
    assert differ.invoke(build, {"total": 1}) == {"total": 4}


def test_channels_of_a_node_s_own_schema(differ):
    class State(TypedDict):
        count: int

    class Private(TypedDict):
        notes: Annotated[list, Topic(str, True)]

    def build(ns):
        def one(state) -> Any:
            return {"notes": "x"}

        def two(state: Private):
            return {"notes": ["y"], "count": len(state["notes"])}

        def three(state: Private):
            return {"count": len(state["notes"])}

        return ns.StateGraph(State).add_sequence([one, two, three]).add_edge(ns.START, "one")

    outcome = differ.stream(build, {"count": 0}, stream_mode="values")
    assert outcome.chunks[-1] == {"count": 2, "notes": ["x", "y"]}


class Longest(BaseChannel):
    """A channel that a user wrote for LangGraph."""

    def __init__(self, typ, key=""):
        super().__init__(typ, key)
        self.value = ""

    ValueType = UpdateType = str

    def copy(self):
        return self.from_checkpoint(self.value)

    def checkpoint(self):
        return self.value

    def from_checkpoint(self, checkpoint):
        new = Longest(self.typ, self.key)
        new.value = checkpoint if isinstance(checkpoint, str) else ""
        return new

    def update(self, values):
        self.value = max([self.value, *values], key=len)
        return bool(values)

    def get(self):
        return self.value

    def is_available(self):
        return True

    def __eq__(self, other):
        return isinstance(other, Longest)


@pytest.mark.parametrize("channel", [Longest(str), Longest], ids=["instance", "class"])
def test_a_channel_that_a_user_derived_from_langgraphs(differ, channel):
    def build(ns):
        class State(TypedDict):
            word: Annotated[str, channel]

        names = [("a", lambda s: {"word": "abc"}), ("b", lambda s: {"word": "x"})]
        return ns.StateGraph(State).add_sequence(names).add_edge(ns.START, "a")

    assert differ.invoke(build, {"word": "in"}) == {"word": "abc"}


def test_managed_values_of_langgraph(differ):
    class State(TypedDict):
        seen: Annotated[list, operator.add]
        last: IsLastStep
        left: NotRequired[RemainingSteps]

    def build(ns):
        def node(state):
            return {"seen": [(state["last"], state["left"])]}

        names = [("a", node), ("b", node)]
        return ns.StateGraph(State).add_sequence(names).add_edge(ns.START, "a")

    outcome = differ.stream(
        build, {"seen": []}, stream_mode="values", config={"recursion_limit": 3}
    )
    assert outcome.chunks[-1]["seen"] == [(False, 2), (True, 1)]
