"""JSON of states, messages and payloads."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import uuid
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.types import Interrupt as TheirInterrupt
from pydantic import BaseModel

from distgraph.serve.encoding import as_json, from_json, plain
from distgraph.types import Interrupt, Send


@dataclasses.dataclass
class Point:
    x: int
    inside: Any = None


class Pair(NamedTuple):
    left: int
    right: int


class Model(BaseModel):
    name: str


class Color(enum.Enum):
    RED = "red"


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(1, Point(2)), {"x": 1, "inside": {"x": 2, "inside": None}}),
        (Pair(1, 2), {"left": 1, "right": 2}),
        (Model(name="a"), {"name": "a"}),
        (Color.RED, "red"),
        (Interrupt("why?", "i1"), {"value": "why?", "id": "i1", "response_schema": None}),
        (TheirInterrupt("why?", id="i1"), {"value": "why?", "id": "i1", "response_schema": None}),
        (
            Interrupt("why?", "i1", {"type": "string"}),
            {"value": "why?", "id": "i1", "response_schema": {"type": "string"}},
        ),
        (Send("node", {"a": 1}), {"node": "node", "input": {"a": 1}}),
        (ValueError("boom"), {"error": "ValueError", "message": "boom"}),
        ((1, 2), [1, 2]),
        (deque([1]), [1]),
        (frozenset({1}), [1]),
        (b"ab", "YWI="),
        (Decimal("1.50"), "1.50"),
        (Path("/tmp/a"), "/tmp/a"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (math.nan, None),
        (1 << 70, str(1 << 70)),
        ({"a": [1 << 70, Pair(1, 2)]}, {"a": [str(1 << 70), {"left": 1, "right": 2}]}),
        ("a\ud800b", "a?b"),
        ({(1, 2): "a"}, {"(1, 2)": "a"}),
        (Opaque(), "<opaque>"),
        (int, "<class 'int'>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_graphs_have_a_json_form(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_messages_are_langchain_s_own_dump() -> None:
    message = AIMessage(
        "hi", id="m", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c", "type": "tool_call"}]
    )
    assert plain([message, HumanMessage("x")]) == [
        json.loads(message.model_dump_json()),
        json.loads(HumanMessage("x").model_dump_json()),
    ]
    assert plain(AIMessageChunk("h"))["type"] == "AIMessageChunk"


def test_json_is_one_line() -> None:
    assert b"\n" not in as_json({"text": "a\nb\r\n\u2028"})
    assert from_json(as_json({"text": "a\nb"})) == {"text": "a\nb"}
    assert from_json(None) is None
