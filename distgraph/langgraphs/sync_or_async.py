"""Choice between the sync and the async method of a ``Runnable``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

from distgraph.worker.user_functions import async_only

__all__ = ("reaches_unwritten_hook", "runs_async")

_DEPTH = 8
"""Closures within closures that are looked into."""


def runs_async(runnable: Any) -> bool:
    """Whether a node's ``Runnable`` must be awaited.

    A node that was given both forms waits in the asynchronous one: on a cluster, a thousand such
    calls share a process. A form that only sends the other to a thread does not count, nor one
    that leads to a middleware which has not written its asynchronous hook.
    """
    if async_only(runnable):
        return True
    afunc = getattr(runnable, "afunc", None)
    if afunc is None or not getattr(runnable, "func", None) or _in_executor(afunc):
        return False
    return not reaches_unwritten_hook(afunc)


def reaches_unwritten_hook(function: Any) -> bool:
    """Whether a coroutine function calls a middleware hook that is not implemented."""
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
