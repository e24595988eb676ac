"""Static breakpoints without a checkpointer: the stream ends at them."""

import pytest

from tests.support.graphs import joke

MODES = ["values", "updates", "custom", "tasks", "debug"]
ICE = {"topic": "ice"}


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("nodes", [["refine_topic"], ["generate_joke"], "*"], ids=str)
def test_a_breakpoint_given_to_compile(differ, when, nodes):
    differ.stream(joke, ICE, stream_mode=MODES, compile={when: nodes})


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("nodes", [["generate_joke"], "*"], ids=str)
def test_a_breakpoint_given_to_stream(differ, when, nodes):
    differ.stream(joke, ICE, stream_mode=MODES, **{when: nodes})


@pytest.mark.parametrize("mode", ["values", "updates"])
def test_a_breakpoint_in_one_mode(differ, mode):
    differ.stream(joke, ICE, stream_mode=mode, compile={"interrupt_before": ["generate_joke"]})


def test_invoke_returns_the_state_at_the_breakpoint(differ):
    result = differ.invoke(joke, ICE, compile={"interrupt_before": ["generate_joke"]})
    assert result["topic"] == "ice and cats"
    assert "joke" not in result


def test_an_unknown_node_is_refused_at_compile(engine):
    with pytest.raises(ValueError, match="nowhere"):
        engine.compile(joke(engine), interrupt_before=["nowhere"])
