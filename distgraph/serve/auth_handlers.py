"""Handlers of ``langgraph_sdk.Auth``, called as LangGraph's server calls them.

The behaviour is that of the documentation of ``langgraph_sdk.Auth`` (MIT): ``authenticate`` gets
what its parameters name, and the most specific handler of ``on`` decides.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

import anyio.to_thread

from distgraph.serve.errors import ProjectError, RequestError
from distgraph.serve.users import as_user

__all__ = ("AuthHandlers", "Refused")

logger = logging.getLogger("distgraph")

_PARAMETERS = (
    "request",
    "body",
    "path",
    "method",
    "scope",
    "path_params",
    "query_params",
    "headers",
    "authorization",
    "user",
)
"""What ``authenticate`` may ask for."""

_OPERATORS = ("$eq", "$contains")


class Refused(Exception):
    """A request of somebody who may not make it, with the answer that the client gets."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


class AuthHandlers:
    """The handlers of one ``Auth``.

    Args:
        auth: An instance of ``langgraph_sdk.Auth``.
        where: Where it is, for errors.

    Raises:
        ProjectError: It is none, or has no ``authenticate``.
    """

    def __init__(self, auth: Any, where: str) -> None:
        if not hasattr(auth, "_authenticate_handler") or not hasattr(auth, "on"):
            raise ProjectError(
                f"auth.path: {where} is {type(auth).__name__}, and must be a langgraph_sdk.Auth"
            )
        if auth._authenticate_handler is None:
            raise ProjectError(
                f"auth.path: {where} has no @authenticate: without it nobody is known"
            )
        self._auth = auth
        self._authenticate: Callable[..., Any] = auth._authenticate_handler
        parameters = inspect.signature(self._authenticate).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name, parameter in parameters.items():
            if (
                name not in _PARAMETERS
                and parameter.default is parameter.empty
                and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            ):
                raise ProjectError(
                    f"auth.path: authenticate of {where} asks for {name!r}, and may ask for "
                    f"{', '.join(_PARAMETERS)}"
                )
        self.wanted = frozenset(_PARAMETERS if takes_all else set(parameters) & set(_PARAMETERS))
        """The parameters of ``authenticate``."""

    async def authenticate(self, given: Mapping[str, Any]) -> Any:
        """Return the user of a request.

        Args:
            given: A value for each of ``wanted``.

        Raises:
            Refused: The handler refused, or failed: then 500, and the log has the exception.
        """
        try:
            if inspect.iscoroutinefunction(self._authenticate):
                user = await self._authenticate(**given)
            else:
                user = await anyio.to_thread.run_sync(lambda: self._authenticate(**given))
                if inspect.isawaitable(user):
                    user = await user
            return as_user(user)
        except Exception as error:
            raise _refusal(error, 401, "authenticate") from error

    async def authorize(
        self, user: Any, resource: str, action: str, value: MutableMapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Return the conditions under which a user may do something.

        Args:
            user: What ``authenticate`` returned.
            resource: "assistants", "threads", "crons" or "store".
            action: "create", "read", ….
            value: What it is about. A handler may change it.

        Raises:
            RequestError: The user may not, or the handler failed.
        """
        handler = self._handler(resource, action)
        if handler is None:
            return None
        context = self._auth.types.AuthContext(
            permissions=getattr(user, "permissions", ()) or (),
            user=user,
            resource=resource,
            action=action,
        )
        try:
            result = await handler(ctx=context, value=value)
        except Exception as error:
            refusal = _refusal(error, 403, f"the handler of {resource}.{action}")
            raise RequestError(refusal.status, refusal.detail) from error
        if result is None or result is True:
            return None
        if result is False:
            raise RequestError(403, "Forbidden")
        if _is_filter(result):
            return cast("Mapping[str, Any]", result)
        logger.error(
            "the handler of %s.%s returned %r, and may return None, True, False or a filter",
            resource,
            action,
            result,
        )
        raise RequestError(500, "Internal Server Error")

    def _handler(self, resource: str, action: str) -> Callable[..., Awaitable[Any]] | None:
        handlers = self._auth._handlers
        for key in ((resource, action), (resource, "*"), ("*", action)):
            if handlers.get(key):
                return cast("Callable[..., Awaitable[Any]]", handlers[key][-1])
        of_all = self._auth._global_handlers
        return of_all[-1] if of_all else None


def _refusal(error: Exception, status: int, where: str) -> Refused:
    code = getattr(error, "status_code", None)
    if isinstance(code, int) and hasattr(error, "detail"):
        return Refused(code, str(error.detail), getattr(error, "headers", None))
    if isinstance(error, AssertionError):
        return Refused(status, str(error) or ("Unauthorized" if status == 401 else "Forbidden"))
    logger.error("%s failed", where, exc_info=error)
    return Refused(500, "Internal Server Error")


def _is_filter(result: Any) -> bool:
    return isinstance(result, Mapping) and all(
        isinstance(key, str)
        and (
            not isinstance(demand, Mapping)
            or (bool(demand) and all(operator in _OPERATORS for operator in demand))
        )
        for key, demand in result.items()
    )
