"""Starting a run for the user of a request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.requests import HTTPConnection

from distgraph.serve.conditions import Filters
from distgraph.serve.http import user_of
from distgraph.serve.records import Run
from distgraph.serve.run_requests import RunRequest

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("Permission", "permission_to_run", "start_run")


class Permission(NamedTuple):
    """What authorization says of a run that a user wants to start."""

    metadata: dict[str, Any]
    """Metadata of the run, with what a handler wrote into it."""
    thread: Filters
    """Conditions on its thread."""
    assistant: Filters
    """Conditions on its assistant."""


async def permission_to_run(
    server: Server, connection: HTTPConnection, thread_id: str | None, wanted: RunRequest
) -> Permission:
    """Ask whether the user of a request may start a run.

    Raises:
        RequestError: 403: the user may not; 422: its webhook may not go there.
    """
    server.project.webhooks.check(wanted.webhook)
    value: dict[str, Any] = {
        "thread_id": thread_id,
        "assistant_id": wanted.assistant_id,
        "metadata": dict(wanted.metadata),
        "kwargs": wanted.kwargs(),
        "multitask_strategy": wanted.multitask_strategy,
        "if_not_exists": wanted.if_not_exists,
        "after_seconds": wanted.after_seconds,
    }
    filters = await server.access.authorize(connection, "threads", "create_run", value)
    read = {"assistant_id": wanted.assistant_id}
    of_assistant = await server.access.authorize(connection, "assistants", "read", read)
    return Permission(value["metadata"] or {}, filters, of_assistant)


async def start_run(
    server: Server, connection: HTTPConnection, thread_id: str | None, wanted: RunRequest
) -> Run:
    """Create a run, where the user of a request may.

    Args:
        server: The server.
        connection: The request or the WebSocket.
        thread_id: The thread; None for a run without a thread.
        wanted: What is to run. What a handler writes into its metadata is the run's metadata and,
            where the run makes its thread, the thread's.

    Raises:
        RequestError: 403: the user may not; and what ``Runner.create`` raises.
    """
    permission = await permission_to_run(server, connection, thread_id, wanted)
    rules = server.project.http.headers
    return await server.runner.create(
        thread_id,
        replace(wanted, metadata=permission.metadata),
        filters=permission.thread,
        metadata=permission.metadata,
        user=user_of(connection),
        assistant_filters=permission.assistant,
        headers=None if rules is None else rules.chosen(connection.headers),
    )
