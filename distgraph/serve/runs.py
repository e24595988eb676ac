"""Endpoints of runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.errors import DistgraphError
from distgraph.serve.conditions import Filters
from distgraph.serve.encoding import as_json, request_json
from distgraph.serve.errors import RequestError
from distgraph.serve.http import answer, body_of, id_of, nothing, page_of, paged, selected
from distgraph.serve.records import Run, Thread
from distgraph.serve.run_requests import CLIENT_MODES, RunRequest, report_ignored
from distgraph.serve.run_view import FROM_START, EventId, RunView, parse_event_id
from distgraph.serve.sse import PADDING, StreamedResponse, sse_event, sse_headers
from distgraph.serve.starting import start_run
from distgraph.serve.thread_log import LogTruncated, RunEnded

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("RunEndpoints",)

Body = dict[str, Any]


class RunEndpoints:
    """Endpoints of runs, with and without a thread.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        of_thread = "/threads/{thread_id}/runs"
        of_run = of_thread + "/{run_id}"
        return [
            Route("/runs/stream", self.stream, methods=["POST"]),
            Route("/runs/wait", self.wait, methods=["POST"]),
            Route("/runs/batch", self.batch, methods=["POST"]),
            Route("/runs/cancel", self.cancel_many, methods=["POST"]),
            Route("/runs", self.create, methods=["POST"]),
            Route(of_thread + "/stream", self.stream, methods=["POST"]),
            Route(of_thread + "/wait", self.wait, methods=["POST"]),
            Route(of_thread, self.create, methods=["POST"]),
            Route(of_thread, self.list, methods=["GET"]),
            Route(of_run, self.get, methods=["GET"]),
            Route(of_run, self.delete, methods=["DELETE"]),
            Route(of_run + "/join", self.join, methods=["GET"]),
            Route(of_run + "/stream", self.join_stream, methods=["GET"]),
            Route(of_run + "/cancel", self.cancel, methods=["POST"]),
            Route("/threads/{thread_id}/stream", self.stream_thread, methods=["GET"]),
        ]

    # --- creating ---------------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """Start a run in the background."""
        run, _ = await self._create(request, await body_of(request))
        return answer(_pending(run), headers=self._headers(run))

    async def batch(self, request: Request) -> Response:
        """Start several runs without threads."""
        bodies = request_json(await request.body())
        if not isinstance(bodies, list) or not all(isinstance(b, dict) for b in bodies):
            raise RequestError(422, "the body must be a list of objects")
        return answer([_pending((await self._create(request, body))[0]) for body in bodies])

    async def stream(self, request: Request) -> StreamedResponse:
        """Start a run, and stream its events."""
        run, wanted = await self._create(request, await body_of(request))
        view = RunView(wanted.stream_mode, subgraphs=wanted.stream_subgraphs)
        return StreamedResponse(
            self._events(run, view, after=FROM_START, ids=wanted.stream_resumable, strict=True),
            headers={**sse_headers(), **self._headers(run, "stream")},
            silence=self._server.settings.heartbeat,
            on_leave=self._leaving(run, cancels=wanted.on_disconnect == "cancel"),
        )

    async def wait(self, request: Request) -> StreamedResponse:
        """Start a run, and answer with its result."""
        run, wanted = await self._create(request, await body_of(request))
        return self._waiting(run, cancels=wanted.on_disconnect == "cancel")

    async def _create(self, request: Request, body: Body) -> tuple[Run, RunRequest]:
        thread_id = id_of(request, "thread_id") if "thread_id" in request.path_params else None
        wanted = RunRequest.parse(body)
        report_ignored(body)
        return await start_run(self._server, request, thread_id, wanted), wanted

    def _headers(self, run: Run, way: str | None = None) -> dict[str, str]:
        prefix = self._server.project.http.mount_prefix
        path = f"{prefix}/threads/{run.thread_id}/runs/{run.run_id}"
        headers = {"Content-Location": path}
        if way is not None:
            headers["Location"] = f"{path}/{way}"
        return headers

    # --- following --------------------------------------------------------------------------------

    async def join(self, request: Request) -> StreamedResponse:
        """Answer with the result of a run."""
        run = await self._run(request, "read")
        return self._waiting(run, cancels=_flag(request, "cancel_on_disconnect"))

    async def join_stream(self, request: Request) -> StreamedResponse:
        """Stream a run's events: from now on, or what follows ``Last-Event-ID``."""
        run = await self._run(request, "read")
        wanted = RunRequest.of(run.kwargs)
        modes = _modes(request) or wanted.stream_mode
        after = await self._after(request, run)
        return StreamedResponse(
            self._events(
                run,
                RunView(modes, subgraphs=wanted.stream_subgraphs),
                after=after,
                ids=wanted.stream_resumable,
                strict=after != FROM_START,
            ),
            headers={**sse_headers(), **self._headers(run, "stream")},
            silence=self._server.settings.heartbeat,
            on_leave=self._leaving(run, cancels=_flag(request, "cancel_on_disconnect")),
        )

    async def stream_thread(self, request: Request) -> StreamedResponse:
        """Stream the events of all runs of a thread, and stay open for its next runs."""
        thread = await self._thread(request, "read")
        given = _modes(request, ("run_modes", "lifecycle", "state_update")) or ("run_modes",)
        header = request.headers.get("last-event-id")
        after = parse_event_id(header) if header is not None else None
        if header is not None and after is None:
            raise RequestError(422, f"Last-Event-ID {header[:60]!r} is no id of this stream")
        return StreamedResponse(
            self._thread_events(thread, given, after),
            headers=sse_headers(),
            silence=self._server.settings.heartbeat,
        )

    async def _after(self, request: Request, run: Run) -> EventId:
        header = request.headers.get("last-event-id")
        if header is not None:
            found = parse_event_id(header)
            if found is None:
                raise RequestError(422, f"Last-Event-ID {header[:60]!r} is no id of this stream")
            return found
        if run.base is None:
            return FROM_START
        if not run.is_active:
            return EventId(run.base + (run.last or 0), 1 << 30)
        return EventId(await self._server.log.last(run.thread_id), 1 << 30)

    async def _events(
        self, run: Run, view: RunView, *, after: EventId, ids: bool, strict: bool
    ) -> AsyncIterator[bytes]:
        started = await self._server.runner.started(run)
        if started is None or started.base is None:
            return
        begin = 0 if view.needs_start or after.number < started.base else after.number - 1
        try:
            async for entry in self._server.log.read_run(started, begin, strict=strict):
                for event in view.events(entry):
                    if event.id > after:
                        yield sse_event(event.event, event.data, str(event.id) if ids else None)
        except LogTruncated as error:
            yield sse_event("error", {"error": "LogTruncated", "message": str(error)})

    async def _thread_events(
        self, thread: Thread, given: Sequence[str], after: EventId | None
    ) -> AsyncIterator[bytes]:
        log, begin = self._server.log, None if after is None else max(after.number - 1, 0)
        views: dict[str, RunView] = {}
        async for entry in log.read(thread.thread_id, begin):
            view = views.get(entry.run.run_id)
            if view is None:
                wanted = RunRequest.of(entry.run.kwargs)
                view = RunView(wanted.stream_mode, subgraphs=wanted.stream_subgraphs)
                views = {entry.run.run_id: view}
            events = list(view.events(entry))
            if "run_modes" in given:
                for event in events:
                    if after is None or event.id > after:
                        yield sse_event(event.event, event.data, str(event.id))
            if entry.number == entry.run.base and "lifecycle" in given:
                data = {"status": "run_started", "run_id": entry.run.run_id}
                yield sse_event("lifecycle", data, str(EventId(entry.number, len(events))))
            if isinstance(entry, RunEnded):
                id = EventId(entry.number, len(events))
                if after is None or id > after:
                    data = {"status": "run_done", "run_id": entry.run.run_id}
                    if "state_update" in given:
                        current = await self._server.registry.thread(thread.thread_id)
                        values = None if current is None else current.values
                        yield sse_event("state_update", {"values": values}, str(id))
                    yield sse_event("metadata", data, str(id))

    def _waiting(self, run: Run, *, cancels: bool) -> StreamedResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield as_json(await self.result(run))

        return StreamedResponse(
            parts(),
            headers={"Content-Type": "application/json", **self._headers(run, "join")},
            filler=PADDING,
            silence=self._server.settings.heartbeat,
            on_leave=self._leaving(run, cancels=cancels),
        )

    async def result(self, run: Run) -> Any:
        """Wait for the end of a run, and return what clients get as its result."""
        ended = await self._server.runner.ended(run)
        if ended is not None and ended.status == "error":
            return {"__error__": ended.error}
        if ended is not None and ended.status == "success" and ended.base is not None:
            with suppress(DistgraphError):
                handle = await self._server.handles.get(ended)
                return await handle.aresult()
        thread = await self._server.registry.thread(run.thread_id)
        return None if thread is None else thread.values

    def _leaving(self, run: Run, *, cancels: bool) -> Callable[[], Awaitable[None]] | None:
        if not cancels:
            return None

        async def leave() -> None:
            await self._server.runner.cancel(run)

        return leave

    # --- looking ----------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        """Answer with the runs of a thread, newest first."""
        thread = await self._thread(request, "read")
        page = page_of(request.query_params, Run)
        runs, total = await self._server.registry.runs(
            thread.thread_id, page, request.query_params.get("status")
        )
        select = request.query_params.getlist("select")
        return paged([selected(run.shown(), select) for run in runs], total, page)

    async def get(self, request: Request) -> Response:
        """Answer with a run."""
        return answer((await self._run(request, "read")).shown())

    async def delete(self, request: Request) -> Response:
        """Delete a run that has ended."""
        run = await self._run(request, "delete")
        if run.is_active:
            raise RequestError(409, f"Run {run.run_id} is {run.status}: cancel it first")
        await self._server.registry.delete_run(run)
        return nothing()

    # --- cancelling -------------------------------------------------------------------------------

    async def cancel(self, request: Request) -> Response:
        """End a run."""
        rollback = _action(request) == "rollback"
        try:
            run = await self._run(request, "update")
        except RequestError:
            run = None
        if run is None or not run.is_active:
            raise RequestError(
                404, "No matching runs to cancel. The run does not exist, or it has ended."
            )
        wait = _flag(request, "wait")
        await self._server.runner.cancel(run, rollback=rollback, wait=wait)
        return answer({}) if wait else Response(status_code=202)

    async def cancel_many(self, request: Request) -> Response:
        """End several runs: those of a list, or all with a status."""
        body = await body_of(request)
        rollback = _action(request) == "rollback"
        status, thread_id = body.get("status"), body.get("thread_id")
        run_ids = body.get("run_ids")
        if (status is None) == (run_ids is None):
            raise RequestError(422, "give status, or thread_id with run_ids")
        if status not in (None, "pending", "running", "all"):
            raise RequestError(422, f"status must be pending, running or all, got {status!r}")
        filters = await self._server.access.authorize(request, "threads", "update", dict(body))
        runs = await self._server.registry.active_runs(thread_id, status)
        chosen = [run for run in runs if run_ids is None or run.run_id in run_ids]
        chosen = [run for run in chosen if await self._permitted(run, filters)]
        if not chosen:
            raise RequestError(
                404, "No matching runs to cancel. The runs do not exist, or they have ended."
            )
        for run in chosen:
            await self._server.runner.cancel(run, rollback=rollback)
        return nothing()

    async def _permitted(self, run: Run, filters: Filters) -> bool:
        return await self._server.registry.thread(run.thread_id, filters) is not None

    # --- common -----------------------------------------------------------------------------------

    async def _thread(self, request: Request, action: Any) -> Thread:
        thread_id = id_of(request, "thread_id")
        value = {"thread_id": thread_id}
        filters = await self._server.access.authorize(request, "threads", action, value)
        thread = await self._server.registry.thread(thread_id, filters)
        if thread is None:
            raise RequestError(404, f"Thread with ID {thread_id} not found")
        return thread

    async def _run(self, request: Request, action: Any) -> Run:
        thread = await self._thread(request, action)
        run = await self._server.registry.run(id_of(request, "run_id"), thread.thread_id)
        if run is None:
            raise RequestError(404, "Run not found")
        return run


def _pending(run: Run) -> Body:
    """Return a run as it was when it was created: some are started at once."""
    return {**run.shown(), "status": "pending"}


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true", "yes")


def _action(request: Request) -> str:
    action = request.query_params.get("action", "interrupt")
    if action not in ("interrupt", "rollback"):
        raise RequestError(422, f"action must be interrupt or rollback, got {action!r}")
    return action


def _modes(request: Request, choices: Sequence[str] = CLIENT_MODES) -> tuple[str, ...]:
    """Return the modes of a query: sent repeated, or as one list with commas."""
    given = [
        mode.strip()
        for value in request.query_params.getlist("stream_mode")
        for mode in value.split(",")
        if mode.strip()
    ]
    for mode in given:
        if mode not in choices:
            raise RequestError(
                422, f"stream_mode {mode[:60]!r} is unknown: choose from {', '.join(choices)}"
            )
    return tuple(dict.fromkeys(given))
