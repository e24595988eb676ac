"""A state that is a single value with a reducer, not a dict."""

import operator
from typing import Annotated

import pytest

MODES = ["values", "updates", "tasks", "debug"]


def root(ns):
    builder = ns.StateGraph(Annotated[list, operator.add])
    builder.add_node("a", lambda state: [f"a{len(state)}"]).add_node(
        "b", lambda state: [f"b{len(state)}"]
    )
    return builder.add_edge(ns.START, "a").add_edge("a", "b")


@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_a_bare_value_is_the_state(differ, mode):
    differ.stream(root, ["x"], stream_mode=mode)


def test_invoke_returns_the_value(differ):
    assert differ.invoke(root, ["x"]) == ["x", "a1", "b2"]


def test_none_writes_nothing(differ):
    def build(ns):
        builder = ns.StateGraph(Annotated[list, operator.add]).add_node("a", lambda state: None)
        return builder.add_edge(ns.START, "a")

    differ.stream(build, ["x"], stream_mode=["values", "updates"])


def test_a_command_updates_the_value(differ):
    def build(ns):
        builder = ns.StateGraph(Annotated[list, operator.add])
        builder.add_node("a", lambda s: ns.Command(update=["c"], goto="b"), destinations=("b",))
        return builder.add_node("b", lambda s: ["b"]).add_edge(ns.START, "a")

    differ.stream(build, ["x"], stream_mode=["values", "updates"])
