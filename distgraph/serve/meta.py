"""Endpoints about the server itself: whether it lives, what it is, and what it has to do."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from distgraph.serve.http import answer
from distgraph.serve.openapi import description, page

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("MetaEndpoints", "version_of")

_KEY_SECURITY: Mapping[str, Any] = {
    "securitySchemes": {"apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
    "security": [{"apiKey": []}],
}


def version_of(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def own_paths(own: Any, prefix: str = "") -> set[str]:
    """Return the paths of the user's application, which win over some of the server's; not those
    by which FastAPI describes it.

    Args:
        own: The application; None for none.
        prefix: Path under which the server's endpoints are.
    """
    if prefix:
        return set()
    found = {str(getattr(each, "path", "")) for each in getattr(own, "routes", ())}
    return found - {own.openapi_url, own.docs_url} if _describes_itself(own) else found


def _describes_itself(own: Any) -> bool:
    """Whether an application is FastAPI's, or has a description like it."""
    return callable(getattr(own, "openapi", None)) and hasattr(own, "docs_url")


class MetaEndpoints:
    """Endpoints about the server itself.

    Args:
        server: The server.
        own: The user's own application (``http.app``). Its paths win over those that only describe
            the server, and its own OpenAPI description is part of the server's.
    """

    def __init__(self, server: Server, own: Any = None) -> None:
        self._server = server
        self._own = own
        self._described: Sequence[BaseRoute] = ()
        self._document: dict[str, Any] | None = None

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        # what asks whether the server lives asks without the others, too
        alive: list[BaseRoute] = [Route("/", self.ok), Route("/ok", self.ok)]
        if "meta" in self._server.project.http.disabled:
            return alive
        about = {"/metrics": self.metrics, "/docs": self.docs, "/openapi.json": self.openapi}
        taken = own_paths(self._own, self._server.project.http.mount_prefix)
        return [
            *alive,
            Route("/info", self.info),
            *(Route(path, made) for path, made in about.items() if path not in taken),
        ]

    def describe(self, routes: Sequence[BaseRoute]) -> None:
        """Take the routes that the description is of."""
        self._described = routes

    async def ok(self, request: Request) -> Response:
        """Say that the server lives."""
        return answer({"ok": True})

    async def info(self, request: Request) -> Response:
        """Answer with versions, and with what the server has."""
        return answer(
            {
                "version": version_of("distgraph") or "0",
                "langgraph_py_version": version_of("langgraph"),
                "flags": {
                    "assistants": True,
                    "crons": True,
                    "langsmith": False,
                    "strict_resume": True,
                },
                "host": {"kind": "distgraph", "backend": self._server.settings.backend},
            }
        )

    async def metrics(self, request: Request) -> Response:
        """Answer with the numbers of runs, threads and crons, as Prometheus reads them."""
        counts = await self._server.registry.counts()
        lines = []
        for name, meaning, label, values in (
            ("runs", "Runs that the registry keeps.", "status", counts.runs),
            ("threads", "Threads that the registry keeps.", "status", counts.threads),
            ("crons", "Crons that the registry keeps.", "enabled", counts.crons),
        ):
            lines += [f"# HELP distgraph_serve_{name} {meaning}"]
            lines += [f"# TYPE distgraph_serve_{name} gauge"]
            lines += [
                f'distgraph_serve_{name}{{{label}="{key}"}} {number}'
                for key, number in values.items()
            ]
        lines += [
            "# HELP distgraph_serve_longest_wait_seconds Time for which the oldest pending run has "
            "waited.",
            "# TYPE distgraph_serve_longest_wait_seconds gauge",
            f"distgraph_serve_longest_wait_seconds {counts.longest_wait:.3f}",
        ]
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return PlainTextResponse("\n".join(lines) + "\n", headers={"content-type": kind})

    async def openapi(self, request: Request) -> Response:
        """Answer with the OpenAPI description of the endpoints."""
        return answer(self._describing())

    async def docs(self, request: Request) -> Response:
        """Answer with a page of the endpoints."""
        prefix = self._server.project.http.mount_prefix
        return HTMLResponse(page(self._describing(), f"{prefix}/openapi.json"))

    def _describing(self) -> dict[str, Any]:
        if self._document is None:
            project = self._server.project
            asks = self._server.access.asks
            self._document = description(
                self._described,
                version=version_of("distgraph") or "0",
                prefix=project.http.mount_prefix,
                security=project.auth.get("openapi") or (_KEY_SECURITY if asks else None),
                more=self._own.openapi() if _describes_itself(self._own) else None,
            )
        return self._document
