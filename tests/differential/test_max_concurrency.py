"""``max_concurrency`` bounds how many tasks of a run are at work. One is enough to stream."""

import time

import pytest

from tests.support.graphs import Items, adds


def fan(ns, n=4):
    builder = ns.StateGraph(Items)
    for i in range(n):
        builder.add_node(f"n{i}", adds(f"n{i}", 2)).add_edge(ns.START, f"n{i}")
    return builder


def test_one_at_a_time_in_name_order(ours):
    # the reference hangs here: its writer waits for a slot that its own node holds
    graph = ours.compile(fan(ours))
    chunks = list(
        graph.stream(
            {"items": []}, {"max_concurrency": 1}, stream_mode=["custom", "updates", "values"]
        )
    )
    expected = [("values", {"items": []})]
    for i in range(4):
        expected += [("custom", {"node": f"n{i}", "i": k}) for k in range(2)]
        expected += [("updates", {f"n{i}": {"items": [f"n{i}"]}})]
    assert chunks == [*expected, ("values", {"items": ["n0", "n1", "n2", "n3"]})]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_the_final_state_does_not_depend_on_it(engine, limit):
    graph = engine.compile(fan(engine))
    result = graph.invoke({"items": []}, {"max_concurrency": limit})
    assert result == {"items": ["n0", "n1", "n2", "n3"]}


def test_one_at_a_time_with_a_subgraph(ours):
    child = fan(ours, 2).compile()
    builder = ours.StateGraph(Items).add_node("child", child).add_node("other", adds("other", 1))
    builder.add_edge(ours.START, "child").add_edge(ours.START, "other")
    chunks = ours.compile(builder).stream(
        {"items": []}, {"max_concurrency": 1}, stream_mode="values", subgraphs=True
    )
    assert list(chunks)[-1] == ((), {"items": ["n0", "n1", "other"]})


def test_two_at_a_time(engine):
    def node(state):
        begin = time.monotonic()
        time.sleep(0.05)
        return {"items": [(begin, time.monotonic())]}

    builder = engine.StateGraph(Items)
    for i in range(6):
        builder.add_node(f"n{i}", node).add_edge(engine.START, f"n{i}")
    spans = engine.compile(builder).invoke({"items": []}, {"max_concurrency": 2})["items"]
    assert len(spans) == 6
    for begin, _ in spans:
        assert sum(b <= begin < e for b, e in spans) <= 2
