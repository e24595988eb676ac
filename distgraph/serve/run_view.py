"""Events of a run as clients of the run protocol see them: names, data and ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from distgraph.serve.states import checkpoint_of
from distgraph.serve.thread_log import LogEntry, RunBegan, RunChunk, RunEnded

if TYPE_CHECKING:
    from distgraph.serve.callback_view import CallbackView

__all__ = ("FROM_START", "EventId", "RunEvent", "RunView", "parse_event_id")


class EventId(NamedTuple):
    """Where an event is: the number of its entry in the thread's log, and its place there."""

    number: int
    place: int

    def __str__(self) -> str:
        return f"{self.number}-{self.place}"


FROM_START = EventId(-1, 0)


def parse_event_id(given: str) -> EventId | None:
    """Return the id of a ``Last-Event-ID`` header; None if the server did not write it."""
    if given.strip() == "-1":
        return FROM_START
    number, _, place = given.strip().partition("-")
    if not number.isdigit() or (place and not place.isdigit()):
        return None
    return EventId(int(number), int(place or 0))


class RunEvent(NamedTuple):
    """One event as a client gets it."""

    event: str
    data: Any
    id: EventId


class RunView:
    """Turns entries of the log into events for one reader.

    It is deterministic: readers that begin with the same entry number their events alike.

    Args:
        modes: The modes that the reader wants, as clients name them.
        subgraphs: Whether it gets the events of subgraphs.
    """

    def __init__(self, modes: Sequence[str], *, subgraphs: bool) -> None:
        self._modes = frozenset(modes)
        self._subgraphs = subgraphs
        self._messages = _Messages() if "messages" in self._modes else None
        self._callbacks: CallbackView | None = None
        if "events" in self._modes:
            from distgraph.serve.callback_view import CallbackView

            self._callbacks = CallbackView()

    @property
    def needs_start(self) -> bool:
        """Whether the events of an entry depend on those before it."""
        return self._messages is not None or self._callbacks is not None

    def events(self, entry: LogEntry) -> Iterator[RunEvent]:
        """Yield the events of an entry."""
        for place, (event, data) in enumerate(self._of(entry)):
            yield RunEvent(event, data, EventId(entry.number, place))

    def _of(self, entry: LogEntry) -> Iterator[tuple[str, Any]]:
        if isinstance(entry, RunBegan):
            yield "metadata", {"run_id": entry.run.run_id, "attempt": 1}
        if self._callbacks is not None:
            for event in self._callbacks.of(entry):
                yield "events", event
        if isinstance(entry, RunBegan):
            return
        if isinstance(entry, RunEnded):
            if entry.status == "error" and entry.error is not None:
                yield "error", entry.error
        elif self._subgraphs or not entry.ns:
            yield from self._of_chunk(entry)

    def _of_chunk(self, chunk: RunChunk) -> Iterator[tuple[str, Any]]:
        mode, name = chunk.mode, "|".join((chunk.mode, *chunk.ns))
        if mode == "messages":
            if "messages-tuple" in self._modes:
                yield name, list(chunk.payload)
            if self._messages is not None:
                for event, data in self._messages.of(*chunk.payload):
                    yield "|".join((event, *chunk.ns)), data
        elif mode in self._modes:
            yield name, _with_checkpoints(chunk.payload) if mode == "debug" else chunk.payload


def _with_checkpoints(payload: Any) -> Any:
    """Return a chunk of mode ``debug`` with its checkpoints as clients name them in requests."""
    if not isinstance(payload, Mapping) or payload.get("type") != "checkpoint":
        return payload
    inner = payload["payload"]
    named = {"checkpoint": inner.get("config"), "parent_checkpoint": inner.get("parent_config")}
    return {**payload, "payload": {**inner, **{k: checkpoint_of(v) for k, v in named.items()}}}


class _Messages:
    """Mode ``messages``: each message as far as it has come."""

    def __init__(self) -> None:
        self._so_far: dict[str, Any] = {}

    def of(self, message: Any, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        id = str(message.id)
        if id not in self._so_far:
            yield "messages/metadata", {id: {"metadata": metadata}}
        if not type(message).__name__.endswith("Chunk"):
            self._so_far[id] = message
            yield "messages/complete", [message]
            return
        known = self._so_far.get(id)
        is_chunk = known is not None and type(known).__name__.endswith("Chunk")
        self._so_far[id] = known + message if is_chunk else message
        yield "messages/partial", [_whole(self._so_far[id])]


def _whole(chunk: Any) -> Any:
    from langchain_core.messages import message_chunk_to_message

    return message_chunk_to_message(chunk)
