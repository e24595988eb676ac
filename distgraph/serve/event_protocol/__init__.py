"""The event protocol: commands, and events over SSE and WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("routes",)


def routes(server: Server) -> list[BaseRoute]:
    """Return the routes of the event protocol."""
    return []
