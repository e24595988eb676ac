"""The chunks of a run as the events of the protocol.

``RunEvents`` makes the same events of the same chunks, whichever process reads them: numbers and
event ids follow from the place of a chunk in the thread. So any server process answers any reader,
and a reader that returns with the number of its last event misses none and gets none twice.

Differences from LangGraph's server, all on purpose: all nine channels deliver, the error of a run
that failed stays in the replay, and the terminal ``lifecycle`` event of a run is its last event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from distgraph.serve.event_protocol.messages import MessageEvents, role_of

__all__ = (
    "EVENTS_PER_CHUNK",
    "MODES",
    "ProtocolEvent",
    "RunEnd",
    "RunEvents",
    "chunk_number",
    "event_number",
    "last_number",
)

MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints", "tools")
"""Stream modes that a run needs for all channels; with ``subgraphs=True``."""

EVENTS_PER_CHUNK = 1 << 12
"""Distance of the numbers of two chunks: 2**41 chunks of a thread fit a JavaScript number."""

RunEnd = Literal["completed", "failed", "interrupted"]

Data = dict[str, Any]
Namespace = tuple[str, ...]

Made = Iterator[tuple[Namespace, str, Any, str | None]]
"""Namespace, method, data and node of events that have no number yet."""

_INTERRUPT = "__interrupt__"
_METADATA = "__metadata__"
_ABORTED = "aborted"


class ProtocolEvent(NamedTuple):
    """One event of a thread."""

    seq: int
    """Number within the thread. Numbers increase, and are the same for every reader."""
    event_id: str
    method: str
    namespace: Namespace
    data: Any
    """Not encoded yet: it may contain messages and other objects of the graph's state."""
    node: str | None = None
    """Node of a message."""

    def frame(self, timestamp: int, data: Any) -> Data:
        """Return the event as it is sent.

        Args:
            timestamp: Milliseconds since the epoch.
            data: ``data``, encoded.
        """
        params: Data = {"namespace": list(self.namespace), "timestamp": timestamp, "data": data}
        if self.node is not None:
            params["node"] = self.node
        return {
            "type": "event",
            "event_id": self.event_id,
            "seq": self.seq,
            "method": self.method,
            "params": params,
        }


def event_number(chunk: int, position: int) -> int:
    """Return the number of an event.

    Args:
        chunk: Number of its chunk within the thread, from 1.
        position: Place of the event among those of the chunk, from 0.

    Raises:
        OverflowError: A chunk makes more events than there are numbers.
    """
    if position >= EVENTS_PER_CHUNK - 1:
        raise OverflowError(f"a chunk of the stream makes more than {EVENTS_PER_CHUNK} events")
    return (chunk - 1) * EVENTS_PER_CHUNK + position + 1


def chunk_number(event: int) -> int:
    """Return the number of the chunk to which an event belongs; the inverse of ``event_number``.

    It is 1, the first, for event 0, which stands for no event.
    """
    return max(0, event - 1) // EVENTS_PER_CHUNK + 1


def last_number(chunk: int) -> int:
    """Return the greatest number that an event of a chunk can have; 0 for chunk 0, none."""
    return chunk * EVENTS_PER_CHUNK


@dataclass
class _Open:
    """A message that has no end yet."""

    events: MessageEvents
    namespace: Namespace
    node: str | None
    task_id: str


@dataclass
class RunEvents:
    """The events of one run. Its methods take the chunks in the order of the stream, once each."""

    run_id: str
    graph_name: str
    answers: Sequence[str] = ()
    """Ids of the interrupts that the run's input answers."""
    _messages: dict[str, _Open] = field(default_factory=dict, init=False)
    _finished: set[str] = field(default_factory=set, init=False)
    _unnamed: int = field(default=0, init=False)
    _graphs: dict[Namespace, None] = field(default_factory=dict, init=False)
    """Namespaces of subgraphs that started, and have not ended."""
    _seen: set[Namespace] = field(default_factory=set, init=False)
    _tools: dict[str, Namespace] = field(default_factory=dict, init=False)
    _asked: set[str] = field(default_factory=set, init=False)
    _waits: bool = field(default=False, init=False)
    """Whether the graph waits for an answer, or at a breakpoint."""
    _values: dict[Namespace, Any] = field(default_factory=dict, init=False)
    """The last values of a graph, until it is known whether their checkpoint follows."""

    # --- what a run consists of -----------------------------------------------------------------

    def started(self, chunk: int) -> list[ProtocolEvent]:
        """Return the first events of the run; ``chunk`` is a number before its chunks' numbers."""
        return self._numbered(chunk, self._start())

    def chunk(self, chunk: int, content: tuple[Namespace, str, Any]) -> list[ProtocolEvent]:
        """Return the events of one chunk.

        Args:
            chunk: Number of the chunk within the thread.
            content: Namespace, mode and payload, as a run yields them for a list of modes with
                ``subgraphs=True``.
        """
        namespace, mode, payload = content
        return self._numbered(chunk, self._events(tuple(namespace), mode, payload))

    def ended(self, chunk: int, end: RunEnd, error: str | None = None) -> list[ProtocolEvent]:
        """Return the last events of the run.

        Args:
            chunk: A number after its chunks' numbers.
            end: How the run ended; a run that was cancelled is ``interrupted``. So is a completed
                run whose graph waits for an answer, or at a breakpoint.
            error: What the run raised.
        """
        if end == "completed" and self._waits:
            end = "interrupted"
        return self._numbered(chunk, self._end(end, error))

    def _numbered(self, chunk: int, events: Made) -> list[ProtocolEvent]:
        made = []
        for position, (namespace, method, data, node) in enumerate(events):
            seq = event_number(chunk, position)
            # JavaScript's client reads the run of a lifecycle event from an id of this form
            kind = "synth" if method == "lifecycle" or method.startswith("input.") else "run"
            event_id = f"{kind}:{self.run_id}:{seq}"
            made.append(ProtocolEvent(seq, event_id, method, namespace, data, node))
        return made

    # --- start and end --------------------------------------------------------------------------

    def _start(self) -> Made:
        if self.answers:
            yield (), "input.answered", {"interrupt_ids": list(self.answers)}, None
        yield (), "lifecycle", {"event": "running", "graph_name": self.graph_name}, None

    def _end(self, end: RunEnd, error: str | None) -> Made:
        for namespace in list(self._values):
            yield from self._release(namespace)
        yield from self._abandon(list(self._messages), "the run has ended")
        if end != "interrupted":  # a tool that asks starts again with the answer
            yield from self._break_off_tools("the run has ended")
        for namespace in sorted(self._graphs, key=len, reverse=True):
            yield from self._end_graph(namespace, end, error)
        data: Data = {"event": end, "graph_name": self.graph_name}
        if error is not None:
            data["error"] = error
        yield (), "lifecycle", data, None

    def _end_graph(self, namespace: Namespace, end: RunEnd, error: str | None) -> Made:
        del self._graphs[namespace]
        yield from self._release(namespace)
        data = {"event": end, **_graph(namespace)}
        if error is not None:
            data["error"] = error
        yield namespace, "lifecycle", data, None

    # --- chunks ---------------------------------------------------------------------------------

    def _events(self, namespace: Namespace, mode: str, payload: Any) -> Made:
        yield from self._started_graphs(namespace)
        if mode == "checkpoints":
            yield namespace, "checkpoints", _checkpoint(payload), None
            yield from self._release(namespace)
            return
        yield from self._release(namespace)
        if mode == "values":
            yield from self._value(namespace, payload)
        elif mode == "updates":
            yield from self._updates(namespace, payload)
        elif mode == "messages":
            yield from self._message(namespace, *payload)
        elif mode == "tools":
            yield from self._tool(namespace, payload)
        elif mode == "tasks":
            yield from self._task(namespace, payload)
        elif mode == "custom":
            yield namespace, "custom", _custom(payload), None
        elif mode == "reset":
            yield from self._reset(payload)

    def _started_graphs(self, namespace: Namespace) -> Made:
        for depth in range(1, len(namespace) + 1):
            graph = namespace[:depth]
            if graph in self._seen:
                continue
            self._seen.add(graph)
            self._graphs[graph] = None
            yield graph, "lifecycle", {"event": "started", **_graph(graph)}, None

    def _value(self, namespace: Namespace, payload: Any) -> Made:
        if isinstance(payload, Mapping) and _INTERRUPT in payload:
            yield from self._interrupts(namespace, payload[_INTERRUPT])
            payload = {key: value for key, value in payload.items() if key != _INTERRUPT}
        self._values[namespace] = payload

    def _release(self, namespace: Namespace) -> Made:
        """Yield values that were kept back: clients want their checkpoint before them."""
        if namespace in self._values:
            yield namespace, "values", self._values.pop(namespace), None

    def _updates(self, namespace: Namespace, payload: Any) -> Made:
        if not isinstance(payload, Mapping):
            yield namespace, "updates", {"values": payload}, None
            return
        for node, update in payload.items():
            if node == _INTERRUPT:
                yield from self._interrupts(namespace, update)
            elif node != _METADATA:
                data = {"node": node, "values": update}
                if payload.get(_METADATA):
                    data["metadata"] = payload[_METADATA]
                yield namespace, "updates", data, None

    def _interrupts(self, namespace: Namespace, interrupts: Sequence[Any]) -> Made:
        self._waits = True
        for interrupt in interrupts:
            if isinstance(interrupt, Mapping):
                interrupt_id, value = str(interrupt["id"]), interrupt["value"]
            else:
                interrupt_id, value = str(interrupt.id), interrupt.value
            if interrupt_id in self._asked:
                continue
            self._asked.add(interrupt_id)
            data = {"interrupt_id": interrupt_id, "payload": value, "value": value}
            yield namespace, "input.requested", data, None

    def _task(self, namespace: Namespace, payload: Mapping[str, Any]) -> Made:
        if "result" not in payload:
            yield namespace, "tasks", dict(payload), None
            return
        task_id, error = str(payload["id"]), payload.get("error")
        if payload.get("interrupts"):
            yield from self._interrupts(namespace, payload["interrupts"])
        yield from self._abandon(
            [key for key, message in self._messages.items() if message.task_id == task_id],
            "the node has ended",
        )
        end: RunEnd = "interrupted" if payload.get("interrupts") else "completed"
        if error is not None:
            end = "failed"
        of_task = [
            graph
            for graph in self._graphs
            if len(graph) > len(namespace)
            and graph[: len(namespace)] == namespace
            and graph[len(namespace)].partition(":")[2] == task_id
        ]
        for graph in sorted(of_task, key=len, reverse=True):
            yield from self._end_graph(graph, end, None if error is None else _text(error))
        data = dict(payload)
        if isinstance(error, BaseException):
            data["error"] = _text(error)
        yield namespace, "tasks", data, None

    # --- messages and tools ---------------------------------------------------------------------

    def _message(self, namespace: Namespace, message: Any, metadata: Mapping[str, Any]) -> Made:
        if role_of(message) is None:
            return
        place = str(metadata.get("langgraph_checkpoint_ns") or "")
        is_chunk = message.type.endswith("Chunk")
        message_id = message.id or self._id_without(place, is_chunk)
        known = self._messages.get(message_id)
        if known is None:
            if message_id in self._finished and (not is_chunk or not _has_content(message)):
                return
            known = _Open(
                MessageEvents(message_id),
                namespace,
                metadata.get("langgraph_node"),
                place.rpartition("|")[2].partition(":")[2],
            )
            self._messages[message_id] = known
            yield self._of_message(known, known.events.start(message, metadata))
        elif not is_chunk:
            yield from self._finish_message(message_id)
            return
        for data in known.events.feed(message):
            yield self._of_message(known, data)
        if not is_chunk or getattr(message, "chunk_position", None) == "last":
            yield from self._finish_message(message_id)

    def _id_without(self, place: str, is_chunk: bool) -> str:
        """Return an id for a message that has none: chunks of one node belong together."""
        if is_chunk:
            return f"{self.run_id}:{place}"
        self._unnamed += 1
        return f"{self.run_id}:{place}:{self._unnamed}"

    def _finish_message(self, message_id: str) -> Made:
        known = self._messages.pop(message_id)
        self._finished.add(message_id)
        for data in known.events.finish():
            yield self._of_message(known, data)

    def _abandon(self, messages: Sequence[str], reason: str) -> Made:
        for message_id in messages:
            known = self._messages.pop(message_id)
            self._finished.add(message_id)
            data = known.events.fail(f"the message has no end: {reason}", _ABORTED)
            yield self._of_message(known, data)

    @staticmethod
    def _of_message(known: _Open, data: Data) -> tuple[Namespace, str, Any, str | None]:
        return known.namespace, "messages", data, known.node

    def _tool(self, namespace: Namespace, payload: Mapping[str, Any]) -> Made:
        call, event = str(payload.get("tool_call_id")), payload.get("event")
        if event == "tool-started":
            self._tools[call] = namespace
        elif event in ("tool-finished", "tool-error"):
            self._tools.pop(call, None)
        yield namespace, "tools", dict(payload), None

    def _break_off_tools(self, reason: str) -> Made:
        while self._tools:
            call, namespace = self._tools.popitem()
            data = {"event": "tool-error", "tool_call_id": call, "code": _ABORTED}
            yield namespace, "tools", {**data, "message": f"the call has no end: {reason}"}, None

    def _reset(self, reset: Any) -> Made:
        """An attempt was lost: what it began ends here, and another attempt follows."""
        lost = [key for key, message in self._messages.items() if message.task_id == reset.task_id]
        yield from self._abandon(lost, reset.error)
        # another attempt streams the same messages again
        self._finished.difference_update(lost)


def _graph(namespace: Namespace) -> Data:
    name, _, task_id = namespace[-1].partition(":")
    data: Data = {"namespace": list(namespace), "graph_name": name}
    if task_id:
        data["trigger_call_id"] = task_id
    return data


def _checkpoint(payload: Mapping[str, Any]) -> Data:
    metadata = payload.get("metadata") or {}
    data = {
        "id": _checkpoint_id(payload.get("config")),
        "step": metadata.get("step", -1),
        "source": metadata.get("source", "loop"),
    }
    parent = _checkpoint_id(payload.get("parent_config"))
    return data if parent is None else {**data, "parent_id": parent}


def _checkpoint_id(config: Mapping[str, Any] | None) -> str | None:
    return None if config is None else config.get("configurable", {}).get("checkpoint_id")


def _custom(payload: Any) -> Data:
    """A dict with ``name`` and ``payload`` names its channel, ``custom:NAME``."""
    if (
        isinstance(payload, Mapping)
        and set(payload) == {"name", "payload"}
        and isinstance(payload["name"], str)
        and payload["name"]
    ):
        return dict(payload)
    return {"payload": payload}


def _text(error: Any) -> str:
    return str(error) or type(error).__name__


def _has_content(message: Any) -> bool:
    return bool(message.content) or bool(getattr(message, "tool_call_chunks", None))
