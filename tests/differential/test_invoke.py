"""What ``invoke`` returns, for each mode and version."""

import pytest

from tests.support.graphs import Items, adds, joke

ICE = {"topic": "ice"}


def test_invoke_returns_the_final_state(engine):
    graph = engine.compile(joke(engine))
    assert graph.invoke(ICE) == {"topic": "ice and cats", "joke": "J:ice and cats"}


@pytest.mark.parametrize(
    "mode", ["values", "updates", "custom", "tasks", "debug", ["values", "updates"]], ids=str
)
def test_a_stream_mode_other_than_values_gives_a_list_of_chunks(differ, mode):
    differ.invoke(joke, ICE, stream_mode=mode)


@pytest.mark.parametrize("mode", ["values", "updates"])
def test_version_2(differ, mode):
    differ.invoke(joke, ICE, stream_mode=mode, version="v2")


def test_a_graph_whose_nodes_write_nothing(differ):
    def build(ns):
        return ns.StateGraph(Items).add_node("a", lambda s: None).add_edge(ns.START, "a")

    differ.invoke(build, {"items": ["x"]})
    differ.invoke(build, {})


def test_a_sequence(differ):
    def build(ns):
        return (
            ns.StateGraph(Items)
            .add_sequence([("a", adds("a")), ("b", adds("b")), ("c", adds("c"))])
            .add_edge(ns.START, "a")
        )

    assert differ.invoke(build, {"items": []}) == {"items": ["a", "b", "c"]}


def test_the_input_is_left_as_it_was(engine):
    given = {"items": ["x"]}
    builder = engine.StateGraph(Items).add_node("a", adds("a")).add_edge(engine.START, "a")
    assert engine.compile(builder).invoke(given) == {"items": ["x", "a"]}
    assert given == {"items": ["x"]}
