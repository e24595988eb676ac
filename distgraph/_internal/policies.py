"""The rules of node policies that need no graph: what is tried again, and what a cache's key is."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

__all__ = ("Transient", "default_cache_key", "default_retry_on")

_OWN_DOING = (
    ValueError,
    TypeError,
    ArithmeticError,
    ImportError,
    LookupError,
    NameError,
    SyntaxError,
    RuntimeError,
    ReferenceError,
    StopIteration,
    StopAsyncIteration,
    OSError,
)
"""Errors that another attempt will most likely meet again."""


class Transient(Exception):
    """Base of errors whose cause lies outside of the node's code: another attempt may succeed."""


def default_retry_on(error: BaseException) -> bool:
    """Whether a policy without a ``retry_on`` tries again after this error.

    After lost connections, answers of HTTP servers with status 5xx, the death of the worker, and
    whatever is none of Python's errors of a program's own doing. As LangGraph has it, but for the
    worker.
    """
    if isinstance(error, (ConnectionError, Transient)):
        return True
    status = _http_status(error)
    if status is not None:
        return 500 <= status < 600
    return not isinstance(error, _OWN_DOING)


def _http_status(error: BaseException) -> int | None:
    """Return the status of an HTTP error; nothing is imported to recognize one."""
    httpx, requests = sys.modules.get("httpx"), sys.modules.get("requests")
    if httpx is not None and isinstance(error, httpx.HTTPStatusError):
        return int(error.response.status_code)
    if requests is not None and isinstance(error, requests.HTTPError):
        # a response with an error's status is false
        return 500 if not error.response else int(error.response.status_code)
    return None


def default_cache_key(*args: Any, **kwargs: Any) -> bytes:
    """Return the key of a node's input where its policy names no function: equal inputs have one.

    The bytes are those that LangGraph makes, so that what one has cached the other finds.
    """
    value = (_frozen(args), _frozen(kwargs))
    try:
        return pickle.dumps(value, protocol=5, fix_imports=False)
    except (pickle.PicklingError, AttributeError):
        found = io.BytesIO()
        _ByName(found, protocol=5, fix_imports=False).dump(value)
        return found.getvalue()


class _ByName(pickle._Pickler):
    """Writes the classes of a script by their names, in a process that runs another script."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        try:
            super().save_global(obj, name)  # type: ignore[misc]
        except (pickle.PicklingError, AttributeError):
            module = getattr(obj, "__module__", None)
            if not isinstance(obj, type) or module != "__main__" or "<" in obj.__qualname__:
                raise
            self.save(module)  # type: ignore[attr-defined]
            self.save(obj.__qualname__)  # type: ignore[attr-defined]
            self.write(pickle.STACK_GLOBAL)  # type: ignore[attr-defined]
            self.memoize(obj)  # type: ignore[attr-defined]


def _frozen(value: Any, depth: int = 10) -> Any:
    if depth <= 0 or isinstance(value, Hashable):
        return value
    if isinstance(value, Mapping):
        return tuple(sorted((key, _frozen(item, depth - 1)) for key, item in value.items()))
    if isinstance(value, Sequence):
        return tuple(_frozen(item, depth - 1) for item in value)
    if hasattr(value, "tobytes"):  # arrays
        return type(value).__name__, value.tobytes(), getattr(value, "shape", None)
    return value
