"""Cycles, and the limit on the number of supersteps."""

import pytest

from tests.support.graphs import Numbers

MODES = ["values", "updates", "tasks"]


def counting(ns, until):
    def count(state):
        return {"n": state["n"] + 1}

    def more(state):
        return "count" if until is None or state["n"] < until else ns.END

    return (
        ns.StateGraph(Numbers)
        .add_node("count", count)
        .add_edge(ns.START, "count")
        .add_conditional_edges("count", more, ["count", ns.END])
    )


def test_a_cycle_runs_until_its_condition_ends_it(differ):
    outcome = differ.stream(lambda ns: counting(ns, 4), {"n": 0}, stream_mode=MODES)
    assert outcome.chunks[-1] == ("values", {"n": 4, "items": []})


@pytest.mark.parametrize("limit", [1, 3])
def test_the_recursion_limit_ends_the_run_after_that_many_steps(differ, limit):
    outcome = differ.stream(
        lambda ns: counting(ns, None),
        {"n": 0},
        stream_mode=MODES,
        config={"recursion_limit": limit},
    )
    assert type(outcome.error).__name__ == "GraphRecursionError"
    assert isinstance(outcome.error, RecursionError)
    assert [c for c in outcome.chunks if c[0] == "updates"] == [
        ("updates", {"count": {"n": i + 1}}) for i in range(limit)
    ]


def test_the_message_names_the_limit(engine):
    graph = engine.compile(counting(engine, None))
    with pytest.raises(engine.GraphRecursionError, match="7"):
        graph.invoke({"n": 0}, {"recursion_limit": 7})


@pytest.mark.parametrize("limit", [3, 4])
def test_a_run_of_three_steps_needs_a_limit_above_three(differ, limit):
    outcome = differ.stream(
        lambda ns: counting(ns, 3), {"n": 0}, stream_mode=MODES, config={"recursion_limit": limit}
    )
    assert (outcome.error is None) == (limit > 3)
    assert outcome.chunks[-1] == ("values", {"n": 3, "items": []})


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(engine, limit):
    graph = engine.compile(counting(engine, 2))
    with pytest.raises(ValueError, match="recursion_limit"):
        graph.invoke({"n": 0}, {"recursion_limit": limit})


def test_a_self_loop_by_a_plain_edge(differ):
    def build(ns):
        builder = ns.StateGraph(Numbers).add_node("a", lambda s: {"n": s["n"] + 1})
        return builder.add_edge(ns.START, "a").add_edge("a", "a")

    differ.stream(build, {"n": 0}, stream_mode=MODES, config={"recursion_limit": 3})
