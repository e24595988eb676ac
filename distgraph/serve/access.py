"""Who may do what: the application asks ``Access`` before it reads or writes anything."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection

from distgraph.serve.auth_handlers import AuthHandlers
from distgraph.serve.conditions import Filters
from distgraph.serve.errors import ProjectError
from distgraph.serve.gate import Gate, cors_options
from distgraph.serve.limits import VARIABLES as LIMIT_VARIABLES
from distgraph.serve.limits import Limits

if TYPE_CHECKING:
    from distgraph.serve.project import Project

__all__ = (
    "KEY_VARIABLE",
    "VARIABLES",
    "Access",
    "Action",
    "Open",
    "Resource",
    "Rules",
    "access_of",
    "check_host",
)

Resource = Literal["assistants", "threads", "crons", "store"]
Action = Literal[
    "create", "read", "update", "delete", "search", "create_run", "put", "get", "list_namespaces"
]
KEY_VARIABLE = "DISTGRAPH_API_KEY"
"""Environment variable with the API key; several, during a change of keys, with commas between."""

VARIABLES = (KEY_VARIABLE, *LIMIT_VARIABLES)
"""Environment variables that each server process reads."""


class Access(Protocol):
    """Authentication and authorization of requests."""

    @property
    def asks(self) -> bool:
        """Whether a client has to say who asks."""

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

    asks = False

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


@dataclass(frozen=True)
class Rules:
    """Access as a project has it: API keys, handlers of ``langgraph_sdk.Auth``, CORS, limits."""

    keys: Sequence[str] = field(default=(), repr=False)
    handlers: AuthHandlers | None = None
    studio: bool = True
    """Whether an API key makes a ``StudioUser`` where there are handlers."""
    limits: Limits = field(default_factory=Limits)
    cors: Mapping[str, Any] | None = None
    """``http.cors`` of ``langgraph.json``."""
    prefix: str = ""
    """Path under which the application is."""

    @property
    def asks(self) -> bool:
        """Whether a client has to say who asks."""
        return bool(self.keys) or self.handlers is not None

    def middleware(self) -> list[Middleware]:
        return [
            Middleware(CORSMiddleware, **cors_options(self.cors)),
            Middleware(
                Gate,
                keys=tuple(self.keys),
                handlers=self.handlers,
                studio=self.studio,
                limits=self.limits,
                prefix=self.prefix,
            ),
        ]

    async def authorize(
        self,
        connection: HTTPConnection,
        resource: Resource,
        action: Action,
        value: MutableMapping[str, Any],
    ) -> Filters:
        if self.handlers is None:
            return None
        return await self.handlers.authorize(connection.user, resource, action, value)


def access_of(project: Project) -> Rules:
    """Return the access rules of a project, whose environment has been entered.

    Raises:
        ProjectError: ``auth.path``, ``http.cors`` or a limit cannot be used.
    """
    from distgraph.serve.project import load_object

    where = project.auth.get("path")
    handlers = None
    if where is not None:
        handlers = AuthHandlers(load_object(project, str(where), "auth.path"), str(where))
    return Rules(
        api_keys(),
        handlers,
        not project.auth.get("disable_studio_auth", False),
        Limits.from_environment(),
        project.http.cors,
        project.http.mount_prefix,
    )


def api_keys() -> tuple[str, ...]:
    """Return the API keys of the environment."""
    given = os.environ.get(KEY_VARIABLE, "").split(",")
    return tuple(key.strip() for key in given if key.strip())


def check_host(host: str, access: Rules) -> None:
    """Check that a server which others reach asks who they are.

    Raises:
        ProjectError: ``host`` is no loopback address, and there is neither a key nor ``auth.path``.
    """
    if access.asks or _is_loopback(host):
        return
    raise ProjectError(
        f"the server would listen on {host}, where others reach it, and everybody could run the "
        f"graphs: set {KEY_VARIABLE} or give --api-key, give auth.path in langgraph.json, or "
        "listen on 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
