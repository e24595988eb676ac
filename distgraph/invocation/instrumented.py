"""Wrappers that an instrumentation has put around the methods of LangGraph's ``Pregel``.

OpenTelemetry's and other instrumentations replace ``Pregel.stream`` and its siblings to trace every
graph of a program. Graphs of distgraph have methods of their own: each call passes through the
same wrappers, with distgraph's method in the place of LangGraph's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import CellType, FunctionType
from typing import Any

from distgraph._internal.loaded import loaded
from distgraph._internal.mistakes import warn_once

__all__ = ("in_place_of", "instrumented_ainvoke", "instrumented_invoke")

Method = Callable[..., Any]
"""Takes the graph, the input, the config and options by keyword."""


def in_place_of(name: str, own: Method) -> Method | None:
    """Return the wrappers of a method of ``Pregel`` around ``own``, None where there are none."""
    pregel = loaded("langgraph.pregel", "Pregel")
    method = None if pregel is None else vars(pregel).get(name)
    if method is None or _is_langgraphs(method):
        return None
    return _around(method, own, name)


def instrumented_invoke(run: Method) -> Method | None:
    """Return ``run``, which returns the output of a run, within the wrappers of ``invoke`` and
    ``stream``; None where there are none.

    ``invoke`` of LangGraph reads the chunks of ``stream``; the wrappers see one, the output.
    """

    def streamed(graph: Any, *given: Any, **options: Any) -> Any:
        found = []

        def chunks(*given: Any, **options: Any) -> Iterator[Any]:
            found.append(run(*given, **options))
            yield found[0]

        wrapped = in_place_of("stream", chunks) or chunks
        for _ in wrapped(graph, *given, **options):
            pass
        return found[0]

    own = None if in_place_of("stream", run) is None else streamed
    return in_place_of("invoke", own or run) or own


def instrumented_ainvoke(run: Method) -> Method | None:
    """Async variant of ``instrumented_invoke``, for ``ainvoke`` and ``astream``."""

    async def streamed(graph: Any, *given: Any, **options: Any) -> Any:
        found = []

        async def chunks(*given: Any, **options: Any) -> AsyncIterator[Any]:
            found.append(await run(*given, **options))
            yield found[0]

        wrapped = in_place_of("astream", chunks) or chunks
        async for _ in wrapped(graph, *given, **options):
            pass
        return found[0]

    own = None if in_place_of("astream", run) is None else streamed
    return in_place_of("ainvoke", own or run) or own


def _is_langgraphs(method: Any) -> bool:
    return (
        type(method) is FunctionType
        and method.__module__.startswith("langgraph.")
        and "__wrapped__" not in method.__dict__
    )


def _around(wrapper: Any, own: Method, name: str) -> Method | None:
    """Return a copy of a wrapper that calls ``own`` where it calls LangGraph's method."""
    if _is_langgraphs(wrapper):
        return own
    within = getattr(wrapper, "__wrapped__", None)
    inner = None if within is None else _around(within, own, name)
    if inner is None:
        _tell_unknown(wrapper, name)
        return None
    if hasattr(wrapper, "_self_wrapper"):  # of the package wrapt
        made = type(wrapper)(inner, wrapper._self_wrapper)
        return lambda graph, *args, **options: made.__get__(graph, type(graph))(*args, **options)
    cells = getattr(wrapper, "__closure__", None) or ()
    if type(wrapper) is not FunctionType or all(_content(cell) is not within for cell in cells):
        _tell_unknown(wrapper, name)
        return None
    copy = FunctionType(
        wrapper.__code__,
        wrapper.__globals__,
        wrapper.__name__,
        wrapper.__defaults__,
        tuple(CellType(inner) if _content(cell) is within else cell for cell in cells),
    )
    copy.__kwdefaults__ = wrapper.__kwdefaults__
    return copy


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None


def _tell_unknown(wrapper: Any, name: str) -> None:
    module = getattr(wrapper, "__module__", "")
    warn_once(
        (
            f"Pregel.{name} of LangGraph was replaced by a function of {module!r}, which runs of "
            "distgraph do not call: it is neither a wrapper of the package wrapt nor a function "
            "with functools.wraps whose closure holds the method",
        )
    )
