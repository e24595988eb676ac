"""Commands of clients, checked; and their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distgraph.serve.event_protocol.faults import Fault
from distgraph.serve.event_protocol.subscriptions import Subscription
from distgraph.serve.run_requests import report_ignored

__all__ = (
    "Command",
    "Respond",
    "StartRun",
    "Subscribe",
    "Unsubscribe",
    "accepted",
    "answered_id",
    "command_id",
    "parse_command",
    "refused",
)

_OTHERS = {
    "agent.getTree": "subscribe to the channel lifecycle",
    "input.inject": "start a run with the message as input",
    "state.get": "GET /threads/{thread_id}/state",
    "state.listCheckpoints": "POST /threads/{thread_id}/history",
    "state.fork": "run.start with config.configurable.checkpoint_id",
    "subscription.reconnect": "subscribe with since",
}
"""Commands of the protocol that this server does not take, and what to do in place of them."""

_START = frozenset({"assistant_id", "input", "config", "metadata", "multitask_strategy"})
"""Params of ``run.start``."""


@dataclass(frozen=True, slots=True)
class StartRun:
    """``run.start``: on a thread that waits for an answer, the input is the answer."""

    assistant_id: str
    input: Any
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    multitask_strategy: str | None = None

    @property
    def checkpoint_id(self) -> str | None:
        """The checkpoint to go on from, None for the latest."""
        checkpoint = self.config.get("configurable", {}).get("checkpoint_id")
        return None if checkpoint is None else str(checkpoint)


@dataclass(frozen=True, slots=True)
class Respond:
    """``input.respond``: answers to interrupts, by their ids."""

    responses: Mapping[str, Any]
    update: Any = None
    goto: Sequence[Any] = ()
    """Names of nodes, and ``{"node", "input"}``."""
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """``subscription.subscribe``."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """``subscription.unsubscribe``."""

    subscription_id: str


Command = StartRun | Respond | Subscribe | Unsubscribe


def command_id(message: Any) -> int:
    """Return the id of a command.

    Raises:
        Fault: ``invalid_argument``: the message is no command.
    """
    if not isinstance(message, Mapping):
        raise Fault("invalid_argument", "a command is a JSON object with id, method and params")
    number = answered_id(message)
    if number is None:
        raise Fault("invalid_argument", f"id is a number from 0, got {message.get('id')!r}")
    if not isinstance(message.get("method"), str):
        raise Fault("invalid_argument", "method is the name of a command")
    return number


def answered_id(message: Any) -> int | None:
    """Return the id to which an answer belongs; None if a message has none."""
    number = message.get("id") if isinstance(message, Mapping) else None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        return None
    return number


def parse_command(message: Mapping[str, Any]) -> Command:
    """Check a command that has an id.

    Raises:
        Fault: An unknown command, or params that the command does not take; the message names
            the field.
    """
    method = message["method"]
    params = message.get("params")
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        raise Fault("invalid_argument", f"{method}: params is a JSON object")
    if method == "run.start":
        return _start(params)
    if method == "input.respond":
        return _respond(params)
    if method == "subscription.subscribe":
        return Subscribe(Subscription.parse(params))
    if method == "subscription.unsubscribe":
        return Unsubscribe(_text(method, params, "subscription_id"))
    if method in _OTHERS:
        raise Fault("not_supported", f"{method} is not supported: {_OTHERS[method]}")
    raise Fault(
        "unknown_command",
        f"unknown command {method!r}: the commands are run.start, input.respond, "
        "subscription.subscribe and subscription.unsubscribe",
    )


def accepted(number: int, result: Mapping[str, Any], applied_through: int) -> dict[str, Any]:
    """Return the answer to a command; ``applied_through`` is the number of the thread's last
    event at that time."""
    return {
        "type": "success",
        "id": number,
        "result": dict(result),
        "meta": {"applied_through_seq": applied_through},
    }


def refused(number: int | None, fault: Fault) -> dict[str, Any]:
    """Return the answer to a command that is refused; ``number`` is None without a valid id."""
    return {"type": "error", "id": number, "error": fault.code, "message": fault.message}


def _start(params: Mapping[str, Any]) -> StartRun:
    strategy = params.get("multitask_strategy")
    if strategy is not None and strategy not in ("reject", "enqueue", "interrupt", "rollback"):
        raise Fault(
            "invalid_argument",
            "run.start: multitask_strategy is reject, enqueue, interrupt or rollback, "
            f"got {strategy!r}",
        )
    report_ignored(params, _START, "run.start")
    return StartRun(
        _text("run.start", params, "assistant_id"),
        params.get("input"),
        _config("run.start", params),
        _object("run.start", params, "metadata"),
        strategy,
    )


def _respond(params: Mapping[str, Any]) -> Respond:
    if "responses" in params:
        given = params["responses"]
        if not isinstance(given, list) or not given:
            raise Fault("invalid_argument", "input.respond: responses is a list of answers")
    else:
        given = [params]
    responses: dict[str, Any] = {}
    for answer in given:
        if not isinstance(answer, Mapping):
            raise Fault("invalid_argument", "input.respond: an answer is a JSON object")
        interrupt_id = _text("input.respond", answer, "interrupt_id")
        if "response" not in answer:
            raise Fault("invalid_argument", "input.respond: response is missing")
        if interrupt_id in responses:
            raise Fault("invalid_argument", f"input.respond: two answers to {interrupt_id}")
        responses[interrupt_id] = answer["response"]
    return Respond(
        responses,
        params.get("update"),
        _goto(params.get("goto")),
        _config("input.respond", params),
        _object("input.respond", params, "metadata"),
    )


def _goto(goto: Any) -> tuple[Any, ...]:
    if goto is None:
        return ()
    targets = goto if isinstance(goto, list) else [goto]
    for target in targets:
        if not isinstance(target, str) and not (
            isinstance(target, Mapping) and isinstance(target.get("node"), str)
        ):
            raise Fault(
                "invalid_argument",
                'input.respond: goto is a node, {"node", "input"}, or a list of these',
            )
    return tuple(targets)


def _config(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    config = _object(method, params, "config")
    if not isinstance(config.get("configurable", {}), Mapping):
        raise Fault("invalid_argument", f"{method}: config.configurable is a JSON object")
    return config


def _object(method: str, params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = params.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Fault("invalid_argument", f"{method}: {name} is a JSON object")
    return value


def _text(method: str, params: Mapping[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise Fault("invalid_argument", f"{method}: {name} is a text that is not empty")
    return value
