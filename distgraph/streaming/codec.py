"""Encoding of events as the blob of a segment, and decoding.

An event is pickled when the node emits the event. Later changes of the payload therefore do not
reach the consumer, and a payload that cannot be pickled raises in the line that emits the event.
With the C pickler this costs 0.4 µs for a small event. A whole chat message is pickled again when
it is sent: agents set its name after the model has emitted it.

A blob of one event is that event's pickle. A blob of several is a pickled list whose items are
events or pickles of events. An event is pickled as the plain tuple ``(ns, mode, payload)``.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from distgraph.contract.stream import Event, Segment
from distgraph.errors import SerializationError

_PROTOCOL = 5
_OF_PLAIN_PICKLE = (pickle.PicklingError, AttributeError, TypeError)
"""Exceptions of plain pickle for payloads that cloudpickle can pickle."""
_WITH_CONFIGS = frozenset({"checkpoints", "tasks", "debug"})
"""Modes whose payloads hold the config and metadata that code of a node gave to a graph."""
_NAMES_SOMETHING = pickle.STACK_GLOBAL
_KINDS = frozenset({bytes, memoryview})
"""Types of pickles that need nothing but ``pickle``."""
_dumps = pickle.dumps
_loads = pickle.loads


class WholeMessage(bytes):
    """A pickled event of a whole chat message, and the event."""

    event: Event

    def as_it_is_now(self) -> bytes:
        """Return the event, pickled once more: as it was where that fails now."""
        try:
            return pack_event(self.event)
        except Exception:  # such as of a message that a thread changes just now
            return bytes(self)


def whole_message(event: Event, data: bytes) -> bytes:
    """Return a pickled event, as a ``WholeMessage`` if it is of a chat message that is no chunk."""
    if event[1] != "messages" or type(data) is not bytes:
        return data
    name = type(event[2][0]).__name__
    if name == "dict" or name.endswith("Chunk"):
        return data
    whole = WholeMessage(data)
    whole.event = event
    return whole


def pack_event(event: Event, source: str = "") -> bytes:
    """Pickle one event.

    Args:
        event: The event.
        source: Who emits it, for the error, such as ``node 'plan'``.

    Raises:
        SerializationError: The payload cannot be pickled; names source and mode.
    """
    plain: Exception | None = None
    if event[1] != "messages":
        try:
            blob = _dumps((event[0], event[1], event[2]), _PROTOCOL)
        except Exception as error:
            plain = error
        else:
            # Only a blob that names a class or function can need more than plain pickle: one of
            # __main__, say, which means another module where the blob is read.
            if _NAMES_SOMETHING not in blob:
                return blob
    try:
        data = _dump_data((event[0], event[1], event[2]))
    except Exception as error:
        if event[1] in _WITH_CONFIGS:
            with suppress(Exception):
                return _dump_data((event[0], event[1], _plain_configs(event[2])))
        told = error
        try:
            _dump_data(event[2], name="payload")  # names the place within
        except Exception as within:
            told = within
        raise _unpicklable(event, source, told) from error
    if plain is not None and not isinstance(plain, _OF_PLAIN_PICKLE):
        raise plain  # not of the payload: a signal handler of the node's code raised it
    return data


def join_events(packed: Sequence[bytes]) -> bytes:
    """Make the blob of a segment from at least one event that ``pack_event`` pickled."""
    packed = [p.as_it_is_now() if type(p) is WholeMessage else p for p in packed]
    if len(packed) == 1:
        return packed[0]
    if all(type(blob) is bytes for blob in packed):
        return _dumps(packed, _PROTOCOL)
    from distgraph.serde.pickling import dumps_blobs

    return dumps_blobs(packed)


def encode_events(events: Sequence[Event], source: str = "") -> bytes:
    """Make the blob of a segment from at least one event.

    Objects that several of the events share are pickled once.

    Raises:
        SerializationError: A payload cannot be pickled; names source and mode.
    """
    if len(events) == 1:
        return pack_event(events[0], source)
    try:
        return _dump_data([tuple(event) for event in events])
    except Exception:
        return join_events([pack_event(event, source) for event in events])


def decode_events(segment: Segment) -> list[Event]:
    """Read the events of a segment.

    Raises:
        SerializationError: As of ``items_of``.
    """
    if isinstance(segment.blob, list):
        return segment.blob
    return [Event(*event) for event in decode_items(segment, items_of(segment))]


def items_of(segment: Segment) -> Sequence[Any]:
    """Return what stands for each event of a segment, for ``decode_items``.

    Raises:
        SerializationError: The blob cannot be read here, such as when the class of a payload is
            not importable in this process.
    """
    blob = segment.blob
    if isinstance(blob, list):
        return blob
    if segment.count == 1:
        return [blob]
    read: Any = _loads if type(blob) in _KINDS else _load_data
    try:
        items: list[Any] = read(blob)
    except Exception as error:
        raise _unreadable(segment, error) from error
    return items


def decode_items(segment: Segment, items: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Read some items of ``items_of``, each as a tuple of namespace, mode and payload.

    Raises:
        SerializationError: As of ``items_of``.
    """
    try:
        if _KINDS.issuperset(map(type, items)):
            return list(map(_loads, items))
        return [item if isinstance(item, tuple) else _load(item) for item in items]
    except Exception as error:
        raise _unreadable(segment, error) from error


def _unreadable(segment: Segment, error: Exception) -> SerializationError:
    return SerializationError(
        f"an event of task {segment.task_id or 'driver'!r}, step {segment.step}, cannot be "
        f"unpickled here ({type(error).__name__}: {error}). Make the payload's class "
        "importable where the stream is read, or emit plain data."
    )


def _unpicklable(event: Event, source: str, error: Exception) -> SerializationError:
    return SerializationError(
        f"{source + ': ' if source else ''}a {type(event.payload).__name__} emitted in stream "
        f"mode {event.mode!r} cannot be pickled ({type(error).__name__}: {error}). Emit plain "
        "data, such as the fields that the consumer needs."
    )


def _load(blob: Any) -> Any:
    return _loads(blob) if type(blob) in _KINDS else _load_data(blob)


def _load_data(blob: bytes) -> Any:
    from distgraph.serde.pickling import loads

    return loads(blob)


def _dump_data(value: Any, name: str = "") -> bytes:
    from distgraph.serde.pickling import dumps_data

    return dumps_data(value, name=name)


def _plain_configs(payload: Any) -> Any:
    from distgraph.serde.configs import plain_configs

    return plain_configs(payload)
