"""``/``, ``/ok`` and ``/info``."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.serve.http import answer

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("routes",)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def routes(server: Server) -> list[BaseRoute]:
    """Return the routes that say what the server is."""

    async def ok(request: Request) -> Response:
        return answer({"ok": True})

    async def info(request: Request) -> Response:
        return answer(
            {
                "version": _version("distgraph") or "0",
                "langgraph_py_version": _version("langgraph"),
                "flags": {
                    "assistants": True,
                    "crons": True,
                    "langsmith": False,
                    "strict_resume": True,
                },
                "host": {"kind": "distgraph", "backend": server.settings.backend},
            }
        )

    alive: list[BaseRoute] = [Route("/", ok), Route("/ok", ok)]
    # what asks whether the server lives asks without the others, too
    return alive if "meta" in server.project.http.disabled else [*alive, Route("/info", info)]
