"""Error handlers on threads that are saved: what a crash between failure and handler leaves."""

import operator
from typing import Annotated, TypedDict

import pytest

from distgraph.errors import NodeError
from distgraph.graph import START, StateGraph
from distgraph.types import Command, interrupt
from tests.support.threads import EVERY_MODE, compare_turns

CONFIG = {"configurable": {"thread_id": "1"}}


class Log(TypedDict):
    log: Annotated[list, operator.add]


def graph(handler, ran, **options):
    def boom(state):
        ran.append("boom")
        raise ValueError("boom")

    def other(state):
        ran.append("other")
        return {"log": ["other"]}

    builder = StateGraph(Log).add_node("boom", boom, error_handler=handler, **options)
    builder.add_node("other", other)
    return builder.add_edge(START, "boom").add_edge(START, "other")


def test_a_handler_that_did_not_finish_runs_again_and_the_failed_node_does_not(saver):
    ran = []
    ready = []

    def handler(state, error: NodeError):
        ran.append("handler")
        if not ready:
            raise RuntimeError("no connection")
        return {"log": [f"{error.node}: {type(error.error).__name__} {error.error}"]}

    made = graph(handler, ran).compile(checkpointer=saver, backend="local")
    with pytest.raises(RuntimeError, match="no connection"):
        made.invoke({"log": ["in"]}, CONFIG, durability="sync")
    ready.append(True)
    ran.clear()
    final = made.invoke(None, CONFIG)
    assert "boom" not in ran
    assert ran.count("handler") == 1
    # savers keep an exception as its text
    assert final["log"][:1] == ["in"]
    assert "boom" in final["log"][1]
    assert made.get_state(CONFIG).next == ()


def test_a_handler_may_ask_and_is_answered(saver):
    ran = []

    def handler(state, error: NodeError):
        return {"log": [interrupt(f"what about {error.node}?")]}

    made = graph(handler, ran).compile(checkpointer=saver, backend="local")
    (asked,) = made.invoke({"log": []}, CONFIG)["__interrupt__"]
    assert asked.value == "what about boom?"
    final = made.invoke(Command(resume="never mind"), CONFIG)
    assert sorted(final["log"]) == ["never mind", "other"]
    assert sorted(ran) == ["boom", "other"]


def test_a_finished_handler_does_not_run_again(saver):
    ran = []

    def handler(state, error: NodeError):
        ran.append("handler")
        return {"log": ["handled"]}

    def asks(state):
        return {"log": [interrupt("ok?")]}

    builder = graph(handler, ran).add_node("asks", asks).add_edge(START, "asks")
    made = builder.compile(checkpointer=saver, backend="local")
    made.invoke({"log": []}, CONFIG)
    assert sorted(ran) == ["boom", "handler", "other"]
    final = made.invoke(Command(resume="yes"), CONFIG)
    assert sorted(final["log"]) == ["handled", "other", "yes"]
    assert sorted(ran) == ["boom", "handler", "other"]


def handled(engine):
    def boom(state):
        raise ValueError("boom")

    def handler(state, error: engine.NodeError):
        return {"log": [f"{error.node} {error.error!r}"]}

    builder = engine.StateGraph(Log).add_node("boom", boom, error_handler=handler)
    builder.add_node("next", lambda state: {"log": ["next"]})
    return builder.add_edge(engine.START, "boom").add_edge("__error_handler__boom", "next")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_what_is_saved_and_streamed_is_what_langgraph_saves_and_streams(here, durability):
    compare_turns(here, handled, [{"log": ["in"]}], stream_mode=EVERY_MODE, durability=durability)


def test_a_question_of_a_handler_is_put_and_answered_as_by_langgraph(here):
    def build(engine):
        def boom(state):
            raise ValueError("boom")

        def handler(state, error: engine.NodeError):
            return {"log": [error.node, engine.interrupt("go on?")]}

        builder = engine.StateGraph(Log).add_node("boom", boom, error_handler=handler)
        return builder.add_edge(engine.START, "boom")

    def answer(engine, outcomes):
        return engine.Command(resume="yes")

    compare_turns(here, build, [{"log": ["in"]}, answer])
