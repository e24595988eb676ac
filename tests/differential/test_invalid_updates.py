"""Two writers of a key without a reducer, and inputs that are none."""

import pytest

from tests.support.graphs import Numbers, joke


def conflict(ns):
    builder = ns.StateGraph(Numbers)
    for name in ("right", "left"):
        builder.add_node(name, lambda s: {"n": 1}).add_edge(ns.START, name)
    return builder


def test_both_updates_come_before_the_error(differ):
    outcome = differ.stream(
        conflict, {"n": 0}, stream_mode=["values", "updates", "tasks"], parallel=True
    )
    assert type(outcome.error).__name__ == "InvalidUpdateError"


def test_the_message_names_the_key(engine):
    with pytest.raises(engine.InvalidUpdateError, match="'n'"):
        engine.compile(conflict(engine)).invoke({"n": 0})


def test_the_message_names_the_nodes(ours):
    with pytest.raises(ours.InvalidUpdateError, match=r"(?s)left.*right"):
        ours.compile(conflict(ours)).invoke({"n": 0})


def test_one_node_may_write_a_key_twice_only_by_a_reducer(differ):
    def build(ns):
        command = ns.Command(update=[("n", 1), ("n", 2)])
        return ns.StateGraph(Numbers).add_node("a", lambda s: command).add_edge(ns.START, "a")

    differ.stream(build, {"n": 0}, stream_mode="values")


def test_no_input_is_an_error(differ):
    outcome = differ.stream(joke, None)
    assert type(outcome.error).__name__ == "EmptyInputError"
    assert outcome.chunks == []


def test_an_input_without_any_key_of_the_state(differ):
    differ.stream(conflict, {"nope": 1}, stream_mode=["values", "updates"], parallel=True)


def test_an_empty_input_starts_the_graph(differ):
    def build(ns):
        return ns.StateGraph(Numbers).add_node("a", lambda s: {"n": len(s)}).add_edge(ns.START, "a")

    differ.stream(build, {}, stream_mode=["values", "updates", "tasks"])


def test_an_input_of_a_wrong_type(differ):
    outcome = differ.stream(joke, "just text", stream_mode=["values", "updates"])
    assert type(outcome.error).__name__ == "InvalidUpdateError"
