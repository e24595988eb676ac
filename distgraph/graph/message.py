"""Conversations in the state: ``add_messages`` merges them by id, ``MessagesState`` holds one.

With langchain-core installed a message is a LangChain message, as in LangGraph. Without it, and in
neither case imported for it, a message is a dict: ``{"role": ..., "content": ..., "id": ...}``.
"""

from __future__ import annotations

import functools
import importlib.util
import uuid
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal, cast

from typing_extensions import TypedDict

from distgraph._internal.loaded import loaded
from distgraph.channels.binop import keeps_items
from distgraph.errors import MissingExtraError

__all__ = (
    "REMOVE_ALL_MESSAGES",
    "MessagesState",
    "add_messages",
    "own_reducer",
    "push_message",
)

REMOVE_ALL_MESSAGES = "__remove_all__"
"""Id of a ``RemoveMessage`` (or a dict of role "remove") that drops all messages before it."""

Format = Literal["langchain-openai"]

_REMOVE = "remove"


@keeps_items
def add_messages(left: Any = None, right: Any = None, *, format: Format | None = None) -> Any:
    """Append the messages of ``right`` to those of ``left``; one with a known id replaces it.

    Args:
        left: Messages so far: a list, or a single message.
        right: New messages. A message is a LangChain message, a dict with ``role`` and
            ``content``, a (role, content) pair, or a str (of the user). ``RemoveMessage(id)``, or
            ``{"role": "remove", "id": id}``, deletes; with ``REMOVE_ALL_MESSAGES`` as its id, all.
        format: "langchain-openai" gives contents the shape of OpenAI's.

    Returns:
        The merged list, in which every message has an id. Without ``left`` and ``right``, a
        reducer with this ``format``.

    Raises:
        ValueError: A message to delete does not exist, only one side was given, or an unknown
            ``format``.
        MissingExtraError: Something that is no dict or str, and langchain-core is not installed.

    Source: the reducer of the same name of LangGraph.
    """
    if format not in (None, "langchain-openai"):
        raise ValueError(
            f"Unrecognized format={format!r}. Expected one of 'langchain-openai', None."
        )
    if left is None and right is None:
        return functools.partial(_merge, format=format)
    if left is None or right is None:
        given = "left" if right is None else "right"
        raise ValueError(
            "Must specify non-null arguments for both 'left' and 'right'. Only received: "
            f"'{given}'. Return {{}} instead of None where a node has no message to add"
        )
    return _merge(left, right, format=format)


def _load() -> None:
    """Import what ``add_messages`` needs, before a run waits for it."""
    if _has_langchain():
        _LangChain.coerce([])


add_messages.load = _load  # type: ignore[attr-defined]


def own_reducer(reducer: Any) -> Any:
    """Return ``add_messages`` for LangGraph's function of that name, any other reducer as it is.

    The driver applies it, and sends only what it adds. A process that imports LangGraph for it
    takes a second more to start.
    """
    theirs = loaded("langgraph.graph.message", "add_messages")
    return add_messages if theirs is not None and reducer is theirs else reducer


def _merge(left: Any, right: Any, *, format: Format | None = None) -> list[Any]:
    messages: type[_Messages] = _LangChain if _has_langchain() else _Dicts
    old = messages.coerce(left if isinstance(left, list) else [left])
    new = messages.coerce(right if isinstance(right, list) else [right])
    ids = messages.ids_of(old)
    messages.ids_of(new)
    for index in reversed(range(len(new))):
        if messages.removes(new[index]) and messages.id_of(new[index]) == REMOVE_ALL_MESSAGES:
            return new[index + 1 :]
    merged = list(old)
    places = dict(zip(ids, range(len(ids)), strict=True))
    removed: set[Any] = set()
    for message in new:
        key = messages.id_of(message)
        if messages.removes(message):
            if key not in places:
                raise ValueError(
                    f"Attempting to delete a message with an ID that doesn't exist ('{key}')"
                )
            removed.add(key)
        elif key in places:
            removed.discard(key)
            merged[places[key]] = message
        else:
            places[key] = len(merged)
            merged.append(message)
    if removed:
        merged = [message for message in merged if messages.id_of(message) not in removed]
    return messages.formatted(merged) if format else merged


@functools.cache
def _has_langchain() -> bool:
    try:
        return importlib.util.find_spec("langchain_core.messages") is not None
    except ImportError:
        return False


class _Messages:
    """The operations of ``add_messages`` for one kind of message."""

    @staticmethod
    def coerce(messages: list[Any]) -> list[Any]:
        raise NotImplementedError

    @classmethod
    def ids_of(cls, messages: list[Any]) -> list[Any]:
        """Return the ids of messages, after each without one was given one."""
        ids = list(map(cls.id_of, messages))
        if None in ids:
            for at, message in enumerate(messages):
                if ids[at] is None:
                    # not that of the list: the same message may stand there twice
                    ids[at] = cls.id_of(message) or cls.set_id(message, str(uuid.uuid4()))
        return ids

    id_of: Callable[[Any], Any] = staticmethod(attrgetter("id"))

    @staticmethod
    def set_id(message: Any, value: str) -> str:
        message.id = value
        return value

    @staticmethod
    def removes(message: Any) -> bool:
        raise NotImplementedError

    @staticmethod
    def formatted(messages: list[Any]) -> list[Any]:
        raise NotImplementedError


class _LangChain(_Messages):
    @staticmethod
    def coerce(messages: list[Any]) -> list[Any]:
        from langchain_core.messages import (
            BaseMessage,
            BaseMessageChunk,
            RemoveMessage,
            convert_to_messages,
            message_chunk_to_message,
        )

        # A long history is all plain messages: look at its few types, not at each message.
        if all(
            issubclass(cls, BaseMessage) and not issubclass(cls, BaseMessageChunk)
            for cls in set(map(type, messages))
        ):
            return messages
        coerced: list[Any] = []
        for message in messages:
            if isinstance(message, Mapping) and message.get("role") == _REMOVE:
                coerced.append(RemoveMessage(id=str(message.get("id"))))
            else:
                (whole,) = convert_to_messages([message])
                coerced.append(message_chunk_to_message(cast(Any, whole)))
        return coerced

    @staticmethod
    def removes(message: Any) -> bool:
        return getattr(message, "type", None) == _REMOVE

    @staticmethod
    def formatted(messages: list[Any]) -> list[Any]:
        from langchain_core.messages import convert_to_messages, convert_to_openai_messages

        return list(convert_to_messages(convert_to_openai_messages(messages)))


class _Dicts(_Messages):
    @staticmethod
    def coerce(messages: list[Any]) -> list[Any]:
        return [_as_dict(message) for message in messages]

    @staticmethod
    def id_of(message: Any) -> Any:
        return message.get("id")

    @staticmethod
    def set_id(message: Any, value: str) -> str:
        message["id"] = value
        return value

    @staticmethod
    def removes(message: Any) -> bool:
        return bool(message["role"] == _REMOVE)

    @staticmethod
    def formatted(messages: list[Any]) -> list[Any]:
        raise MissingExtraError(
            "add_messages(format='langchain-openai') needs langchain-core: "
            "pip install 'distgraph[langchain]'"
        )


def _as_dict(message: Any) -> dict[str, Any]:
    if isinstance(message, str):
        return {"role": "user", "content": message}
    if isinstance(message, (tuple, list)) and len(message) == 2:
        return {"role": message[0], "content": message[1]}
    if isinstance(message, Mapping) and "role" in message:
        # A copy: the id that it may get must not appear in an object of the caller's.
        return dict(message)
    if isinstance(message, Mapping):
        raise ValueError(f"A message dict needs a 'role', got {dict(message)!r}")
    raise MissingExtraError(
        f"A message of type {type(message).__name__} needs langchain-core: "
        "pip install 'distgraph[langchain]'. Without it, a message is a dict with 'role' and "
        "'content', a (role, content) pair, or a str"
    )


class MessagesState(TypedDict):
    """A state with one key, a conversation; derive from it to add more."""

    messages: Annotated[list[Any], add_messages]


def push_message(message: Any, *, state_key: str | None = "messages") -> Any:
    """Emit a message in stream mode ``messages`` now, and write it to the state.

    To be called in a node, or in what a node calls. Needs langchain-core.

    Args:
        message: A LangChain message, or what can be made one; it needs an id.
        state_key: State key to write it to; None emits it only.

    Returns:
        The message as a LangChain message.

    Raises:
        ValueError: The message has no id.
        RuntimeError: Outside of a run.
        MissingExtraError: langchain-core is not installed.

    Source: the function of the same name of LangGraph.
    """
    from distgraph.worker.context import current_task

    task = current_task("push_message")
    if not _has_langchain():
        raise MissingExtraError(
            "push_message needs langchain-core: pip install 'distgraph[langchain]'"
        )
    from langchain_core.messages import convert_to_messages

    (pushed,) = convert_to_messages([message])
    if pushed.id is None:
        raise ValueError("Message ID is required: give the message an id, such as str(uuid4())")
    callbacks = task.config["callbacks"]
    for handler in getattr(callbacks, "handlers", callbacks) or ():
        if hasattr(handler, "show_message"):
            handler.show_message(pushed, task.config["metadata"])
    if state_key:
        task.sent.append((state_key, pushed))
    return pushed
