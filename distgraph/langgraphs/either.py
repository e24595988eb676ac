"""Errors of the engine that handlers for LangGraph's errors catch too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

__all__ = ("caught_as_either", "either")

_NAMES = (
    "EmptyChannelError",
    "EmptyInputError",
    "GraphDrained",
    "GraphRecursionError",
    "InvalidUpdateError",
    "NodeCancelledError",
    "NodeTimeoutError",
)


@lru_cache(maxsize=1)
def _classes() -> dict[type[BaseException], type[BaseException]]:
    """Return, for errors that both have, a class that is caught as either."""
    import langgraph.errors as theirs

    import distgraph.errors as ours

    both: dict[type[BaseException], type[BaseException]] = {}
    for name in _NAMES:
        own, foreign = getattr(ours, name), getattr(theirs, name, None)
        if foreign is not None:
            both[own] = type(name, (own, foreign), {"__module__": "distgraph.errors"})
    return both


def either(error: BaseException) -> BaseException:
    """Return an error of ours as one that is LangGraph's too, any other as it is."""
    cls = _classes().get(type(error))
    if cls is None:
        return error
    told = cls.__new__(cls, *error.args)  # its __init__ may take other arguments
    told.args = error.args
    told.__dict__.update(error.__dict__)
    told.__cause__ = error.__cause__
    return told.with_traceback(error.__traceback__)


@contextmanager
def caught_as_either() -> Iterator[None]:
    """Raise an error of the engine as one that handlers for LangGraph's catch too."""
    try:
        yield
    except Exception as error:
        told = either(error)
        if told is error:
            raise
        raise told from error.__cause__
