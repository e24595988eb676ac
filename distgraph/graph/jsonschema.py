"""JSON schemas of a graph's input and output, by pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distgraph.errors import MissingExtraError

if TYPE_CHECKING:
    from distgraph.graph.state import StateGraph

__all__ = ("json_schema",)


def json_schema(builder: StateGraph, schema: Any, title: str) -> dict[str, Any]:
    """Return the JSON schema of one of a graph's schemas.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    try:
        from pydantic import TypeAdapter
    except ImportError as error:
        raise MissingExtraError("JSON schemas need pydantic: pip install pydantic") from error
    made: dict[str, Any] = TypeAdapter(schema).json_schema()
    if builder.schemas[schema].is_root:
        made.setdefault("title", title)
    return made
