"""What a test's model server says, as the events and bodies of ``/v1/chat/completions``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PIECE = 6
"""Characters of a tool call's arguments in one event."""


@dataclass(frozen=True)
class Call:
    """A tool call that the model makes. Without an id it is ``call_<index>``."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class Answer:
    """One answer to a request. A *piece* is a word of the text or a part of a call's arguments.

    Attributes:
        text: Content; above status 399 the message of the error.
        calls: Tool calls, after the text.
        order: How the pieces of several calls are streamed: one call after another, taking turns,
            or in turns with one event for all calls.
        hold_after: Pieces after which the stream waits for ``OpenAIServer.proceed``.
        cut_after: Pieces after which the connection is closed, in the middle of an event.
        error_after: Pieces after which an error event comes in place of the rest.
        status: HTTP status.
        headers: Further headers of the answer.
        recording: Bytes to be sent as the body, whatever the request wants.
        packet: Bytes of a recording that are sent at once; None: all.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    order: Literal["one by one", "taking turns", "together"] = "one by one"
    hold_after: int | None = None
    cut_after: int | None = None
    error_after: int | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    recording: bytes | None = None
    packet: int | None = None


Said = str | Answer
Reply = Said | Callable[[dict[str, Any]], Said]
"""An answer, a text alone, or what makes either of the request's body."""


def words(text: str) -> list[str]:
    """Split into the pieces that are streamed: each word with the space after it."""
    return re.findall(r"\S+\s*", text)


def echo(body: dict[str, Any]) -> str:
    """Return ``echo: `` and the text of the last message."""
    return f"echo: {body['messages'][-1]['content']}"


@dataclass(frozen=True)
class Event:
    """One event of a stream; ``piece`` where it carries a piece of the answer."""

    data: str
    piece: bool = False


def events(answer: Answer, number: int, body: dict[str, Any]) -> Iterator[Event]:
    """Yield the events of a streamed answer, the last one ``[DONE]``; none after an error event."""
    head = _head(number, body, "chat.completion.chunk")

    def event(delta: dict[str, Any], reason: str | None = None, piece: bool = False) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return Event(json.dumps({**head, "choices": [choice]}), piece)

    if answer.error_after != 0:
        yield event({"role": "assistant", "content": None if answer.calls else ""})
    for count, delta in enumerate(_deltas(answer)):
        if count == answer.error_after:
            yield Event(json.dumps({"error": {"message": "the model broke", "type": "test"}}))
            return
        yield event(delta, piece=True)
    yield event({}, _reason(answer))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield Event(json.dumps({**head, "choices": [], "usage": _usage(answer)}))
    yield Event("[DONE]")


def whole(answer: Answer, number: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an answer that is not streamed."""
    if answer.status >= 400:
        return {"error": {"message": answer.text, "type": "test"}}
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.calls:
        message["tool_calls"] = [
            _call(i, call, json.dumps(dict(call.args))) for i, call in enumerate(answer.calls)
        ]
    else:
        message["content"] = answer.text
    choice = {"index": 0, "message": message, "finish_reason": _reason(answer)}
    head = _head(number, body, "chat.completion")
    return {**head, "choices": [choice], "usage": _usage(answer)}


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    for word in words(answer.text):
        yield {"content": word}
    calls = [list(_call_deltas(i, call)) for i, call in enumerate(answer.calls)]
    if answer.order == "one by one":
        turns = [[delta] for deltas in calls for delta in deltas]
    else:
        longest = max(map(len, calls), default=0)
        turns = [[deltas[n] for deltas in calls if n < len(deltas)] for n in range(longest)]
        if answer.order == "taking turns":
            turns = [[delta] for turn in turns for delta in turn]
    for turn in turns:
        yield {"tool_calls": turn}


def _call_deltas(index: int, call: Call) -> Iterator[dict[str, Any]]:
    yield {"index": index, **_call(index, call, "")}
    arguments = json.dumps(dict(call.args))
    for start in range(0, len(arguments), PIECE):
        piece = arguments[start : start + PIECE]
        yield {"index": index, "function": {"arguments": piece}}


def _call(index: int, call: Call, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id or f"call_{index}", "type": "function", "function": function}


def _reason(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def _head(number: int, body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": 0,
        "model": body.get("model", "test"),
    }


def _usage(answer: Answer) -> dict[str, int]:
    count = sum(1 for _ in _deltas(answer))
    return {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
