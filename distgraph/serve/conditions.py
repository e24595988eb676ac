"""Conditions on JSON columns: what a search asks for, and what an authorization handler demands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from distgraph.serve.errors import RequestError

__all__ = ("Condition", "Filters", "contains", "permits")

Condition = tuple[str, list[Any]]
"""An SQL condition, and its parameters."""

Filters = Mapping[str, Any] | None
"""What the metadata of a resource must have, in the form of ``langgraph_sdk.Auth``:
``{key: value}``, ``{key: {"$eq": value}}`` or ``{key: {"$contains": value}}``. None: no
condition."""

Dialect = Literal["sqlite", "postgres"]


def contains(dialect: Dialect, column: str, wanted: Mapping[str, Any] | None) -> list[Condition]:
    """Return the conditions that a JSON column contains these keys and values, at any depth."""
    if not wanted:
        return []
    if dialect == "postgres":
        return [(f"{column}::jsonb @> ?::jsonb", [json.dumps(wanted)])]
    return [_leaf(column, path, value) for path, value in _leaves(wanted, "$")]


def permits(dialect: Dialect, column: str, filters: Filters) -> list[Condition]:
    """Return the conditions of an authorization handler: ``$eq``, ``$contains``, ``$and``, ``$or``.

    Raises:
        RequestError: 500: the handler returned an unknown operator.
    """
    found: list[Condition] = []
    for key, demand in (filters or {}).items():
        if key in ("$and", "$or"):
            parts = [_all(permits(dialect, column, part)) for part in demand]
            joined = (" AND " if key == "$and" else " OR ").join(sql for sql, _ in parts)
            found.append((f"({joined})", [p for _, ps in parts for p in ps]))
        elif not isinstance(demand, Mapping):
            found += contains(dialect, column, {key: demand})
        else:
            for operator, value in demand.items():
                if operator == "$eq":
                    found += contains(dialect, column, {key: value})
                elif operator == "$contains":
                    items = value if isinstance(value, list) else [value]
                    found += contains(dialect, column, {key: items})
                else:
                    raise RequestError(
                        500, f"the authorization handler returned the unknown operator {operator}"
                    )
    return found


def _all(conditions: Sequence[Condition]) -> Condition:
    if not conditions:
        return "1 = 1", []
    sql = " AND ".join(part for part, _ in conditions)
    return f"({sql})", [p for _, parameters in conditions for p in parameters]


def _leaves(wanted: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in wanted.items():
        if '"' in str(key):
            raise RequestError(422, f"a key in a filter must not contain quotes: {key}")
        inner = f'{path}."{key}"'
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, inner)
        else:
            yield inner, value


def _leaf(column: str, path: str, value: Any) -> Condition:
    if value is None:
        return f"json_type({column}, ?) = 'null'", [path]
    if isinstance(value, bool):
        return f"json_type({column}, ?) = ?", [path, "true" if value else "false"]
    if isinstance(value, Mapping):  # an empty one
        return f"json_type({column}, ?) = 'object'", [path]
    if isinstance(value, list):
        conditions: list[Condition] = [(f"json_type({column}, ?) = 'array'", [path])]
        for item in value:
            if isinstance(item, (Mapping, list)):
                each, given = "json(value) = json(?)", json.dumps(item, separators=(",", ":"))
            else:
                each, given = "value = ?", item
            conditions.append(
                (f"EXISTS (SELECT 1 FROM json_each({column}, ?) WHERE {each})", [path, given])
            )
        return _all(conditions)
    return f"json_extract({column}, ?) = ?", [path, value]
