"""Options that make no sense are refused before anything runs."""

import pytest

from tests.support.graphs import joke

ICE = {"topic": "ice"}


@pytest.mark.parametrize("mode", ["nope", ["values", "nope"], "Values"], ids=str)
def test_an_unknown_mode_is_refused(ours, mode):
    with pytest.raises(ValueError, match="stream_mode"):
        list(ours.compile(joke(ours)).stream(ICE, stream_mode=mode))


def test_the_message_lists_the_modes(ours):
    with pytest.raises(ValueError, match="(?s)nope.*values.*updates"):
        ours.compile(joke(ours)).invoke(ICE, stream_mode="nope")


def test_an_unknown_output_key_is_refused(engine):
    graph = engine.compile(joke(engine))
    with pytest.raises((ValueError, KeyError), match="nope"):
        list(graph.stream(ICE, stream_mode="values", output_keys=["nope"]))


def test_a_tuple_of_modes_is_as_good_as_a_list(ours):
    graph = ours.compile(joke(ours))
    assert list(graph.stream(ICE, stream_mode=("values", "updates"))) == list(
        graph.stream(ICE, stream_mode=["values", "updates"])
    )
