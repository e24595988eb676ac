"""States, messages and stream payloads as JSON, and the JSON of requests."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import orjson

from distgraph.serve.errors import RequestError

__all__ = ("as_json", "from_json", "plain", "request_json")

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_SERIALIZE_NUMPY


def as_json(value: Any) -> bytes:
    """Return a value of a graph as one line of JSON.

    Messages are ``model_dump()``, as LangGraph's server sends them; an exception is
    ``{"error": class, "message": text}``; an object without a JSON form is its ``repr``. NaN and
    infinity are null. Whole numbers beyond 64 bits are strings.
    """
    try:
        return orjson.dumps(value, _default, _OPTIONS)
    except (TypeError, UnicodeEncodeError):
        return orjson.dumps(_cleaned(value), _default, _OPTIONS)


def plain(value: Any) -> Any:
    """Return the value that a client reads: dicts, lists, strings, numbers, booleans and None."""
    return orjson.loads(as_json(value))


def from_json(text: str | bytes | None) -> Any:
    """Return the value of JSON that ``as_json`` wrote; None for None."""
    return None if text is None else orjson.loads(text)


def request_json(body: bytes) -> Any:
    """Return the JSON of a request.

    Raises:
        RequestError: 422: the body is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RequestError(422, "Invalid JSON in request body") from None


def _default(value: Any) -> Any:
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    cls = type(value)
    if cls.__name__ == "Interrupt" and hasattr(value, "value") and hasattr(value, "id"):
        schema = getattr(value, "response_schema", None)
        return {"value": value.value, "id": value.id, "response_schema": schema}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, BaseException):
        return {"error": cls.__name__, "message": str(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, (tuple, set, frozenset)) or cls.__name__ == "deque":
        return list(value)
    if cls.__name__ == "Send" and hasattr(value, "node"):
        return {"node": value.node, "input": value.arg}
    if isinstance(value, PurePath):
        return str(value)
    if cls.__name__ == "DataFrame" and hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if cls.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if cls.__name__ == "Decimal":
        return str(value)
    if isinstance(value, int):  # a subclass, such as a bool-like enum
        return int(value)
    return repr(value)


def _cleaned(value: Any) -> Any:
    """Return a copy without what JSON has no form for: lone surrogates, keys, whole numbers."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, Mapping):
        return {_key(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        return [_cleaned(item) for item in value]
    made = _default(value)
    return made if isinstance(made, str) else _cleaned(made)


def _key(key: Any) -> str:
    if isinstance(key, bool) or key is None:
        return orjson.dumps(key).decode()
    return key if isinstance(key, str) else str(key)
