"""Ids for messages that are written to ``DeltaChannel``s.

What such a channel holds is made again from its writes at every reading: a message that was saved
without an id would have another one each time, or none, and could not be replaced or removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from distgraph._internal.loaded import loaded
from distgraph.channels.binop import overwritten
from distgraph.types import Overwrite

__all__ = ("with_ids",)

_ROLES = frozenset({"user", "human", "assistant", "ai", "tool", "system", "function"})
_TYPES = frozenset({"human", "ai", "tool", "system", "function", "remove"})


def with_ids(write: Any, *, messages_only: bool) -> Any:
    """Return a write whose messages have ids, given in place where they are objects.

    Messages as dicts become objects. ``messages_only``: so do strings and pairs, as the channel
    holds nothing else.
    """
    return _whole(write) if messages_only else _mixed(write)


def _whole(value: Any) -> Any:
    """Of a channel that holds messages only: whatever stands for a message becomes one."""
    replacement = overwritten(value)
    if replacement is None:
        return _each(value, _listed) if isinstance(value, list) else _message(value)
    items = replacement[0]
    if isinstance(items, (list, tuple)):
        changed = _each(items, _message)
        return value if changed is items else Overwrite(changed)
    return value


def _mixed(value: Any) -> Any:
    """Of a channel that may hold other things: messages, and dicts that look like one."""
    replacement = overwritten(value)
    if replacement is not None:
        if isinstance(replacement[0], (list, tuple)):
            for item in replacement[0]:
                _stamp(item)
        return value
    if isinstance(value, list):
        return _each(value, _listed_among_others)
    if isinstance(value, dict) and _is_message_dict(value) and not value.get("id"):
        return {**value, "id": str(uuid.uuid4())}
    _stamp(value)
    return value


def _each(items: Any, change: Callable[[Any], Any]) -> Any:
    changed = [change(item) for item in items]
    if all(new is old for new, old in zip(changed, items, strict=True)):
        return items
    return changed if isinstance(items, list) else tuple(changed)


def _listed(item: Any) -> Any:
    return _message(item, strict=isinstance(item, dict) and _is_message_dict(item))


def _listed_among_others(item: Any) -> Any:
    if isinstance(item, dict) and _is_message_dict(item):
        return _message(item, strict=True)
    _stamp(item)
    return item


def _message(item: Any, *, strict: bool = False) -> Any:
    convert = loaded("langchain_core.messages", "convert_to_messages")
    if _is_message(item):
        _stamp(item)
        return item
    if convert is None:
        named = isinstance(item, dict) and not item.get("id")
        return {**item, "id": str(uuid.uuid4())} if named else item
    try:
        message = convert([item])[0]
    except Exception:
        if strict:
            raise
        return item
    if not message.id:
        message.id = str(uuid.uuid4())
    return message


def _stamp(item: Any) -> None:
    if _is_message(item) and item.id is None:
        item.id = str(uuid.uuid4())


def _is_message(item: Any) -> bool:
    message = loaded("langchain_core.messages", "BaseMessage")
    return message is not None and isinstance(item, message)


def _is_message_dict(item: Mapping[str, Any]) -> bool:
    return _fits(item.get("role"), _ROLES) or _fits(item.get("type"), _TYPES)


def _fits(value: Any, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known
