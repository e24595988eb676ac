"""Endpoints of threads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.errors import InvalidUpdateError
from distgraph.serve.access import Action
from distgraph.serve.conditions import Filters
from distgraph.serve.database import Conflict
from distgraph.serve.errors import RequestError
from distgraph.serve.expiry import TimeToLive, time_to_live
from distgraph.serve.http import answer, body_of, id_of, nothing, page_of, paged, selected
from distgraph.serve.records import Thread, new_id, now
from distgraph.serve.runner import state_columns
from distgraph.serve.states import NO_STATE, checkpoint_of, shown_state
from distgraph.types import Command, StateUpdate

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("ThreadEndpoints",)

_STATUSES = ("idle", "busy", "interrupted", "error")


class ThreadEndpoints:
    """Endpoints of threads and their states.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        one = "/threads/{thread_id}"
        return [
            Route("/threads", self.create, methods=["POST"]),
            Route("/threads/search", self.search, methods=["POST"]),
            Route("/threads/count", self.count, methods=["POST"]),
            Route("/threads/prune", self.prune, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.change, methods=["PATCH"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(one + "/copy", self.copy, methods=["POST"]),
            Route(one + "/state", self.state, methods=["GET"]),
            Route(one + "/state", self.update_state, methods=["POST"]),
            Route(one + "/state/checkpoint", self.state_at, methods=["POST"]),
            Route(one + "/state/{checkpoint_id}", self.state_by_id, methods=["GET"]),
            Route(one + "/history", self.history, methods=["GET", "POST"]),
        ]

    # --- threads ----------------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """Create a thread; with ``supersteps``, one that has a state."""
        body = await body_of(request)
        thread_id = _thread_id(body.get("thread_id"))
        ttl = self._time_to_live(body)
        metadata = _object(body, "metadata")
        if_exists = body.get("if_exists") or "raise"
        if if_exists not in ("raise", "do_nothing"):
            raise RequestError(422, f"if_exists must be raise or do_nothing, got {if_exists!r}")
        supersteps = body.get("supersteps") or []
        if body.get("graph_id"):
            metadata["graph_id"] = body["graph_id"]
        if supersteps and not metadata.get("graph_id"):
            raise RequestError(422, "supersteps need graph_id, or metadata.graph_id")
        value: dict[str, Any] = {
            "thread_id": thread_id,
            "metadata": metadata,
            "if_exists": if_exists,
        }
        filters = await self._server.access.authorize(request, "threads", "create", value)
        thread = self._server.runner.new_thread(thread_id, value["metadata"])
        if ttl is not None:
            thread = replace(thread, **ttl.columns())
        try:
            await self._server.registry.add_thread(thread)
        except Conflict:
            known = await self._server.registry.thread(thread_id, filters)
            if if_exists == "raise" or known is None:
                raise RequestError(409, f"Thread with ID {thread_id} already exists") from None
            return answer(known.shown())
        if supersteps:
            try:
                await self._write(thread, _supersteps(supersteps), {})
            except BaseException:
                await self._server.checkpoints.delete_thread(thread_id)
                await self._server.registry.delete_thread(thread_id)
                raise
        made = await self._server.registry.thread(thread_id)
        return answer((made or thread).shown())

    def _time_to_live(self, body: Mapping[str, Any]) -> TimeToLive | None:
        found = time_to_live(body.get("ttl"))
        if found is not None and found.strategy == "keep_latest":
            self._server.checkpoints.check_keeps_latest()
        return found

    async def get(self, request: Request) -> Response:
        """Answer with a thread."""
        thread = await self._thread(request, "read")
        include = ",".join(request.query_params.getlist("include")).split(",")
        more = {"ttl": thread.shown_ttl()} if "ttl" in include else {}
        return answer({**thread.shown(), **more})

    async def change(self, request: Request) -> Response:
        """Merge metadata into a thread's, and set its time to live."""
        body = await body_of(request)
        ttl = self._time_to_live(body)
        value: dict[str, Any] = {"metadata": _object(body, "metadata")}
        thread = await self._thread(request, "update", value)
        await self._server.registry.change_thread(
            thread.thread_id, {} if ttl is None else ttl.columns(), metadata=value["metadata"]
        )
        if "return=minimal" in request.headers.get("prefer", ""):
            return nothing()
        changed = await self._server.registry.thread(thread.thread_id)
        return answer((changed or thread).shown())

    async def delete(self, request: Request) -> Response:
        """Delete a thread with its runs and checkpoints. Active runs are cancelled."""
        thread = await self._thread(request, "delete")
        await self._delete(thread.thread_id)
        return nothing()

    async def _delete(self, thread_id: str) -> None:
        for run in await self._server.registry.active_runs(thread_id):
            await self._server.runner.cancel(run, wait=True)
        await self._server.checkpoints.delete_thread(thread_id)
        await self._server.registry.delete_thread(thread_id)

    async def prune(self, request: Request) -> Response:
        """Delete several threads, or all of their checkpoints but the newest."""
        body = await body_of(request)
        strategy = body.get("strategy") or "delete"
        if strategy not in ("delete", "keep_latest"):
            raise RequestError(422, f"strategy must be delete or keep_latest, got {strategy!r}")
        filters = await self._server.access.authorize(request, "threads", "delete", dict(body))
        pruned = 0
        for thread_id in map(str, body.get("thread_ids") or ()):
            if await self._server.registry.thread(thread_id, filters) is not None:
                if strategy == "delete":
                    await self._delete(thread_id)
                else:
                    await self._server.checkpoints.keep_latest(thread_id)
                pruned += 1
        return answer({"pruned_count": pruned})

    async def search(self, request: Request) -> Response:
        """Answer with the threads that fit."""
        body = await body_of(request)
        page = page_of(body, Thread)
        threads, total = await self._find(request, body, page)
        return paged([_selected(thread, body) for thread in threads], total, page)

    async def count(self, request: Request) -> Response:
        """Answer with the number of threads that fit."""
        body = await body_of(request)
        _, total = await self._find(request, body, page_of({"limit": 1}, Thread))
        return answer(total)

    async def _find(
        self, request: Request, body: dict[str, Any], page: Any
    ) -> tuple[list[Thread], int]:
        status = body.get("status")
        if status is not None and status not in _STATUSES:
            raise RequestError(422, f"status must be one of {', '.join(_STATUSES)}, got {status!r}")
        value = {**body, "metadata": _object(body, "metadata")}
        filters = await self._server.access.authorize(request, "threads", "search", value)
        return await self._server.registry.threads(
            page,
            ids=body.get("ids"),
            status=status,
            metadata=value["metadata"],
            values=_object(body, "values"),
            filters=filters,
        )

    async def copy(self, request: Request) -> Response:
        """Copy a thread with all its checkpoints."""
        thread = await self._thread(request, "read")
        value: dict[str, Any] = {"metadata": dict(thread.metadata)}
        await self._server.access.authorize(request, "threads", "create", value)
        stamp, graph_id = now(), self._graph_id(thread)
        copied = replace(
            thread,
            thread_id=new_id(),
            created_at=stamp,
            updated_at=stamp,
            metadata=value["metadata"],
            next_number=1,
            version=0,
        )
        await self._server.checkpoints.copy_thread(thread.thread_id, copied.thread_id)
        if thread.status == "busy":  # its last checkpoint is newer than what the registry has
            left: dict[str, Any] = {"status": "idle"}
            if graph_id is not None:
                left = await self._server.runner.thread_state(copied.thread_id, graph_id)
            copied = replace(copied, **left)
        await self._server.registry.add_thread(copied)
        return answer(copied.shown())

    # --- states -----------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        """Answer with the present state of a thread."""
        thread = await self._thread(request, "read")
        return await self._state(thread, {}, _flag(request.query_params.get("subgraphs")))

    async def state_by_id(self, request: Request) -> Response:
        """Answer with the state at a checkpoint."""
        thread = await self._thread(request, "read")
        checkpoint = {"checkpoint_id": request.path_params["checkpoint_id"]}
        return await self._state(thread, checkpoint, _flag(request.query_params.get("subgraphs")))

    async def state_at(self, request: Request) -> Response:
        """Answer with the state at a checkpoint, of a subgraph's where it names one."""
        thread = await self._thread(request, "read")
        body = await body_of(request)
        checkpoint = _object(body, "checkpoint")
        if not checkpoint:
            raise RequestError(422, "checkpoint is required")
        return await self._state(thread, checkpoint, bool(body.get("subgraphs")))

    async def _state(
        self, thread: Thread, checkpoint: Mapping[str, Any], subgraphs: bool
    ) -> Response:
        graph_id = self._graph_id(thread)
        if graph_id is None:
            return answer(NO_STATE)
        config = _config(thread, checkpoint)
        async with self._server.graphs.opened(graph_id, config) as graph:
            try:
                state = await graph.aget_state(config, subgraphs=subgraphs)
            except ValueError as error:
                raise RequestError(404, str(error)) from None
        return answer(shown_state(state))

    async def history(self, request: Request) -> Response:
        """Answer with the states of a thread's checkpoints, newest first."""
        thread = await self._thread(request, "read")
        given: Mapping[str, Any] = (
            await body_of(request) if request.method == "POST" else request.query_params
        )
        page = page_of({"limit": given.get("limit")}, Thread)
        before = given.get("before")
        metadata = given.get("metadata") or None
        if request.method == "GET":
            metadata = None
        graph_id = self._graph_id(thread)
        if graph_id is None:
            return answer([])
        config = _config(thread, given.get("checkpoint") or {})
        async with self._server.graphs.opened(graph_id, config) as graph:
            states = [
                shown_state(state)
                async for state in graph.aget_state_history(
                    config,
                    filter=metadata,
                    before=None if before is None else _config(thread, _checkpoint(before)),
                    limit=page.limit,
                )
            ]
        return answer(states)

    async def update_state(self, request: Request) -> Response:
        """Write the state of a thread as if a node had."""
        body = await body_of(request)
        thread = await self._thread(request, "update", dict(body))
        if await self._server.registry.active_runs(thread.thread_id, "running"):
            raise RequestError(409, "Thread is busy with a run. Wait for it to end, or cancel it.")
        checkpoint = _object(body, "checkpoint")
        if body.get("checkpoint_id"):
            checkpoint["checkpoint_id"] = body["checkpoint_id"]
        update = StateUpdate(body.get("values"), body.get("as_node"))
        config = await self._write(thread, [[update]], checkpoint)
        written = checkpoint_of(config) or {}
        return answer(
            {
                "checkpoint": written,
                "configurable": written,
                "checkpoint_id": written.get("checkpoint_id"),
            }
        )

    async def _write(
        self, thread: Thread, supersteps: list[list[StateUpdate]], checkpoint: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write states of a thread, and note what it shows then."""
        graph_id = self._graph_id(thread)
        if graph_id is None:
            raise RequestError(
                400,
                f"Thread {thread.thread_id} has no graph, by which its state could be written: run "
                "a graph on it, or set metadata.graph_id",
            )
        config: dict[str, Any] = _config(thread, checkpoint)
        config["metadata"] = {"graph_id": graph_id, "thread_id": thread.thread_id}
        async with self._server.graphs.opened(graph_id, config) as graph:
            try:
                written = await graph.abulk_update_state(config, supersteps)
            except (InvalidUpdateError, ValueError, TypeError, KeyError) as error:
                raise RequestError(422, f"{type(error).__name__}: {error}") from None
            columns = await state_columns(graph, thread.thread_id)
        await self._server.registry.change_thread(thread.thread_id, {**columns, "error": None})
        return written

    def _graph_id(self, thread: Thread) -> str | None:
        graph_id = thread.metadata.get("graph_id")
        return graph_id if graph_id in self._server.graphs else None

    async def _thread(
        self, request: Request, action: Action, value: dict[str, Any] | None = None
    ) -> Thread:
        thread_id = id_of(request, "thread_id")
        value = {} if value is None else value
        value["thread_id"] = thread_id
        filters: Filters = await self._server.access.authorize(request, "threads", action, value)
        thread = await self._server.registry.thread(thread_id, filters)
        if thread is None:
            raise RequestError(404, f"Thread with ID {thread_id} not found")
        return thread


def _config(thread: Thread, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    names = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    chosen = {name: checkpoint[name] for name in names if checkpoint.get(name) is not None}
    return {"configurable": {"thread_id": thread.thread_id, **chosen}}


def _checkpoint(given: Any) -> Mapping[str, Any]:
    """Return the checkpoint that ``before`` names: an id, a checkpoint, or a config."""
    if isinstance(given, str):
        return {"checkpoint_id": given}
    if not isinstance(given, dict):
        raise RequestError(422, "before must be a checkpoint, or a config with one")
    inner = given.get("configurable")
    return inner if isinstance(inner, dict) else given


def _thread_id(given: Any) -> str:
    if given is None:
        return new_id()
    try:
        return str(UUID(str(given)))
    except ValueError:
        raise RequestError(422, f"thread_id must be a UUID, got {str(given)[:60]!r}") from None


def _object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(422, f"{key} must be an object, got {value!r}"[:200])
    return dict(value)


def _supersteps(given: Any) -> list[list[StateUpdate]]:
    try:
        return [[_update(update) for update in step["updates"]] for step in given]
    except (TypeError, KeyError, AttributeError):
        raise RequestError(
            422, 'supersteps must be a list of {"updates": [{"values": {}, "as_node": "name"}]}'
        ) from None


def _update(given: Mapping[str, Any]) -> StateUpdate:
    values = given.get("values")
    command = given.get("command")
    if command:
        values = Command(
            update=command.get("update"),
            resume=command.get("resume"),
            goto=command.get("goto") or (),
        )
    return StateUpdate(values, given.get("as_node"))


def _flag(given: str | None) -> bool:
    return (given or "").lower() in ("1", "true", "yes")


def _selected(thread: Thread, body: Mapping[str, Any]) -> dict[str, Any]:
    shown = thread.shown()
    extract = body.get("extract")
    found = selected(shown, body.get("select"))
    if extract:
        found["extracted"] = {name: _extracted(shown, path) for name, path in extract.items()}
    return found


def _extracted(value: Any, path: str) -> Any:
    """Return what a path such as ``values.messages[-1].content`` leads to; None if nothing."""
    for key, index in re.findall(r"([^.\[\]]+)|\[(-?\d+)\]", path):
        try:
            value = value[int(index)] if index else value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value
