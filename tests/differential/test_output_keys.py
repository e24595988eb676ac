"""``output_keys`` restricts what ``values`` and ``updates`` show."""

import pytest

from tests.support.graphs import joke

ICE = {"topic": "ice"}


@pytest.mark.parametrize("keys", [["joke"], ["topic", "joke"], "joke", "topic"], ids=str)
@pytest.mark.parametrize(
    "mode", ["values", "updates", "tasks", "debug", ["values", "updates"]], ids=str
)
def test_output_keys_restrict_the_stream(differ, mode, keys):
    differ.stream(joke, ICE, stream_mode=mode, output_keys=keys)


def test_a_list_of_keys_exactly(engine):
    graph = engine.compile(joke(engine))
    assert list(graph.stream(ICE, stream_mode=["values", "updates"], output_keys=["joke"])) == [
        ("updates", {"refine_topic": None}),
        ("updates", {"generate_joke": {"joke": "J:ice and cats"}}),
        ("values", {"joke": "J:ice and cats"}),
    ]


def test_a_single_key_is_unwrapped(engine):
    graph = engine.compile(joke(engine))
    assert list(graph.stream(ICE, stream_mode="values", output_keys="joke")) == ["J:ice and cats"]
    assert graph.invoke(ICE, output_keys="joke") == "J:ice and cats"


def test_invoke_with_a_list_of_keys(differ):
    assert differ.invoke(joke, ICE, output_keys=["joke"]) == {"joke": "J:ice and cats"}
