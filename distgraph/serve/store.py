"""Endpoints of the store."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.persistence import sync_or_async
from distgraph.serve.access import Action
from distgraph.serve.errors import RequestError
from distgraph.serve.http import answer, body_of, nothing

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("StoreEndpoints",)


class StoreEndpoints:
    """Endpoints of the store, which runs see as ``runtime.store``.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/store/items", self.put, methods=["PUT"]),
            Route("/store/items", self.get, methods=["GET"]),
            Route("/store/items", self.delete, methods=["DELETE"]),
            Route("/store/items/search", self.search, methods=["POST"]),
            Route("/store/namespaces", self.namespaces, methods=["POST"]),
        ]

    async def put(self, request: Request) -> Response:
        """Write an item."""
        body = await body_of(request)
        value: dict[str, Any] = {
            "namespace": _namespace(body.get("namespace")),
            "key": _key(body.get("key")),
            "value": body.get("value"),
            "index": body.get("index"),
        }
        if not isinstance(value["value"], dict):
            raise RequestError(422, f"value must be an object, got {value['value']!r}"[:200])
        await self._authorize(request, "put", value)
        options = {} if body.get("ttl") is None else {"ttl": body["ttl"]}
        await self._call(
            "put",
            tuple(value["namespace"]),
            value["key"],
            value["value"],
            value["index"],
            **options,
        )
        return nothing()

    async def get(self, request: Request) -> Response:
        """Answer with an item, or null."""
        namespace = request.query_params.get("namespace")
        value: dict[str, Any] = {
            "namespace": _namespace(namespace.split(".") if namespace else []),
            "key": _key(request.query_params.get("key")),
        }
        await self._authorize(request, "get", value)
        item = await self._call("get", tuple(value["namespace"]), value["key"])
        return answer(None if item is None else _shown(item))

    async def delete(self, request: Request) -> Response:
        """Delete an item."""
        body = await body_of(request)
        value: dict[str, Any] = {
            "namespace": _namespace(body.get("namespace")),
            "key": _key(body.get("key")),
        }
        await self._authorize(request, "delete", value)
        await self._call("delete", tuple(value["namespace"]), value["key"])
        return nothing()

    async def search(self, request: Request) -> Response:
        """Answer with the items below a namespace that fit."""
        body = await body_of(request)
        value: dict[str, Any] = {
            "namespace": _namespace(body.get("namespace_prefix") or []),
            "filter": body.get("filter"),
            "limit": body.get("limit") or 10,
            "offset": body.get("offset") or 0,
            "query": body.get("query"),
        }
        await self._authorize(request, "search", value)
        items = await self._call(
            "search",
            tuple(value["namespace"]),
            filter=value["filter"],
            limit=value["limit"],
            offset=value["offset"],
            query=value["query"],
        )
        return answer({"items": [_shown(item, score=True) for item in items]})

    async def namespaces(self, request: Request) -> Response:
        """Answer with the namespaces that fit."""
        body = await body_of(request)
        value: dict[str, Any] = {
            "namespace": _namespace(body.get("prefix") or []),
            "suffix": _namespace(body.get("suffix") or []),
            "max_depth": body.get("max_depth"),
            "limit": body.get("limit") or 100,
            "offset": body.get("offset") or 0,
        }
        await self._authorize(request, "list_namespaces", value)
        found = await self._call(
            "list_namespaces",
            prefix=tuple(value["namespace"]) or None,
            suffix=tuple(value["suffix"]) or None,
            max_depth=value["max_depth"],
            limit=value["limit"],
            offset=value["offset"],
        )
        return answer({"namespaces": [list(namespace) for namespace in found]})

    async def _authorize(self, request: Request, action: Action, value: dict[str, Any]) -> None:
        value["namespace"] = tuple(value["namespace"])
        await self._server.access.authorize(request, "store", action, value)

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return await asyncio.to_thread(
                sync_or_async.call, self._server.store, method, arguments, options
            )
        except ValueError as error:  # a namespace or a condition that stores do not take
            raise RequestError(422, str(error)) from None


def _namespace(given: Any) -> list[str]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(part, str) for part in given):
        raise RequestError(422, f"namespace must be a list of strings, got {given!r}"[:200])
    for label in given:
        if not label or "." in label:
            raise RequestError(
                422, f"labels of a namespace must not be empty or contain periods: {label!r}"
            )
    return list(given)


def _key(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise RequestError(422, f"key is required: a string, got {given!r}"[:200])
    return given


def _time(given: Any) -> str:
    """Return a time of an item: ISO 8601, UTC. Some stores give it as text, without its zone."""
    time = datetime.fromisoformat(given) if isinstance(given, str) else given
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    return str(time.isoformat())


def _shown(item: Any, *, score: bool = False) -> dict[str, Any]:
    shown = {
        "namespace": list(item.namespace),
        "key": item.key,
        "value": item.value,
        "created_at": _time(item.created_at),
        "updated_at": _time(item.updated_at),
    }
    if score:
        shown["score"] = getattr(item, "score", None)
    return shown
