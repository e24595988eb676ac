"""Commands of clients: what is taken, and what is refused with which code."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from distgraph.serve.event_protocol.commands import (
    Respond,
    StartRun,
    Subscribe,
    accepted,
    command_id,
    parse_command,
    refused,
)
from distgraph.serve.event_protocol.faults import Fault


def parsed(method: str, **params: Any) -> Any:
    return parse_command({"id": 1, "method": method, "params": params})


def test_a_run_is_started_with_what_the_client_gives() -> None:
    command = parsed(
        "run.start",
        assistant_id="chat",
        input={"n": 1},
        config={"configurable": {"thread_id": "t", "checkpoint_id": "c"}},
        metadata={"a": 1},
    )
    assert isinstance(command, StartRun)
    assert (command.assistant_id, command.input, command.metadata) == ("chat", {"n": 1}, {"a": 1})
    assert command.checkpoint_id == "c"


def test_params_without_an_effect_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "distgraph"):
        parsed("run.start", assistant_id="chat", langsmith_tracer={"project_name": "p"}, inptu={})
    assert [record.getMessage() for record in caplog.records] == [
        "the field 'langsmith_tracer' of run.start has no effect: traces go where the environment "
        "of the server says",
        "the field 'inptu' of run.start has no effect: it is unknown. Did you mean 'input'?",
    ]


def test_a_run_without_a_checkpoint_goes_on_from_the_latest() -> None:
    assert parsed("run.start", assistant_id="chat", input=None).checkpoint_id is None


def test_one_answer_and_several_have_the_same_form() -> None:
    one = parsed("input.respond", namespace=[], interrupt_id="i1", response=None, goto="n")
    several = parsed(
        "input.respond",
        responses=[
            {"namespace": [], "interrupt_id": "i1", "response": 1},
            {"namespace": ["s"], "interrupt_id": "i2", "response": 2},
        ],
        update={"x": 1},
    )
    assert one == Respond({"i1": None}, goto=("n",))
    assert several == Respond({"i1": 1, "i2": 2}, update={"x": 1})


def test_a_subscription_is_checked() -> None:
    command = parsed("subscription.subscribe", channels=["values"])
    assert isinstance(command, Subscribe)
    assert command.subscription.channels == {"values"}


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("nope", {}, "unknown_command", "unknown command 'nope'"),
        ("state.get", {}, "not_supported", "GET /threads/{thread_id}/state"),
        ("run.start", {"input": {}}, "invalid_argument", "run.start: assistant_id"),
        ("run.start", {"assistant_id": "a", "config": 1}, "invalid_argument", "config"),
        (
            "run.start",
            {"assistant_id": "a", "config": {"configurable": []}},
            "invalid_argument",
            "config.configurable",
        ),
        (
            "run.start",
            {"assistant_id": "a", "multitask_strategy": "x"},
            "invalid_argument",
            "multitask_strategy is reject",
        ),
        ("input.respond", {"response": 1}, "invalid_argument", "interrupt_id"),
        ("input.respond", {"interrupt_id": "i"}, "invalid_argument", "response is missing"),
        ("input.respond", {"responses": []}, "invalid_argument", "responses is a list"),
        (
            "input.respond",
            {"responses": [{"interrupt_id": "i", "response": n} for n in (1, 2)]},
            "invalid_argument",
            "two answers to i",
        ),
        (
            "input.respond",
            {"interrupt_id": "i", "response": 1, "goto": 3},
            "invalid_argument",
            "goto is a node",
        ),
    ],
)
def test_a_command_that_cannot_be_is_refused(
    method: str, params: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(Fault) as fault:
        parsed(method, **params)
    assert fault.value.code == code
    assert message in fault.value.message


@pytest.mark.parametrize(
    "message", [None, [], {}, {"id": "1", "method": "x"}, {"id": True, "method": "x"}, {"id": 1}]
)
def test_what_is_no_command_has_no_id_to_answer_to(message: Any) -> None:
    with pytest.raises(Fault) as fault:
        command_id(message)
    assert refused(None, fault.value) == {
        "type": "error",
        "id": None,
        "error": "invalid_argument",
        "message": fault.value.message,
    }


def test_an_answer_says_how_far_the_thread_is() -> None:
    assert accepted(7, {"run_id": "r"}, 41) == {
        "type": "success",
        "id": 7,
        "result": {"run_id": "r"},
        "meta": {"applied_through_seq": 41},
    }
