"""What endpoints have in common: bodies, ids, pages, JSON answers, permission."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from distgraph.serve.encoding import as_json, request_json
from distgraph.serve.errors import RequestError
from distgraph.serve.records import Page
from distgraph.serve.registry import sortable
from distgraph.serve.users import shown_user

__all__ = (
    "answer",
    "body_of",
    "created",
    "field_schema",
    "id_of",
    "nothing",
    "page_of",
    "paged",
    "selected",
    "user_of",
)

_MOST = 1 << 31
"""Least whole number that is too large: databases count with 32 bits."""


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}


class _Kind(NamedTuple):
    """A type of fields of bodies."""

    name: str
    fits: Callable[[Any], bool]
    schema: Mapping[str, Any]
    fields: tuple[str, ...]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value  # PostgreSQL has no such text


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


_KINDS = {
    field: kind
    for kind in (
        _Kind(
            "an object",
            lambda v: isinstance(v, dict),
            {"type": "object"},
            ("extract", "filter", "metadata"),
        ),
        _Kind("a list of strings", _is_texts, _TEXTS, ("ids", "run_ids", "thread_ids")),
        _Kind(
            "a string or a list of strings",
            lambda v: _is_text(v) or _is_texts(v),
            {"anyOf": [_TEXT, _TEXTS]},
            ("select",),
        ),
        _Kind(
            "a whole number from 0",
            _is_number,
            {"type": "integer", "minimum": 0},
            ("limit", "max_depth", "offset", "version"),
        ),
        _Kind("true or false", lambda v: isinstance(v, bool), {"type": "boolean"}, ("enabled",)),
        _Kind(
            "a string",
            _is_text,
            _TEXT,
            ("assistant_id", "description", "graph_id", "key", "name", "query", "schedule",
             "sort_by", "sort_order", "status", "thread_id", "timezone", "user_id"),
        ),
    )
    for field in kind.fields
}  # fmt: skip
"""Fields that have the same type in the bodies of all endpoints."""


def field_schema(name: str) -> dict[str, Any]:
    """Return the JSON schema of a field that has the same type in all bodies; a string's for one
    that is not among them."""
    kind = _KINDS.get(name)
    return dict(_TEXT if kind is None else kind.schema)


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
        RequestError: 422: it is no JSON object, or a field has a wrong type.
    """
    raw = await request.body()
    if not raw.strip():
        return {}
    body = request_json(raw)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise RequestError(422, "the body must be a JSON object")
    for key, value in body.items():
        kind = _KINDS.get(key)
        if kind is not None and value is not None and not kind.fits(value):
            raise RequestError(422, f"{key} must be {kind.name}, got {value!r}"[:200])
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
    if not 0 <= number < _MOST or isinstance(value, bool):
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
