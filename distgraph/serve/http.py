"""What endpoints have in common: bodies, ids, pages, JSON answers, permission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from distgraph.serve.encoding import as_json, request_json
from distgraph.serve.errors import RequestError
from distgraph.serve.records import Page
from distgraph.serve.registry import sortable
from distgraph.serve.users import shown_user

__all__ = (
    "Endpoint",
    "answer",
    "body_of",
    "created",
    "id_of",
    "nothing",
    "page_of",
    "paged",
    "selected",
    "user_of",
)

Endpoint = Callable[[Request], Awaitable[Any]]


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(as_json(value), status, headers, "application/json")


def created(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response to a request that made something: clients expect 200."""
    return answer(value, 200, headers)


def nothing() -> Response:
    """Return a response without a body."""
    return Response(status_code=204)


async def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request; {} without a body.

    Raises:
        RequestError: 422: it is no JSON object.
    """
    raw = await request.body()
    if not raw.strip():
        return {}
    body = request_json(raw)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise RequestError(422, "the body must be a JSON object")
    return body


def id_of(request: Request, name: str) -> str:
    """Return a UUID of the path.

    Raises:
        RequestError: 422: it is none.
    """
    given = str(request.path_params[name])
    try:
        return str(UUID(given))
    except ValueError:
        what = name.removesuffix("_id").replace("_", " ")
        raise RequestError(422, f"Invalid {what} ID: must be a UUID, got {given[:60]!r}") from None


def page_of(given: Mapping[str, Any], cls: type[Any], *, most: int = 1000) -> Page:
    """Return the part of a list that a request asks for.

    Raises:
        RequestError: 422: ``limit``, ``offset``, ``sort_by`` or ``sort_order`` is wrong.
    """
    sort_by = given.get("sort_by") or "created_at"
    if sort_by not in sortable(cls):
        raise RequestError(
            422, f"sort_by must be one of {', '.join(sortable(cls))}, got {sort_by!r}"
        )
    order = str(given.get("sort_order") or "desc").lower()
    if order not in ("asc", "desc"):
        raise RequestError(422, f"sort_order must be asc or desc, got {order!r}")
    limit = _number(given, "limit", 10)
    if limit < 1 or limit > most:
        raise RequestError(422, f"limit must be from 1 to {most}, got {limit}")
    return Page(limit, _number(given, "offset", 0), sort_by, order == "desc")


def _number(given: Mapping[str, Any], key: str, default: int) -> int:
    value = given.get(key)
    if value is None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(value, bool):
        raise RequestError(422, f"{key} must be a whole number from 0, got {value!r}")
    return number


def paged(items: list[Any], total: int, page: Page) -> Response:
    """Return a page of a list, with the headers by which clients ask for the next."""
    headers = {"x-pagination-total": str(total)}
    reached = page.offset + len(items)
    if reached < total:
        headers["x-pagination-next"] = str(reached)
    return answer(items, headers=headers)


def selected(shown: dict[str, Any], select: Any) -> dict[str, Any]:
    """Return the fields that a request selects; all without a selection.

    Raises:
        RequestError: 422: there is no such field.
    """
    if not select:
        return shown
    names = [select] if isinstance(select, str) else list(select)
    unknown = [name for name in names if name not in shown]
    if unknown:
        raise RequestError(
            422, f"select: no field {', '.join(map(repr, unknown))}; choose from {', '.join(shown)}"
        )
    return {name: shown[name] for name in names}


def user_of(connection: HTTPConnection) -> dict[str, Any] | None:
    """Return the user of a request as JSON has it; None where nobody has to say who asks."""
    return shown_user(connection.scope.get("user"))
