"""Handlers of ``langgraph_sdk.Auth``, called as LangGraph's server calls them.

The behaviour is that of the documentation of ``langgraph_sdk.Auth`` (MIT): ``authenticate`` gets
what its parameters name, and the most specific handler of ``on`` decides.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, cast

import anyio.to_thread

from distgraph.serve.errors import ProjectError, RequestError

__all__ = ("AuthHandlers", "Refused", "User", "as_user")

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


class User:
    """Who makes a request: what ``authenticate`` returned, with attributes and with keys."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    @property
    def identity(self) -> str:
        """Tells users apart."""
        return str(self._given["identity"])

    @property
    def display_name(self) -> str:
        """A name for people; the identity where none was given."""
        return str(self._given.get("display_name") or self.identity)

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is known."""
        return bool(self._given.get("is_authenticated", True))

    @property
    def permissions(self) -> Sequence[str]:
        """What handlers may go by."""
        return list(self._given.get("permissions") or ())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._given[name]
        except KeyError:
            raise AttributeError(
                f"the user {self._given.get('identity')!r} has no {name!r}"
            ) from None

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key in _OF_USERS else self._given[key]

    def __contains__(self, key: object) -> bool:
        return key in self._given or key in _OF_USERS

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*_OF_USERS, *self._given)))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the user."""
        try:
            return self[key]
        except KeyError:
            return default

    def shown(self) -> dict[str, Any]:
        """Return the user as graphs see it: ``config["configurable"]["langgraph_auth_user"]``."""
        return {key: self[key] for key in self}

    def __repr__(self) -> str:
        return f"User({self.identity!r})"


_OF_USERS = ("identity", "display_name", "is_authenticated", "permissions")


def as_user(given: Any) -> Any:
    """Return what ``authenticate`` returned as a user: a text, a dict, or an object.

    Raises:
        TypeError: It has no identity.
    """
    if isinstance(given, str):
        given = {"identity": given}
    if isinstance(given, Mapping):
        if not given.get("identity"):
            raise TypeError("authenticate returned a dict without an identity")
        return User(given)
    if not getattr(given, "identity", None):
        raise TypeError(
            f"authenticate returned {type(given).__name__}: return the identity of the user, a "
            "dict with it, or an object that has it"
        )
    return given


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
