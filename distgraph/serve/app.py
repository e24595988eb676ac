"""The ASGI application: all endpoints, access, and the life of a server process."""

from __future__ import annotations

import copy
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount

from distgraph.serve import event_protocol, meta
from distgraph.serve.access import access_of
from distgraph.serve.assistants import AssistantEndpoints
from distgraph.serve.crons import CronEndpoints
from distgraph.serve.errors import (
    RequestError,
    on_failure,
    on_http_error,
    on_request_error,
)
from distgraph.serve.mcp import McpEndpoints
from distgraph.serve.project import Project, load_object
from distgraph.serve.runs import RunEndpoints
from distgraph.serve.server import Server, Settings, open_server
from distgraph.serve.store import StoreEndpoints
from distgraph.serve.threads import ThreadEndpoints

__all__ = ("application",)


def application(project: Project, settings: Settings | None = None) -> Starlette:
    """Return the application of a project. Its lifespan opens and closes the server process.

    Raises:
        ProjectError: ``langgraph.json`` names what cannot be loaded.
    """
    settings = settings or Settings()
    project.enter()
    own, more = _own_application(project)
    access = access_of(project).middleware()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if own is not None and hasattr(own, "router"):
                await stack.enter_async_context(own.router.lifespan_context(own))
            server = await open_server(project, settings)
            app.state.server = server
            routes = _routes(server, own)
            if project.http.mount_prefix:
                routes = [Mount(project.http.mount_prefix, routes=routes)]
            app.router.routes[:] = [*routes, *([Mount("", app=own)] if own is not None else [])]
            gc.collect()
            gc.freeze()  # runs cause garbage collections: not of what is imported
            try:
                yield
            finally:
                gc.unfreeze()
                await server.close()

    return Starlette(
        lifespan=lifespan,
        middleware=[*access, *more] if project.http.auth_first else [*more, *access],
        exception_handlers={
            RequestError: on_request_error,
            HTTPException: on_http_error,
            Exception: on_failure,
        },
    )


def _own_application(project: Project) -> tuple[Any, list[Middleware]]:
    """Return the user's application, and its middleware, which is for all requests."""
    if not project.http.app:
        return None, []
    own = load_object(project, project.http.app, "http.app")
    more = getattr(own, "user_middleware", None)
    if not isinstance(own, Starlette) or not more:
        return own, []
    own = copy.copy(own)  # without what its requests pass before they come to it
    own.user_middleware, own.middleware_stack = [], None
    return own, list(more)


def _routes(server: Server, own: Any) -> list[BaseRoute]:
    about = meta.MetaEndpoints(server, own)
    runs = RunEndpoints(server)
    groups: dict[str, list[BaseRoute]] = {
        "assistants": AssistantEndpoints(server).routes(),
        "threads": [*event_protocol.routes(server), *ThreadEndpoints(server).routes()],
        # before the runs: their paths would fit
        "runs": [*CronEndpoints(server).routes(), *runs.routes()],
        "store": StoreEndpoints(server).routes(),
        "mcp": McpEndpoints(server, runs).routes(),
    }
    disabled = set(server.project.http.disabled)
    if "/mcp" in meta.own_paths(own, server.project.http.mount_prefix):
        disabled.add("mcp")
    chosen = [routes for name, routes in groups.items() if name not in disabled]
    made = [*about.routes(), *(route for routes in chosen for route in routes)]
    about.describe(made)
    return made
