"""Map-reduce by ``Send``: a task per packet, results in the order of the packets."""

import time

import pytest

from tests.support.engines import Engine
from tests.support.graphs import Numbers
from tests.support.normalise import bag

MODES = ["values", "updates", "custom", "tasks", "debug"]


def map_reduce(ns, subjects=("owls", "cats", "ants"), slow="owls"):
    def plan(state):
        return {"items": ["plan"]}

    def fan(state):
        return [ns.Send("gen", {"subject": s}) for s in subjects]

    def gen(state, writer):
        if state["subject"] == slow:
            time.sleep(0.1)
        writer({"node": state["subject"]})
        return {"items": [f"J {state['subject']}"]}

    def best(state):
        return {"items": ["best of " + str(len(state["items"]) - 1)]}

    return (
        ns.StateGraph(Numbers)
        .add_node("plan", plan)
        .add_node("gen", gen)
        .add_node("best", best)
        .add_edge(ns.START, "plan")
        .add_conditional_edges("plan", fan, ["gen"])
        .add_edge("gen", "best")
    )


def by_subject(item):
    """Tasks of one node are told apart by what they work on."""
    _, mode, payload = item
    if mode == "values":
        return None
    text = repr(payload)
    for subject in ("owls", "cats", "ants"):
        if subject in text:
            return subject
    if mode == "tasks":
        return payload["name"]
    return "other"


def test_every_packet_is_a_task_with_its_own_events(differ):
    differ.stream(
        map_reduce,
        {"items": []},
        stream_mode=["values", "updates", "custom"],
        parallel=True,
        key=by_subject,
    )


@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_the_tasks_of_packets(engine, mode):
    graph = engine.compile(map_reduce(engine))
    reference = Engine("langgraph")
    expected = reference.compile(map_reduce(reference)).stream({"items": []}, stream_mode=mode)
    assert bag(graph.stream({"items": []}, stream_mode=mode)) == bag(expected)


def test_results_are_reduced_in_the_order_of_the_packets(engine):
    graph = engine.compile(map_reduce(engine))
    assert graph.invoke({"items": []})["items"] == [
        "plan",
        "J owls",
        "J cats",
        "J ants",
        "best of 3",
    ]


def test_no_packets_end_the_branch(differ):
    differ.stream(lambda ns: map_reduce(ns, ()), {"items": []}, stream_mode=MODES)


def test_one_packet(differ):
    differ.stream(lambda ns: map_reduce(ns, ("cats",)), {"items": []}, stream_mode=MODES)


def test_a_packet_may_carry_anything(differ):
    def build(ns):
        builder = ns.StateGraph(Numbers).add_node("take", lambda arg: {"items": [repr(arg)]})
        return builder.add_conditional_edges(
            ns.START,
            lambda s: [ns.Send("take", a) for a in (None, 3, "text", ["list"], (1, 2))],
            ["take"],
        )

    differ.stream(build, {"n": 1}, stream_mode="values")


def test_packets_carry_values_that_are_not_in_the_state(differ):
    def build(ns):
        def hop(state):
            return [ns.Send("hop2", {"depth": 2, "from": state["n"]})]

        builder = ns.StateGraph(Numbers)
        builder.add_node("hop1", lambda s: {"n": s["n"] + 1})
        builder.add_node("hop2", lambda s: {"items": [s["depth"], s["from"], "n" in s]})
        return builder.add_edge(ns.START, "hop1").add_conditional_edges("hop1", hop, ["hop2"])

    differ.stream(build, {"n": 1}, stream_mode=MODES)


def test_a_chain_of_packets(differ):
    def build(ns):
        def onwards(state):
            return ns.Send("hop", {"n": state["n"] + 1}) if state["n"] < 3 else ns.END

        def hop(state):
            update = {"items": [state["n"]]}
            if state["n"] < 3:
                return ns.Command(update=update, goto=ns.Send("hop", {"n": state["n"] + 1}))
            return update

        builder = ns.StateGraph(Numbers).add_node("hop", hop)
        return builder.add_conditional_edges(ns.START, onwards, ["hop"])

    outcome = differ.stream(build, {"n": 0}, stream_mode=MODES)
    assert [c for c in outcome.chunks if c[0] == "values"][-1] == (
        "values",
        {"n": 0, "items": [1, 2, 3]},
    )


def test_a_packet_to_an_unknown_node_is_left_out(differ):
    def build(ns):
        builder = ns.StateGraph(Numbers).add_node("a", lambda s: {"n": 1}).add_edge(ns.START, "a")
        return builder.add_conditional_edges("a", lambda s: ns.Send("nowhere", {}))

    differ.stream(build, {"n": 0}, stream_mode=MODES)
