"""A sequence of two nodes, in every mode alone and in lists of modes."""

import pytest

from tests.support.graphs import joke
from tests.support.normalise import normalise

MODES = ["values", "updates", "custom", "messages", "debug", "tasks", "checkpoints"]
ICE = {"topic": "ice"}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_alone_yields_bare_payloads(differ, mode):
    differ.stream(joke, ICE, stream_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_alone_in_a_list_yields_tagged_payloads(differ, mode):
    differ.stream(joke, ICE, stream_mode=[mode])


def test_all_modes_in_one_list_come_in_order_of_emission(differ):
    differ.stream(joke, ICE, stream_mode=MODES)


def test_the_order_of_modes_in_the_list_does_not_matter(differ):
    differ.stream(joke, ICE, stream_mode=MODES[::-1])


def test_the_default_mode_is_updates(differ):
    differ.stream(joke, ICE)


def test_values_updates_and_custom_exactly(engine):
    graph = engine.compile(joke(engine))
    assert list(graph.stream(ICE, stream_mode=["values", "updates", "custom"])) == [
        ("values", {"topic": "ice"}),
        ("custom", {"node": "refine_topic"}),
        ("updates", {"refine_topic": {"topic": "ice and cats"}}),
        ("values", {"topic": "ice and cats"}),
        ("updates", {"generate_joke": {"joke": "J:ice and cats"}}),
        ("values", {"topic": "ice and cats", "joke": "J:ice and cats"}),
    ]


def test_tasks_exactly(engine):
    graph = engine.compile(joke(engine))
    assert normalise(graph.stream(ICE, stream_mode="tasks")) == [
        {
            "id": "<uuid-1>",
            "name": "refine_topic",
            "input": {"topic": "ice"},
            "triggers": ("branch:to:refine_topic",),
        },
        {
            "id": "<uuid-1>",
            "name": "refine_topic",
            "error": None,
            "result": {"topic": "ice and cats"},
            "interrupts": [],
        },
        {
            "id": "<uuid-2>",
            "name": "generate_joke",
            "input": {"topic": "ice and cats"},
            "triggers": ("branch:to:generate_joke",),
        },
        {
            "id": "<uuid-2>",
            "name": "generate_joke",
            "error": None,
            "result": {"joke": "J:ice and cats"},
            "interrupts": [],
        },
    ]


def test_checkpoints_are_silent_without_a_checkpointer(engine):
    graph = engine.compile(joke(engine))
    assert list(graph.stream(ICE, stream_mode="checkpoints")) == []


def test_a_stream_can_be_taken_twice_from_one_compiled_graph(engine):
    graph = engine.compile(joke(engine))
    assert list(graph.stream(ICE)) == list(graph.stream(ICE))
    assert next(graph.stream({"topic": "sun"})) == {"refine_topic": {"topic": "sun and cats"}}
