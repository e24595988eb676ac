"""The gate before the application: who asks, how much, how often, and from which web page."""

from __future__ import annotations

import hmac
import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.authentication import AuthCredentials, UnauthenticatedUser
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from distgraph.serve.auth_handlers import AuthHandlers, Refused
from distgraph.serve.limits import Limits, RequestRate
from distgraph.serve.users import User

__all__ = ("EXPOSED", "Gate", "cors_options")

logger = logging.getLogger("distgraph")

PUBLIC = frozenset({"/", "/ok", "/info"})
"""Paths that need no key: they say that the server is there."""

EXPOSED = (
    "content-location",
    "location",
    "x-pagination-total",
    "x-pagination-next",
)
"""Response headers that a web page may read. Clients reconnect by ``location``."""

_IDS = re.compile(
    r"/(?P<resource>threads|assistants)/(?P<id>[^/]+)(?:/runs/(?P<run_id>[^/]+))?(?:/|$)"
)
_WORDS = frozenset({"search", "count", "prune", "stream", "wait", "batch", "crons"})

_TOO_BIG = 1009
"""WebSocket close code of a message that is too large."""


class TooLarge(Exception):
    """A request has more bytes than it may."""


class Gate:
    """ASGI middleware: finds out who makes a request, and refuses what is too much.

    A WebSocket that is refused is accepted and closed with 4000 plus the HTTP status, which is how
    LangGraph's clients learn of it.

    Args:
        app: The application. ``scope["user"]`` is the user of a request.
        keys: API keys, each of which is as good; () for none.
        handlers: Handlers of ``langgraph_sdk.Auth``; None for none.
        studio: Whether one of ``keys`` makes a ``StudioUser`` where there are handlers.
        limits: Bounds.
        prefix: Path under which the application is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[str] = (),
        handlers: AuthHandlers | None = None,
        studio: bool = True,
        limits: Limits | None = None,
        prefix: str = "",
    ) -> None:
        self._app = app
        self._keys = tuple(key.encode() for key in keys)
        self._handlers = handlers
        self._studio = studio
        self._limits = limits or Limits()
        self._rate = RequestRate(self._limits.requests_per_minute)
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        bounded = _Bounded(receive, send, self._limits.max_body)
        try:
            self._check_length(scope)
            user, received = await self._user(scope, bounded)
            self._count(f"user:{user.identity}" if user.is_authenticated else _host(scope))
        except Refused as refused:
            await _refuse(scope, receive, send, refused)
            return
        except TooLarge:
            await _refuse(scope, receive, send, self._too_large())
            return
        scope["user"] = user
        scope["auth"] = AuthCredentials(list(getattr(user, "permissions", ()) or ()))
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, received, watched)
        except TooLarge:
            if started:
                raise
            await _refuse(scope, receive, send, self._too_large())

    # --- who ------------------------------------------------------------------------------------

    async def _user(self, scope: Scope, receive: _Bounded) -> tuple[Any, Receive]:
        """Return the user, and what the application is to read the request from."""
        headers = _headers(scope)
        path = scope["path"].removeprefix(self._prefix) or "/"
        if path in PUBLIC or not (self._keys or self._handlers):
            return UnauthenticatedNobody(), receive
        try:
            if self._has_key(headers):
                return self._of_key(), receive
            if self._handlers is None:
                raise Refused(
                    401,
                    "the API key is missing or wrong: send it as header x-api-key",
                    {"WWW-Authenticate": "Bearer"},
                )
            return await self._authenticated(self._handlers, scope, path, headers, receive)
        except Refused:
            self._count(_host(scope))  # guessing is counted, too
            raise

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        given = headers.get("x-api-key", "")
        if not given:
            kind, _, token = headers.get("authorization", "").partition(" ")
            given = token.strip() if kind.lower() == "bearer" else ""
        # every key is compared, so that the time says nothing about them
        matches = [hmac.compare_digest(given.encode(), key) for key in self._keys]
        return any(matches)

    def _of_key(self) -> Any:
        if self._handlers is None:
            return User({"identity": "api-key"})
        from langgraph_sdk import Auth

        if not self._studio:
            return User({"identity": "api-key"})
        return Auth.types.StudioUser("studio", is_authenticated=True)

    async def _authenticated(
        self,
        handlers: AuthHandlers,
        scope: Scope,
        path: str,
        headers: Mapping[str, str],
        receive: _Bounded,
    ) -> tuple[Any, Receive]:
        replayed: Receive = receive
        body: Any = None
        if scope["type"] == "http" and handlers.wanted & {"body", "request"}:
            content = await receive.body()
            replayed = _Replay(content, receive)
            body = _json(content)
            request: Any = Request(scope, _Replay(content, receive))
        elif scope["type"] == "http":
            request = Request(scope)
        else:
            request = WebSocket(scope, receive, _no_send)
        values = {
            "request": request,
            "body": body,
            "path": path,
            "method": scope.get("method", "GET"),
            "scope": scope,
            "path_params": _path_params(path),
            "query_params": dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))),
            "headers": {name.lower(): value for name, value in scope.get("headers", ())},
            "authorization": headers.get("authorization"),
            "user": None,
        }
        user = await handlers.authenticate({name: values[name] for name in handlers.wanted})
        if not getattr(user, "is_authenticated", True):
            raise Refused(401, "Unauthorized")
        return user, replayed

    # --- how much -------------------------------------------------------------------------------

    def _check_length(self, scope: Scope) -> None:
        length = _headers(scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._limits.max_body:
            raise self._too_large()

    def _too_large(self) -> Refused:
        return Refused(
            413,
            f"the request has more than {self._limits.max_body} bytes "
            "(DISTGRAPH_MAX_BODY_BYTES of the server)",
        )

    def _count(self, client: str) -> None:
        wait = self._rate.take(client)
        if wait > 0:
            seconds = max(1, round(wait + 0.5))
            raise Refused(
                429,
                f"more than {self._limits.requests_per_minute} requests a minute: "
                f"try again in {seconds} s",
                {"Retry-After": str(seconds)},
            )


class UnauthenticatedNobody(UnauthenticatedUser):
    """The user of a request where nobody has to say who asks."""

    @property
    def identity(self) -> str:
        return ""

    @property
    def permissions(self) -> Sequence[str]:
        """None."""
        return ()


class _Bounded:
    """Receives the messages of a request, up to a number of bytes.

    Those of a WebSocket are bounded one by one; one that is too large closes it.
    """

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._limit:
                raise TooLarge
        elif message["type"] == "websocket.receive":
            content = message.get("bytes") or message.get("text") or ""
            if len(content) > self._limit:
                await self._send(
                    {"type": "websocket.close", "code": _TOO_BIG, "reason": "too large"}
                )
                return {"type": "websocket.disconnect", "code": _TOO_BIG}
        return message

    async def body(self) -> bytes:
        """Return the whole body of an HTTP request."""
        parts = []
        while True:
            message = await self()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        return b"".join(parts)


class _Replay:
    """Receives a body that was read already, and then what else comes."""

    def __init__(self, content: bytes, receive: Receive) -> None:
        self._content: bytes | None = content
        self._receive = receive

    async def __call__(self) -> Message:
        if self._content is None:
            return await self._receive()
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    if scope["type"] == "http":
        answer = JSONResponse({"detail": refused.detail}, refused.status, refused.headers)
        await answer(scope, receive, send)
        return
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    await send(
        {
            "type": "websocket.close",
            "code": 4000 + refused.status,
            "reason": refused.detail[:120],
        }
    )


async def _no_send(message: Message) -> None:
    raise RuntimeError("authenticate must not answer a WebSocket")


def _headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope.get("headers", ())
    }


def _host(scope: Scope) -> str:
    client = scope.get("client")
    return f"host:{client[0] if client else ''}"


def _path_params(path: str) -> dict[str, str]:
    found = _IDS.search(path)
    if found is None or found["id"] in _WORDS:
        return {}
    params = {f"{found['resource'].removesuffix('s')}_id": found["id"]}
    if found["run_id"] and found["run_id"] not in _WORDS:
        params["run_id"] = found["run_id"]
    return params


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def cors_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of Starlette's ``CORSMiddleware``.

    Args:
        given: ``http.cors`` of ``langgraph.json``: ``allow_origins``, ``allow_origin_regex``,
            ``allow_methods``, ``allow_headers``, ``allow_credentials``, ``expose_headers``,
            ``max_age``. None: every page may ask, without cookies.
    """
    given = given or {}
    regex = given.get("allow_origin_regex")
    origins = given.get("allow_origins")
    return {
        "allow_origins": list(([] if regex else ["*"]) if origins is None else origins),
        "allow_origin_regex": regex,
        "allow_methods": list(given.get("allow_methods") or ["*"]),
        "allow_headers": list(given.get("allow_headers") or ["*"]),
        "allow_credentials": bool(given.get("allow_credentials", False)),
        "expose_headers": list(
            dict.fromkeys((*EXPOSED, *map(str.lower, given.get("expose_headers") or ())))
        ),
        "max_age": int(given.get("max_age", 600)),
        "allow_private_network": True,
    }
