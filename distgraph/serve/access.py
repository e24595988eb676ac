"""Who may do what: the application asks ``Access`` before it reads or writes anything."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from starlette.middleware import Middleware
from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from distgraph.serve.project import Project

__all__ = ("Access", "Action", "Filters", "Open", "Resource", "access_of")

Resource = Literal["assistants", "threads", "crons", "store"]
Action = Literal[
    "create", "read", "update", "delete", "search", "create_run", "put", "get", "list_namespaces"
]
Filters = Mapping[str, Any] | None
"""What the metadata of a resource must have, as handlers of ``langgraph_sdk.Auth`` return it:
``{key: value}``, ``{key: {"$eq": value}}`` or ``{key: {"$contains": value}}``. None: no condition.
"""


class Access(Protocol):
    """Authentication and authorization of requests."""

    def middleware(self) -> list[Middleware]:
        """Return the middleware that goes around the application: authentication, CORS, limits."""

    async def authorize(
        self,
        connection: HTTPConnection,
        resource: Resource,
        action: Action,
        value: MutableMapping[str, Any],
    ) -> Filters:
        """Return the conditions under which the user of a request may do something.

        Args:
            connection: The request or the WebSocket.
            resource, action: As handlers of ``langgraph_sdk.Auth`` name them.
            value: What the request is about; a handler may change it (metadata, namespace).

        Raises:
            RequestError: 403: the user may not.
        """


class Open:
    """Access for everybody."""

    def middleware(self) -> list[Middleware]:
        return []

    async def authorize(
        self,
        connection: HTTPConnection,
        resource: Resource,
        action: Action,
        value: MutableMapping[str, Any],
    ) -> Filters:
        return None


def access_of(project: Project) -> Access:
    """Return the access rules of a project."""
    return Open()
