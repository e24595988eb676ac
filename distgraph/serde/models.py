"""Pickling of LangChain models: by their fields, with new clients.

A chat model keeps connections and locks in a few fields, which its constructor creates. The pickle
of a model therefore contains its class and the picklable state. The receiver constructs a new model
from the fields that were set, uses the new model's values for the fields that were not pickled, and
the original's state for all other fields.
"""

from __future__ import annotations

import contextlib
import io
from types import FunctionType, MethodType
from typing import Any

from distgraph.errors import SerializationError
from distgraph.serde import clients, reducers
from distgraph.serde.pickling import PROTOCOL, CodePickler, reason

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = (dict, list, tuple, set, frozenset)

_USERS_OWN = frozenset(
    {"cache", "callback_manager", "callbacks", "http_async_client", "http_client", "rate_limiter"}
)
"""Fields that the constructor does not fill by itself: what is in them came from the user."""


def _name(cls: type) -> str:
    return f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}"


class _Probe(CodePickler):
    """Pickles the value of one field; a model nested in the value handles its own fields."""

    def reducer_override(self, obj: Any) -> Any:
        if reducers.find(type(obj)) is reduce_model:
            return str, ()
        return super().reducer_override(obj)


def _travels(value: Any) -> bool:
    """Return whether a field's value pickles, apart from the models nested in it."""
    if type(value) in _PLAIN:
        return True
    try:
        _Probe(io.BytesIO(), PROTOCOL).dump(value)
    except Exception:
        return False
    return True


def reduce_model(model: Any) -> Any:
    """Reduce a pydantic ``Runnable`` or ``Embeddings`` of LangChain.

    One whose fields all pickle travels as it is; otherwise the fields that do not pickle are made
    anew on arrival.

    Raises:
        SerializationError: such a field came from the user, so that the class cannot make it.
    """
    lost = [name for name, value in model.__dict__.items() if not _travels(value)]
    private = model.__pydantic_private__ or {}
    lost_private = [name for name, value in private.items() if not _travels(value)]
    if not lost and not lost_private:
        return NotImplemented
    if any(isinstance(model.__dict__[name], (FunctionType, MethodType)) for name in lost):
        return NotImplemented  # no constructor makes the function: the error names it
    cls = type(model)
    fields = cls.model_fields
    for name in lost:
        if name in fields:
            _check_remade(model, name)
    state = {name: value for name, value in model.__dict__.items() if name not in lost}
    endpoints = {
        name: clients.endpoint(client)
        for name in lost
        if (client := clients.api_client(model.__dict__[name])) is not None
    }
    return _remake, (
        cls,
        state,
        frozenset(model.__pydantic_fields_set__),
        {name: value for name, value in private.items() if name not in lost_private},
        model.__pydantic_extra__,
        tuple(name for name in lost if name in fields and model.__dict__[name] is not None),
        endpoints,
    )


def _check_remade(model: Any, name: str) -> None:
    """Refuse a field that the class would not fill by itself, or would fill with less."""
    value = model.__dict__[name]
    proxied = name.startswith("http_") and getattr(model, "openai_proxy", None)
    if (
        (name in _USERS_OWN and not proxied)
        or type(model).model_fields[name].is_required()
        or isinstance(value, _CONTAINERS)
    ):
        why, _, remedy = reason(value).partition(". Remedy: ")
        what = "tool" if hasattr(model, "args_schema") else "model"
        create = f"create the {what} inside the node"
        raise SerializationError(
            f"{_name(type(model))} cannot be sent to another process: its field {name!r} "
            f"({type(value).__qualname__}) does not pickle: {why}. Remedy: "
            f"{remedy}{'; or ' if remedy else ''}{create}, or tell how it travels with "
            f"distgraph.register_serializer({type(model).__qualname__}, ...)"
        )


def _arguments(cls: Any, state: dict[str, Any], fields_set: frozenset[str]) -> dict[str, Any]:
    """Return the constructor's arguments: what was set, and what defaults took from the process."""
    arguments: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        value = state.get(name)
        if name not in state or not (
            name in fields_set or (field.default_factory is not None and value is not None)
        ):
            continue
        alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
        arguments[alias or name] = value
    return arguments


def _remake(
    cls: Any,
    state: dict[str, Any],
    fields_set: frozenset[str],
    private: dict[str, Any],
    extra: dict[str, Any] | None,
    lost: tuple[str, ...],
    endpoints: dict[str, dict[str, Any]],
) -> Any:
    try:
        model = cls(**_arguments(cls, state, fields_set), **(extra or {}))
    except Exception as exc:
        raise SerializationError(
            f"{_name(cls)} could not be made anew from its fields: {exc}. Remedy: create the model "
            f"inside the node, or use distgraph.register_serializer({cls.__qualname__}, ...)"
        ) from exc
    for name in lost:
        if model.__dict__.get(name) is None:
            raise SerializationError(
                f"{_name(cls)} did not make its field {name!r} anew: it came from its user. "
                "Remedy: create the model inside the node, or use "
                f"distgraph.register_serializer({cls.__qualname__}, ...)"
            )
    model.__dict__.update(state)
    object.__setattr__(model, "__pydantic_fields_set__", set(fields_set))
    if private:
        made = model.__pydantic_private__ or {}
        object.__setattr__(model, "__pydantic_private__", {**made, **private})
    for name, settings in endpoints.items():
        client = clients.api_client(model.__dict__.get(name))
        if client is not None:
            with contextlib.suppress(AttributeError):
                clients.point(client, settings)
    return model
