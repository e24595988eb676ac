"""Draining: a run that stops between two supersteps, to go on later."""

import gc
import operator
import threading
import time
import weakref
from typing import Annotated, TypedDict

import pytest

from distgraph.errors import GraphDrained
from distgraph.graph import START, StateGraph
from distgraph.invocation import controls
from distgraph.runtime import RunControl
from tests.support.threads import EVERY_MODE, compare_turns

CONFIG = {"configurable": {"thread_id": "1"}}


class Log(TypedDict):
    log: Annotated[list, operator.add]


def adds(*entries):
    return lambda state: {"log": list(entries)}


def drains(state, runtime):
    runtime.control.request_drain("sigterm")
    return {"log": [runtime.drain_requested, runtime.drain_reason]}


def three(first=drains):
    builder = StateGraph(Log).add_node("first", first).add_node("second", adds("second"))
    builder.add_node("third", adds("third")).add_edge(START, "first")
    return builder.add_edge("first", "second").add_edge("second", "third")


def test_a_node_asks_for_the_end_behind_its_step_and_the_thread_goes_on(ours):
    from langgraph.checkpoint.memory import InMemorySaver

    graph = ours.compile(three(), checkpointer=InMemorySaver())
    with pytest.raises(GraphDrained, match="Graph drained: sigterm") as caught:
        graph.invoke({"log": []}, CONFIG)
    assert caught.value.reason == "sigterm"
    assert graph.get_state(CONFIG).next == ("second",)
    assert graph.invoke(None, CONFIG)["log"] == [True, "sigterm", "second", "third"]


def test_the_caller_asks_while_the_run_goes_on(ours):
    control = RunControl()
    seen = []

    def second(state):
        time.sleep(1.5)  # until the caller has read of the first, and has asked
        return {"log": ["second"]}

    builder = StateGraph(Log).add_sequence([("first", adds("first")), ("second", second)])
    builder.add_node("third", adds("third")).add_edge("second", "third").add_edge(START, "first")
    with pytest.raises(GraphDrained, match="enough"):
        for chunk in ours.compile(builder).stream({"log": []}, control=control):
            seen.append(chunk)
            control.request_drain("enough")
    assert seen == [{"first": {"log": ["first"]}}, {"second": {"log": ["second"]}}]


def test_one_that_was_asked_before_the_start_runs_nothing(ours):
    control = RunControl()
    control.request_drain()
    assert (control.drain_requested, control.drain_reason) == (True, "shutdown")
    with pytest.raises(GraphDrained, match="shutdown"):
        ours.compile(three()).invoke({"log": []}, control=control)


def test_a_run_that_has_ended_is_not_drained(ours):
    control = RunControl()
    builder = StateGraph(Log).add_node("only", drains).add_edge(START, "only")
    assert ours.compile(builder).invoke({"log": []}, control=control)["log"] == [True, "sigterm"]
    assert (control.drain_requested, control.drain_reason) == (True, "sigterm")


def test_a_node_may_use_the_callers_own_control(ours):
    control = RunControl()

    def asks(state):
        control.request_drain("from within")
        return {"log": ["first"]}

    with pytest.raises(GraphDrained, match="from within"):
        ours.compile(three(asks)).invoke({"log": []}, control=control)
    assert control.drain_reason == "from within"


def test_nodes_of_a_step_finish_before_the_run_stops():
    begun = threading.Event()
    control = RunControl()

    def slow(state):
        begun.set()
        control_seen.wait(10)
        return {"log": ["slow"]}

    def asks(state, runtime):
        begun.wait(10)
        runtime.control.request_drain()
        control_seen.set()
        return {"log": ["asks"]}

    control_seen = threading.Event()
    from langgraph.checkpoint.memory import InMemorySaver

    builder = StateGraph(Log).add_node("slow", slow).add_node("asks", asks)
    builder.add_node("next", adds("next")).add_edge(["slow", "asks"], "next")
    builder.add_edge(START, "slow").add_edge(START, "asks")
    graph = builder.compile(checkpointer=InMemorySaver(), backend="local")
    with pytest.raises(GraphDrained):
        graph.invoke({"log": []}, CONFIG, control=control)
    assert control.drain_requested
    assert graph.get_state(CONFIG).values == {"log": ["asks", "slow"]}


def test_a_subgraph_stops_as_well_and_goes_on_where_it_stopped(ours):
    from langgraph.checkpoint.memory import InMemorySaver

    inner = three().compile()
    builder = StateGraph(Log).add_node("inner", inner).add_node("after", adds("after"))
    builder.add_node("beside", adds("beside")).add_edge(START, "beside")
    builder.add_edge(START, "inner").add_edge("inner", "after")
    graph = ours.compile(builder, checkpointer=InMemorySaver())
    with pytest.raises(GraphDrained, match="sigterm"):
        graph.invoke({"log": []}, CONFIG)
    assert graph.get_state(CONFIG).next == ("inner",)
    final = graph.invoke(None, CONFIG)["log"]
    assert final == ["beside", True, "sigterm", "second", "third", "after"]


def test_a_graph_that_a_node_calls_is_drained_with_the_run_around_it(ours):
    from langgraph.checkpoint.memory import InMemorySaver

    inner = three().compile()

    def calls(state):
        return {"log": inner.invoke({"log": []})["log"]}

    builder = StateGraph(Log).add_node("calls", calls).add_node("after", adds("after"))
    graph = ours.compile(
        builder.add_edge(START, "calls").add_edge("calls", "after"), checkpointer=InMemorySaver()
    )
    with pytest.raises(GraphDrained, match="sigterm"):
        graph.invoke({"log": []}, CONFIG)
    state = graph.get_state(CONFIG)
    assert state.next == ("calls",)
    assert state.tasks[0].error is None
    assert graph.invoke(None, CONFIG)["log"] == [True, "sigterm", "second", "third", "after"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_what_is_saved_and_streamed_is_what_langgraph_saves_and_streams(here, durability):
    def build(engine):
        def first(state, runtime):
            if runtime.control is not None and not state["log"][1:]:
                runtime.control.request_drain("now")
            return {"log": ["first"]}

        builder = engine.StateGraph(Log).add_node("first", first)
        builder.add_node("second", adds("second")).add_edge(engine.START, "first")
        return builder.add_edge("first", "second")

    compare_turns(
        here, build, [{"log": ["in"]}, None], stream_mode=EVERY_MODE, durability=durability
    )


def test_a_control_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"distgraph.runtime.RunControl, got builtins.object"):
        three().compile(backend="local").invoke({"log": []}, control=object())


def test_langgraph_s_own_control_stops_a_run_and_hears_of_requests_of_nodes():
    from langgraph.runtime import RunControl as Theirs

    def first(state, runtime):
        runtime.control.request_drain("by a node")
        return {"log": ["first"]}

    builder = StateGraph(Log).add_node("first", first).add_node("second", adds("second"))
    graph = builder.add_edge(START, "first").add_edge("first", "second").compile(backend="local")
    control, before = Theirs(), Theirs()
    before.request_drain("before the run")
    for given, reason in ((control, "by a node"), (before, "before the run")):
        with pytest.raises(GraphDrained, match=reason):
            graph.invoke({"log": []}, control=given)
        assert given.drain_reason == reason
        assert isinstance(given, Theirs)


def test_controls_are_forgotten_by_a_thread_that_holds_their_lock():
    """The garbage collector runs wherever objects are made."""
    from langgraph.runtime import RunControl as Theirs

    control = Theirs()
    dropped = controls.adopted(control)
    dropped.circle = dropped
    known = weakref.ref(dropped)
    del dropped

    def collect():
        with controls._lock:
            gc.collect()

    collector = threading.Thread(target=collect, daemon=True)
    collector.start()
    collector.join(60)
    assert not collector.is_alive()
    assert known() is None
    control.request_drain("enough")
    assert control.drain_reason == "enough"


def test_a_request_by_langgraph_s_control_reaches_a_run_that_goes_on():
    from langgraph.runtime import RunControl as Theirs

    began, go, control = threading.Event(), threading.Event(), Theirs()

    def first(state):
        began.set()
        assert go.wait(60)
        return {"log": ["first"]}

    def stop():
        assert began.wait(60)
        control.request_drain("enough")
        go.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(GraphDrained, match="enough"):
        three(first).compile(backend="local").invoke({"log": []}, control=control)
    stopper.join()
