"""A thread that LangGraph wrote is continued here, and the other way round."""

import operator
from typing import Annotated, Any, TypedDict

import pytest

from distgraph.types import TimeoutPolicy
from tests.support.differential import run
from tests.support.engines import REFERENCE, Engine


class Log(TypedDict):
    log: Annotated[list, operator.add]


CONFIG = {"configurable": {"thread_id": "t"}}


def errand(engine):
    """Sends, a join, a question beside a finished task, and one in a subgraph."""

    def plan(state):
        return {"log": ["plan"]}

    def spread(state):
        return [engine.Send("work", {"log": [n]}) for n in range(3)]

    def work(state):
        return {"log": [f"work {state['log'][0]}"]}

    def ask(state):
        return {"log": [engine.interrupt("outer?")]}

    def other(state):
        return {"log": ["other"]}

    def inner(state):
        return {"log": [engine.interrupt("inner?")]}

    child = engine.StateGraph(Log)
    child.add_node("inner", inner)
    child.add_edge(engine.START, "inner")

    builder = engine.StateGraph(Log)
    for name, node in {"plan": plan, "work": work, "ask": ask, "other": other}.items():
        builder.add_node(name, node)
    builder.add_node("child", child.compile())
    builder.add_edge(engine.START, "plan")
    builder.add_conditional_edges("plan", spread, ["work"])
    builder.add_edge("work", "ask")
    builder.add_edge("work", "other")
    builder.add_edge(["ask", "other"], "child")
    return builder


def turn(engine, saver, value, **options):
    graph = engine.compile(errand(engine), checkpointer=saver)
    made = value(engine) if callable(value) else value
    return run(graph, made, config=CONFIG, stream_mode=["updates", "values"], **options)


TURNS = [
    {"log": ["in"]},
    lambda engine: engine.Command(resume="a"),
    lambda engine: engine.Command(resume="b"),
]

END = ["in", "plan", "work 0", "work 1", "work 2", "a", "other"]


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_each_continues_a_thread_of_the_other(ours, saver, ours_first):
    engines = [ours, Engine(REFERENCE)] if ours_first else [Engine(REFERENCE), ours]
    outcomes = []
    for number, value in enumerate(TURNS):
        outcome = turn(engines[number % 2], saver, value)
        assert outcome.error is None, outcome.error
        outcomes.append(outcome)
    assert outcomes[2].chunks[-1] == ("values", {"log": [*END, *END, "b"]})
    # what had finished did not run again
    cached = [c for m, c in outcomes[1].chunks if m == "updates" and "__metadata__" in c]
    assert cached == [{"other": {"log": ["other"]}, "__metadata__": {"cached": True}}]


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_sends_that_were_planned_are_carried_out_by_the_other(ours, saver, ours_first):
    first, second = (ours, Engine(REFERENCE)) if ours_first else (Engine(REFERENCE), ours)
    stopped = turn(first, saver, TURNS[0], interrupt_before=["work"])
    assert stopped.chunks[-1] == ("updates", {"__interrupt__": ()})
    went_on = turn(second, saver, None)
    assert went_on.error is None
    updates = [c["work"] for m, c in went_on.chunks if m == "updates" and "work" in c]
    assert sorted(u["log"][0] for u in updates) == ["work 0", "work 1", "work 2"]
    assert went_on.chunks[0] == ("values", {"log": ["in", "plan"]})


def test_what_is_saved_is_of_langgraph_s_classes_at_any_depth(ours):
    from langgraph.checkpoint.memory import InMemorySaver

    class Kept(TypedDict, total=False):
        top: Any
        deep: Any
        policy: Any

    def keeps(state):
        send = ours.Send("work", ours.Command(goto="x"), timeout=5)
        deep = [ours.Overwrite(send), ours.Interrupt("why", "id")]
        top = ours.Command(update={"deep": deep})
        return {"top": top, "deep": {"here": deep}, "policy": TimeoutPolicy(run_timeout=2)}

    def builder(engine):
        made = engine.StateGraph(Kept).add_node("keeps", keeps).add_edge(engine.START, "keeps")
        return made.add_node("ends", lambda state: {}).add_edge("keeps", "ends")

    saver = InMemorySaver()
    graph = ours.compile(builder(ours), checkpointer=saver, interrupt_before=["ends"])
    graph.invoke(ours.Command(update={"top": ours.Command(goto="y")}, goto="keeps"), CONFIG)
    assert "distgraph" not in repr((saver.writes, saver.blobs, saver.storage))

    # here all of it is ours again: it counts as both
    last = graph.invoke(None, CONFIG)
    assert type(last["top"]) is ours.Command
    overwrite, interrupt = last["deep"]["here"]
    assert [type(overwrite), type(interrupt)] == [ours.Overwrite, ours.Interrupt]
    assert type(overwrite.value.timeout) is TimeoutPolicy
    assert type(last["policy"]) is TimeoutPolicy
    assert [type(overwrite.value), type(overwrite.value.arg)] == [ours.Send, ours.Command]
    assert type(last["top"].update["deep"][0].value.arg) is ours.Command
    # and LangGraph reads the same
    theirs = Engine(REFERENCE)
    read = theirs.compile(builder(theirs), checkpointer=saver).get_state(CONFIG).values
    assert type(read["top"]) is theirs.Command
    assert [type(part) for part in read["deep"]["here"]] == [theirs.Overwrite, theirs.Interrupt]
