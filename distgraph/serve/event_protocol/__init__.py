"""The event protocol of LangGraph's clients (``threads.stream``, ``@langchain/react``).

``conversion`` turns the chunks of a run into numbered events, ``messages`` is the part of it for
chat messages, ``subscriptions`` chooses events for a reader, and ``commands`` checks what a client
sends: these modules are pure. ``endpoints`` serves them. The protocol is that of
``streaming/protocol.cddl`` in langchain-ai/agent-protocol (MIT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from distgraph.serve.server import Server

__all__ = ("routes",)


def routes(server: Server) -> list[BaseRoute]:
    """Return the routes of the event protocol."""
    from distgraph.serve.event_protocol.endpoints import EventEndpoints

    return EventEndpoints(server).routes()
