"""The sync and the async form of a LangChain ``Runnable``: which of them it has.

LangGraph runs the form that the run's caller uses: ``invoke`` under ``invoke``, ``ainvoke`` under
``ainvoke``. An async form that only sends the sync one to a thread does not count here: the sync
form then runs where it can be interrupted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from distgraph._internal.loaded import loaded

__all__ = ("async_only", "has_async_form", "reaches_unwritten_hook")

_DEPTH = 8
"""Closures within closures, and parts within parts, that are looked into."""

_ASYNC_METHODS = (
    "ainvoke",
    "_agenerate",
    "_astream",
    "_acall",
    "_arun",
    "_aget_relevant_documents",
    "aparse",
    "aparse_result",
)
"""Methods by which a class writes its async form."""

_SEQUENCE = "RunnableSeq"
"""LangGraph's class of sequences, which like LangChain's own classes has an async form if one of
its parts has one."""


def async_only(runnable: Any) -> bool:
    """Return whether a Runnable, or a part of it, has no synchronous form."""
    if getattr(runnable, "afunc", None) is not None and not getattr(runnable, "func", None):
        return True
    own = getattr(runnable, "__dict__", {})
    if "_atransform" in own and "_transform" not in own:  # LangChain's RunnableGenerator
        return True
    parts = getattr(runnable, "steps", None) or getattr(runnable, "steps__", None) or ()
    if isinstance(parts, Mapping):
        parts = tuple(parts.values())
    inner = getattr(runnable, "bound", None)
    return any(async_only(p) for p in (*parts, *(() if inner is None else (inner,))))


def has_async_form(runnable: Any) -> bool:
    """Return whether a Runnable, or a part of it, has an async form of its own.

    A form that leads to a LangChain middleware which has not written its asynchronous hook does not
    count.
    """
    return _has_async_form(runnable, _DEPTH)


def _has_async_form(runnable: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if hasattr(runnable, "afunc"):
        afunc = runnable.afunc
        return not (afunc is None or _in_executor(afunc) or reaches_unwritten_hook(afunc))
    if getattr(runnable, "coroutine", None) is not None:  # a tool
        return True
    if "_atransform" in getattr(runnable, "__dict__", {}):  # LangChain's RunnableGenerator
        return True
    return any(_writes(type(runnable), method) for method in _ASYNC_METHODS) or any(
        _has_async_form(part, depth - 1) for part in _parts(runnable)
    )


def _writes(cls: type, method: str) -> bool:
    """Whether a class has a method that is not the framework's."""
    for base in cls.__mro__:
        if method in vars(base):
            theirs = base.__module__.startswith("langchain_core.")
            return not theirs and base.__name__ != _SEQUENCE
    return False


def _parts(runnable: Any) -> Iterator[Any]:
    """Yield the Runnables that a Runnable consists of."""
    kind = loaded("langchain_core.runnables.base", "Runnable")
    pending = [] if kind is None else list(getattr(runnable, "__dict__", {}).values())
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple)):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, kind):
            yield value


def reaches_unwritten_hook(function: Any) -> bool:
    """Return whether a coroutine function calls a middleware hook that is not implemented."""
    return any(_unwritten(method) for method in _methods(function, _DEPTH, set()))


def _in_executor(afunc: Any) -> bool:
    return isinstance(afunc, functools.partial) and (
        getattr(afunc.func, "__name__", "") == "run_in_executor"
    )


def _unwritten(method: MethodType) -> bool:
    """Whether a hook is the method of LangChain's base class, which only raises."""
    function = method.__func__
    return getattr(function, "__module__", "") == "langchain.agents.middleware.types" and getattr(
        function, "__qualname__", ""
    ).startswith("AgentMiddleware.a")


def _methods(value: Any, depth: int, seen: set[int]) -> Iterator[MethodType]:
    """Yield the bound methods that a function has captured, directly or through others."""
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, MethodType):
        yield value
    elif isinstance(value, functools.partial):
        yield from _methods(value.func, depth - 1, seen)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _methods(item, depth - 1, seen)
    elif isinstance(value, FunctionType):
        yield from _methods(getattr(value, "__wrapped__", None), depth - 1, seen)
        for content in _captured(value):
            if callable(content) or isinstance(content, (list, tuple)):
                yield from _methods(content, depth - 1, seen)


def _captured(function: Callable[..., Any]) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # still empty
            continue
