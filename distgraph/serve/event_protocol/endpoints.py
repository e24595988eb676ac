"""Endpoints of the event protocol: commands, and events over SSE and WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from distgraph.serve.conditions import Filters
from distgraph.serve.encoding import as_json, request_json
from distgraph.serve.errors import RequestError
from distgraph.serve.event_protocol.commands import (
    Command,
    Respond,
    StartRun,
    Subscribe,
    Unsubscribe,
    accepted,
    answered_id,
    command_id,
    parse_command,
    refused,
)
from distgraph.serve.event_protocol.conversion import (
    MODES,
    ProtocolEvent,
    RunEnd,
    RunEvents,
    chunk_number,
    last_number,
)
from distgraph.serve.event_protocol.faults import ErrorCode, Fault
from distgraph.serve.event_protocol.subscriptions import Subscription
from distgraph.serve.http import answer, id_of
from distgraph.serve.records import Run, Thread
from distgraph.serve.run_requests import RunRequest
from distgraph.serve.sse import StreamedResponse, sse_event, sse_headers
from distgraph.serve.starting import start_run
from distgraph.serve.thread_log import LogEntry, LogTruncated, RunBegan, RunChunk

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("EventEndpoints",)

_ENDS: Mapping[str, RunEnd] = {
    "success": "completed",
    "error": "failed",
    "timeout": "failed",
    "interrupted": "interrupted",
}

_CODES: Mapping[int, ErrorCode] = {
    400: "invalid_argument",
    403: "permission_denied",
    404: "permission_denied",
    422: "invalid_argument",
}


class EventEndpoints:
    """Endpoints of the event protocol.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        events = "/threads/{thread_id}/stream/events"
        return [
            Route("/threads/{thread_id}/commands", self.commands, methods=["POST"]),
            Route(events, self.stream, methods=["POST"]),
            WebSocketRoute(events, self.socket),
        ]

    # --- commands ---------------------------------------------------------------------------------

    async def commands(self, request: Request) -> Response:
        """Carry out a command."""
        thread_id = id_of(request, "thread_id")
        try:
            message = request_json(await request.body())
            command_id(message)
        except RequestError as error:
            return answer(refused(None, Fault("invalid_argument", error.detail)), 400)
        except Fault as fault:
            return answer(refused(answered_id(message), fault), 400)
        return answer(await self._answer(request, thread_id, message))

    async def _answer(
        self, connection: HTTPConnection, thread_id: str, message: Mapping[str, Any]
    ) -> dict[str, Any]:
        try:
            command = parse_command(message)
            before = last_number(await self._server.log.last(thread_id))
            result = await self._carry_out(connection, thread_id, command)
        except Fault as fault:
            return refused(message["id"], fault)
        except RequestError as error:
            code = _CODES.get(error.status, "unknown_error")
            return refused(message["id"], Fault(code, error.detail))
        return accepted(message["id"], result, before)

    async def _carry_out(
        self, connection: HTTPConnection, thread_id: str, command: Command
    ) -> dict[str, Any]:
        if isinstance(command, StartRun):
            return {"run_id": (await self._start(connection, thread_id, command)).run_id}
        if isinstance(command, Respond):
            await self._respond(connection, thread_id, command)
            return {}
        raise Fault(
            "not_supported",
            "subscriptions are for WebSockets: POST /threads/{thread_id}/stream/events opens an "
            "event stream",
        )

    async def _start(self, connection: HTTPConnection, thread_id: str, command: StartRun) -> Run:
        body: dict[str, Any] = {"assistant_id": command.assistant_id, "input": command.input}
        if command.multitask_strategy is not None:
            body["multitask_strategy"] = command.multitask_strategy
        if command.checkpoint_id is not None:
            body["checkpoint"] = {"checkpoint_id": command.checkpoint_id}
        elif command.input is not None:
            waiting, _ = await self._asked(await self._thread(connection, thread_id))
            if len(waiting) > 1:
                raise Fault(
                    "invalid_argument",
                    f"the thread waits for {len(waiting)} answers: send input.respond with "
                    "responses, which name their interrupts",
                )
            if waiting:
                body |= {"input": None, "command": {"resume": {waiting[0]: command.input}}}
        return await self._run(connection, thread_id, body, command.config, command.metadata)

    async def _respond(self, connection: HTTPConnection, thread_id: str, command: Respond) -> None:
        thread = await self._thread(connection, thread_id)
        if thread is None:
            raise Fault("no_such_run", f"thread {thread_id} has no run that could ask something")
        waiting, is_busy = await self._asked(thread)
        for interrupt_id in command.responses:
            if interrupt_id not in waiting:
                raise Fault(
                    "no_such_interrupt", f"Unknown or already-consumed interrupt: {interrupt_id}"
                )
        resume: dict[str, Any] = {"resume": dict(command.responses)}
        if command.update is not None:
            resume["update"] = command.update
        if command.goto:
            resume["goto"] = list(command.goto)
        metadata = thread.metadata
        assistant_id = metadata.get("assistant_id") or metadata.get("graph_id")
        body = {"assistant_id": assistant_id, "command": resume}
        # of two answers that arrive at once, one counts
        body["multitask_strategy"] = "enqueue" if is_busy else "reject"
        try:
            await self._run(connection, thread_id, body, command.config, command.metadata)
        except RequestError as error:
            if error.status != 409:
                raise
            ids = ", ".join(command.responses)
            raise Fault(
                "no_such_interrupt", f"Unknown or already-consumed interrupt: {ids}"
            ) from None

    async def _asked(self, thread: Thread | None) -> tuple[list[str], bool]:
        """Return the ids of the interrupts of a thread that wait for an answer, and whether the
        thread is busy.

        A client may answer as soon as it reads the question: the run that asks has not ended then,
        and the answer waits for its end. An answer that waits already counts.
        """
        if thread is None:
            return [], False
        active = await self._server.registry.active_runs(thread.thread_id)
        if not active:
            return _waiting(await self._server.registry.thread(thread.thread_id)), False
        asked: dict[str, None] = {}
        last = await self._server.log.last(thread.thread_id)
        for run in active:
            if run.base is None:  # it waits for its turn
                for interrupt_id in _answers(run):
                    asked.pop(interrupt_id, None)
                continue
            converter = _Converter()
            async for entry in self._server.log.read_run(run):
                for event, _ in converter.events(entry):
                    if event.method == "input.requested":
                        asked[event.data["interrupt_id"]] = None
                if entry.number >= last:
                    break
        return list(asked), True

    async def _thread(self, connection: HTTPConnection, thread_id: str) -> Thread | None:
        """Return a thread that the user may read; None if there is none."""
        value = {"thread_id": thread_id}
        filters = await self._server.access.authorize(connection, "threads", "read", value)
        return await self._server.registry.thread(thread_id, filters)

    async def _run(
        self,
        connection: HTTPConnection,
        thread_id: str,
        body: dict[str, Any],
        config: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Run:
        configurable = {
            key: value
            for key, value in (config.get("configurable") or {}).items()
            if key not in ("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map")
        }
        body |= {
            "config": {**config, "configurable": configurable},
            "metadata": dict(metadata),
            "if_not_exists": "create",
            "stream_subgraphs": True,
            "stream_resumable": True,
        }
        wanted = RunRequest.parse(body, more_modes=MODES)
        return await start_run(self._server, connection, thread_id, wanted)

    # --- events over SSE --------------------------------------------------------------------------

    async def stream(self, request: Request) -> Response | StreamedResponse:
        """Stream the events of a thread, across its runs, until the client leaves."""
        thread_id = id_of(request, "thread_id")
        try:
            subscription = Subscription.parse(request_json(await request.body()))
        except RequestError as error:
            raise RequestError(400, error.detail) from None
        except Fault as fault:
            raise RequestError(400, fault.message) from None
        filters = await self._permitted(request, thread_id)
        return StreamedResponse(
            self._frames(thread_id, subscription, filters),
            headers=sse_headers(),
            silence=self._server.settings.heartbeat,
        )

    async def _permitted(self, connection: HTTPConnection, thread_id: str) -> Filters:
        """Return the conditions on a thread, which it meets if it exists."""
        value = {"thread_id": thread_id}
        filters = await self._server.access.authorize(connection, "threads", "read", value)
        if filters and await self._server.registry.thread(thread_id) is not None:
            await self._check(thread_id, filters)
        return filters

    async def _check(self, thread_id: str, filters: Filters) -> None:
        if filters and await self._server.registry.thread(thread_id, filters) is None:
            raise RequestError(404, f"Thread with ID {thread_id} not found")

    async def _frames(
        self, thread_id: str, subscription: Subscription, filters: Filters
    ) -> AsyncIterator[bytes]:
        try:
            async for item in self._events(thread_id, subscription.since, filters):
                if isinstance(item, Fault):
                    yield sse_event("error", refused(None, item))
                    continue
                event, timestamp = item
                if event.seq > subscription.since and subscription.wants(event):
                    frame = event.frame(timestamp, event.data)
                    yield sse_event(event.method, frame, str(event.seq))
        except RequestError:
            return  # the thread is another one now, and somebody else's

    async def _events(
        self, thread_id: str, since: int, filters: Filters
    ) -> AsyncIterator[tuple[ProtocolEvent, int] | Fault]:
        """Yield the events of a thread with their times, from before ``since`` on, without end.

        The run to which ``since`` belongs is read from its start: the state of its messages is
        needed. A ``Fault`` stands where events that follow ``since`` are no longer kept.

        Raises:
            RequestError: The thread was deleted, and somebody else has made one of that id.
        """
        number = chunk_number(since)
        runs = await self._server.registry.runs_from(thread_id, number - 1)
        after = number - 1
        if runs and runs[0].base is not None:
            after = min(after, runs[0].base - 1)
        strict = since > 0
        while True:
            converter = _Converter()
            try:
                async for entry in self._server.log.read(thread_id, after, strict=strict):
                    if isinstance(entry, RunBegan):
                        await self._check(thread_id, filters)
                    for item in converter.events(entry):
                        yield item
                    after = entry.number
                    strict = strict and last_number(after) <= since
            except LogTruncated as error:
                known = max(after, number) if since > 0 else after
                if await self._is_lost(thread_id, after, known, error.oldest):
                    yield Fault("unknown_error", str(error))
                strict = False
                continue
            return

    async def _is_lost(self, thread_id: str, after: int, known: int, oldest: int | None) -> bool:
        """Return whether a reader misses something that is no longer kept.

        Args:
            thread_id: The thread.
            after: Number of the last chunk that was read.
            known: Number of the last chunk that the reader has.
            oldest: Number of the oldest chunk that is kept; None if only the end of the run is.
        """
        if oldest is not None:
            return oldest > known + 1
        runs = await self._server.registry.runs_from(thread_id, after)
        return bool(runs) and (runs[0].base or 0) + (runs[0].last or 0) > known + 1

    # --- events over WebSocket --------------------------------------------------------------------

    async def socket(self, socket: WebSocket) -> None:
        """Exchange commands and events."""
        await socket.accept()
        try:
            thread_id = str(UUID(str(socket.path_params["thread_id"])))
            filters = await self._permitted(socket, thread_id)
        except ValueError:
            await socket.close(4422, "Invalid thread ID: must be a UUID")
            return
        except RequestError as error:
            await socket.close(4000 + error.status, error.detail[:120])
            return
        await _Socket(self, socket, thread_id, filters).serve()


class _Converter:
    """The events of the entries of a thread's log."""

    def __init__(self) -> None:
        self._run: RunEvents | None = None
        self._ended_at: int | None = None

    def events(self, entry: LogEntry) -> list[tuple[ProtocolEvent, int]]:
        run = entry.run
        if self._run is None or self._run.run_id != run.run_id:
            self._run = RunEvents(run.run_id, run.graph_id, _answers(run))
            # what happened long ago must not look new: clients compare it with the state they have
            self._ended_at = None if run.is_active else _milliseconds(run.created_at)
        timestamp = self._ended_at or time.time_ns() // 1_000_000
        if isinstance(entry, RunBegan):
            made = self._run.started(entry.number)
        elif isinstance(entry, RunChunk):
            made = self._run.chunk(entry.number, (entry.ns, entry.mode, entry.payload))
        else:
            error = entry.error
            made = self._run.ended(
                entry.number,
                _ENDS.get(entry.status, "completed"),
                None if error is None else str(error.get("message") or error.get("error")),
            )
        return [(event, timestamp) for event in made]


class _Socket:
    """One WebSocket: its commands, and one reader of the thread for all its subscriptions."""

    def __init__(
        self, endpoints: EventEndpoints, socket: WebSocket, thread_id: str, filters: Filters
    ) -> None:
        self._endpoints = endpoints
        self._socket = socket
        self._thread_id = thread_id
        self._filters = filters
        self._subscriptions: dict[str, Subscription] = {}
        self._count = 0
        self._sent = 0
        """Number of the last event that was read."""
        self._turn = asyncio.Lock()
        """Held while something is sent: what a new subscription missed comes before what is new."""
        self._reading: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(message.get("text") or message.get("bytes") or "")
        except (WebSocketDisconnect, RuntimeError):
            return  # the client has left
        finally:
            if self._reading is not None:
                self._reading.cancel()
                with suppress(asyncio.CancelledError):
                    await self._reading

    async def _take(self, content: str | bytes) -> None:
        try:
            message = json.loads(content)
            command_id(message)
        except ValueError:
            await self._send(refused(None, Fault("invalid_argument", "Invalid JSON in frame")))
            return
        except Fault as fault:
            await self._send(refused(answered_id(message), fault))
            return
        try:
            command = parse_command(message)
            if isinstance(command, Subscribe):
                await self._subscribe(message["id"], command.subscription)
                return
            if isinstance(command, Unsubscribe):
                if self._subscriptions.pop(command.subscription_id, None) is None:
                    raise Fault(
                        "no_such_subscription", f"no subscription {command.subscription_id}"
                    )
                await self._send(accepted(message["id"], {}, self._sent))
                return
        except Fault as fault:
            await self._send(refused(message["id"], fault))
            return
        await self._send(await self._endpoints._answer(self._socket, self._thread_id, message))

    async def _subscribe(self, number: int, subscription: Subscription) -> None:
        async with self._turn:
            self._count += 1
            name = f"sub-{self._count}"
            owed = [] if self._reading is None else await self._owed(subscription)
            self._subscriptions[name] = subscription
            result = {"subscription_id": name, "replayed_events": len(owed)}
            await self._send(accepted(number, result, self._sent), locked=True)
            for frame in owed:
                await self._socket.send_text(frame)
            if self._reading is None:
                self._reading = asyncio.ensure_future(self._read(subscription.since))

    async def _owed(self, subscription: Subscription) -> list[str]:
        """Return what a new subscription has missed of what was read already."""
        found: list[str] = []
        if self._sent <= subscription.since:
            return found
        async for item in self._endpoints._events(
            self._thread_id, subscription.since, self._filters
        ):
            if isinstance(item, Fault):
                found.append(as_json(refused(None, item)).decode())
                continue
            event, timestamp = item
            if event.seq > self._sent:
                break
            if event.seq > subscription.since and subscription.wants(event):
                found.append(as_json(event.frame(timestamp, event.data)).decode())
            if event.seq == self._sent:
                break
        return found

    async def _read(self, since: int) -> None:
        try:
            async for item in self._endpoints._events(self._thread_id, since, self._filters):
                async with self._turn:
                    if isinstance(item, Fault):
                        await self._send(refused(None, item), locked=True)
                        continue
                    event, timestamp = item
                    self._sent = event.seq
                    if any(
                        event.seq > each.since and each.wants(event)
                        for each in self._subscriptions.values()
                    ):
                        frame = as_json(event.frame(timestamp, event.data)).decode()
                        await self._socket.send_text(frame)
        except RequestError as error:
            await self._socket.close(4000 + error.status, error.detail[:120])
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client has left
        else:
            await self._socket.close(4404, "the thread was deleted")

    async def _send(self, message: Mapping[str, Any], *, locked: bool = False) -> None:
        text = as_json(message).decode()
        if locked:
            await self._socket.send_text(text)
            return
        async with self._turn:
            await self._socket.send_text(text)


def _waiting(thread: Thread | None) -> list[str]:
    """Return the ids of the interrupts for which a thread waits."""
    if thread is None or thread.status != "interrupted" or not thread.interrupts:
        return []
    return [str(each["id"]) for waiting in thread.interrupts.values() for each in waiting]


def _answers(run: Run) -> tuple[str, ...]:
    """Return the ids of the interrupts that a run answers by name."""
    resume = (run.kwargs.get("command") or {}).get("resume")
    if not isinstance(resume, Mapping):
        return ()
    return tuple(key for key in resume if len(key) == 32 and not set(key) - set("0123456789abcdef"))


def _milliseconds(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1000)
