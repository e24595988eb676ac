"""Schemas of a graph's input, output and context, by pydantic."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from distgraph.errors import MissingExtraError

if TYPE_CHECKING:
    from distgraph.graph.blueprint import Blueprint

__all__ = ("config_model", "context_json_schema", "json_schema", "schema_model")


def json_schema(blueprint: Blueprint, schema: Any, title: str) -> dict[str, Any]:
    """Return the JSON schema of one of a graph's schemas.

    A pydantic model or TypedDict gives its own. Of a dataclass or another class, keys without a
    default are required unless they may be None, as in LangGraph.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    made: dict[str, Any]
    read = blueprint.schemas[schema]
    if not read.is_root and (is_typeddict(schema) or hasattr(schema, "model_json_schema")):
        made = _pydantic().TypeAdapter(schema).json_schema()
        return made
    made = schema_model(blueprint, schema, title).model_json_schema()
    return made


def schema_model(blueprint: Blueprint, schema: Any, title: str) -> Any:
    """Return a pydantic model of one of a graph's schemas: the schema itself where it is one.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    pydantic = _pydantic()
    if hasattr(schema, "model_json_schema"):
        return schema
    read = blueprint.schemas[schema]
    if read.is_root:
        return root_model(schema, title, optional=True)  # as in LangGraph
    fields: dict[str, Any] = {
        key: (channel.typ, _default(schema, key, channel.typ))
        for key, channel in read.channels.items()
    }
    return pydantic.create_model(title, **fields)


def root_model(value: Any, title: str, *, optional: bool = False) -> Any:
    """Return a pydantic model of a single value, None by default where it is optional.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    root_model_class = _pydantic().RootModel
    if not optional:
        return type(title, (root_model_class[value],), {"__module__": __name__})
    own = {"__module__": __name__, "__annotations__": {"root": value}, "root": None}
    return type(title, (root_model_class,), own)


def context_json_schema(schema: Any) -> dict[str, Any] | None:
    """Return the JSON schema of a graph's context, None without one.

    Raises:
        MissingExtraError: pydantic is not installed.
        ValueError: It is neither a pydantic model, nor a dataclass or TypedDict.
    """
    if schema is None:
        return None
    fit = is_typeddict(schema) or dataclasses.is_dataclass(schema)
    if not (fit or hasattr(schema, "model_json_schema")):
        raise ValueError(
            f"context_schema {schema!r} has no JSON schema: make it a pydantic model, a dataclass "
            "or a TypedDict"
        )
    made: dict[str, Any] = _pydantic().TypeAdapter(schema).json_schema()
    return made


def config_model(context: Any, include: Sequence[str], title: str) -> Any:
    """Return a pydantic model of a config: the context as ``configurable``, and LangChain's keys.

    Raises:
        MissingExtraError: pydantic, or for ``include`` langchain-core, is not installed.
    """
    fields: dict[str, Any] = {} if context is None else {"configurable": (context, None)}
    if included := [key for key in include if key != "configurable"]:
        try:
            from langchain_core.runnables import RunnableConfig
        except ImportError as error:
            raise MissingExtraError(
                "config_schema(include=…) needs langchain-core: pip install langchain-core"
            ) from error
        hints = get_type_hints(RunnableConfig)
        fields |= {key: (hints[key], None) for key in hints if key in included}
    return _pydantic().create_model(title, **fields)


def _pydantic() -> Any:
    try:
        import pydantic
    except ImportError as error:
        raise MissingExtraError("schemas need pydantic: pip install pydantic") from error
    return pydantic


def _default(schema: Any, key: str, annotation: Any) -> Any:
    """Return a key's default, ``...`` where one has to be given."""
    if dataclasses.is_dataclass(schema):
        field = next((f for f in dataclasses.fields(schema) if f.name == key), None)
        if field is not None and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        if field is not None and field.default is not dataclasses.MISSING:
            return field.default
    return None if _optional(annotation) else ...


def _optional(annotation: Any) -> bool:
    """Return whether None is among the values of an annotation."""
    if annotation is None or annotation is type(None):
        return True
    args = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _optional(args[0])
    return get_origin(annotation) in (Union, types.UnionType) and any(map(_optional, args))
