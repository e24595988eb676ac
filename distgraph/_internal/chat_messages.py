"""Chat messages in states and updates: their ids, and which of them are new.

LangChain is not imported: where it is not loaded, no value can be one of its messages.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from distgraph._internal.loaded import loaded

__all__ = ("message_id", "message_ids", "messages_in", "state_values", "whole_messages")


def message_id(shown: Any) -> str | None:
    """Return the id of the message that an event of mode ``messages`` shows, None without one."""
    if isinstance(shown, Mapping):  # an event of a chat model: the first one names the message
        return shown.get("message_id")
    found: str | None = shown.id
    return found


def message_ids(value: Any) -> set[str]:
    """Return the ids of the messages in a state, a state value, or a sequence of messages."""
    base = loaded("langchain_core.messages.base", "BaseMessage")
    if base is None:
        return set()
    values = state_values(value)
    found = messages_in([value] if values is None else values, base)
    return {message.id for message in found if message.id is not None}


def whole_messages(values: Iterable[Any], seen: set[str]) -> list[Any]:
    """Return the messages among what a node returned that are to be emitted whole, in order.

    Args:
        values: State values: a message or a sequence of messages counts, anything else does not
            (a message in dict form is not emitted either, as in LangGraph).
        seen: Ids that were emitted or were in the input. The ids of the result are added; a
            message without an id is given one, in place, so that the state holds the same.
    """
    base = loaded("langchain_core.messages.base", "BaseMessage")
    if base is None:
        return []
    fresh = []
    for message in messages_in(values, base):
        if message.id is None:
            message.id = str(uuid4())
        elif message.id in seen:
            continue
        seen.add(message.id)
        fresh.append(message)
    return fresh


def messages_in(values: Iterable[Any], base: type) -> Iterator[Any]:
    """Yield the messages, of the class ``base``, among state values and in lists of these."""
    for value in values:
        if isinstance(value, base):
            yield value
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
            yield from (item for item in value if isinstance(item, base))


def state_values(state: Any) -> list[Any] | None:
    """Return the top-level values of a dict, dataclass or pydantic object, None of any other."""
    message = loaded("langchain_core.messages.base", "BaseMessage")
    if message is not None and isinstance(state, message):
        return None
    if isinstance(state, Mapping):
        return list(state.values())
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return [getattr(state, field.name) for field in dataclasses.fields(state)]
    model = loaded("pydantic", "BaseModel") if "pydantic.main" in sys.modules else None
    if model is not None and isinstance(state, model):
        return [getattr(state, name) for name in type(state).model_fields]
    return None
