"""``version="v2"``: every chunk is a dict of type, namespace and data."""

import dataclasses

import pytest
from langchain_core.messages import HumanMessage

from tests.differential.test_messages_mode import chat
from tests.differential.test_schemas import Card, Form, typed
from tests.differential.test_subgraphs import family
from tests.support.graphs import joke
from tests.support.models import EchoModel

MODES = ["values", "updates", "custom", "messages", "debug", "tasks", "checkpoints"]
ICE = {"topic": "ice"}


@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_shapes(differ, mode):
    differ.stream(joke, ICE, stream_mode=mode, version="v2")


@pytest.mark.parametrize("subgraphs", [False, True])
def test_shapes_of_subgraphs(differ, subgraphs):
    differ.stream(family, {"foo": "foo"}, stream_mode=MODES, version="v2", subgraphs=subgraphs)


@pytest.mark.parametrize("schema", [Card, Form], ids=["dataclass", "pydantic"])
def test_values_are_objects_of_the_schema(differ, schema):
    outcome = differ.stream(
        lambda ns: typed(ns, schema),
        {"name": "ada"},
        stream_mode=["values", "updates"],
        version="v2",
    )
    last = outcome.chunks[-1]["data"]
    assert type(last) is schema
    assert (dataclasses.asdict(last) if schema is Card else dict(last))["count"] == 1


def test_tokens(differ):
    differ.stream(
        lambda ns: chat(ns, EchoModel()),
        {"messages": [HumanMessage("hi", id="1")]},
        stream_mode=["messages", "updates"],
        version="v2",
    )


def test_a_breakpoint(differ):
    differ.stream(
        joke,
        ICE,
        stream_mode=["values", "updates"],
        version="v2",
        compile={"interrupt_before": ["generate_joke"]},
    )


def test_values_exactly(engine):
    chunks = list(engine.compile(joke(engine)).stream(ICE, stream_mode="values", version="v2"))
    assert chunks[0] == {"type": "values", "ns": (), "data": {"topic": "ice"}, "interrupts": ()}


def test_an_unknown_version_is_an_error(ours):
    with pytest.raises(ValueError, match="v9"):
        list(ours.compile(joke(ours)).stream(ICE, version="v9"))
