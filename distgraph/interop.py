"""Conversion between LangGraph's and distgraph's objects, without importing LangGraph.

Nodes, tools and middleware of a distgraph graph may use LangGraph's ``Command``, ``Send``,
``Overwrite`` and ``Interrupt``, and raise its ``GraphInterrupt`` and ``ParentCommand``. A class is
known by its name and module: where LangGraph is not loaded, none of this costs anything.
"""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from distgraph import errors
from distgraph._internal.loaded import loaded
from distgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand
from distgraph.types import Command, Interrupt, Overwrite, Send, TimeoutPolicy

__all__ = (
    "caught_as_either",
    "either",
    "for_saver",
    "own",
    "own_bubble",
    "own_throughout",
    "theirs",
)

_FOREIGN = frozenset({"Command", "Send", "Overwrite", "Interrupt", "TimeoutPolicy"})
_SEQUENCES = (list, tuple)


def own(value: Any) -> Any:
    """Return our object for one of LangGraph's, lists and tuples of them included.

    Anything else is returned as it is (the same object), so the call is cheap on ordinary values.
    """
    cls = type(value)
    if cls is list or cls is tuple:
        if any(type(item).__name__ in _FOREIGN for item in value):
            return cls(own(item) for item in value)
        return value
    if cls.__name__ not in _FOREIGN or not cls.__module__.startswith("langgraph.types"):
        return value
    if cls.__name__ == "Command":
        goto = value.goto
        return Command(
            graph=value.graph,
            update=value.update,
            resume=value.resume,
            goto=own(list(goto) if isinstance(goto, _SEQUENCES) else goto),
        )
    if cls.__name__ == "Send":
        return Send(value.node, value.arg, timeout=own(getattr(value, "timeout", None)))
    if cls.__name__ == "TimeoutPolicy":
        return TimeoutPolicy(
            run_timeout=value.run_timeout,
            idle_timeout=value.idle_timeout,
            refresh_on=value.refresh_on,
        )
    if cls.__name__ == "Interrupt":
        return Interrupt(value.value, value.id, getattr(value, "response_schema", None))
    return Overwrite(value.value)


def own_throughout(value: Any) -> Any:
    """As ``own``, for a value of a checkpoint: also what dicts, lists and tuples in it hold, and
    what its objects of LangGraph's hold.

    A checkpoint names LangGraph's class for each object that distgraph saved.
    """
    cls = type(value)
    if cls is dict:
        fields = {key: own_throughout(item) for key, item in value.items()}
        return fields if any(fields[key] is not item for key, item in value.items()) else value
    if cls is list or cls is tuple:
        items = cls(map(own_throughout, value))
        return items if any(map(operator.is_not, items, value)) else value
    value = own(value)
    if type(value) is Send:
        return Send(value.node, own_throughout(value.arg), timeout=value.timeout)
    if type(value) is Command:
        return replace(
            value,
            update=own_throughout(value.update),
            resume=own_throughout(value.resume),
            goto=own_throughout(value.goto),
        )
    if type(value) is Overwrite:
        return Overwrite(own_throughout(value.value))
    if type(value) is Interrupt:
        return Interrupt(own_throughout(value.value), value.id, value.response_schema)
    return value


def theirs(value: Any) -> Any:
    """Return LangGraph's object for a distgraph ``Command`` or ``Send``, also in lists.

    LangGraph must be loaded. Anything else is returned as it is.
    """
    cls = type(value)
    if cls is list or cls is tuple:
        if any(type(item) is Command or type(item) is Send for item in value):
            return cls(theirs(item) for item in value)
        return value
    if cls is Send:
        return _their_send(sys.modules["langgraph.types"], value)
    if cls is Command:
        goto: Any = value.goto
        return sys.modules["langgraph.types"].Command(
            graph=value.graph,
            update=value.update,
            resume=value.resume,
            goto=theirs(list(goto) if isinstance(goto, _SEQUENCES) else goto),
        )
    return value


def own_bubble(error: BaseException) -> GraphBubbleUp | None:
    """Return our ``GraphInterrupt`` or ``ParentCommand`` for one of LangGraph's, else None."""
    bubble = loaded("langgraph.errors", "GraphBubbleUp")
    if bubble is None or not isinstance(error, bubble):
        return None
    errors = sys.modules["langgraph.errors"]
    if isinstance(error, errors.ParentCommand):
        command = error.args[0]
        # its engine puts a namespace in the place of PARENT when the command leaves a graph
        return ParentCommand(own(command), has_arrived=command.graph != Command.PARENT)
    if isinstance(error, errors.GraphInterrupt):
        found = error.args[0] if error.args else ()
        return GraphInterrupt(own(tuple(found)))
    return None


def for_saver(value: Any) -> Any:
    """Return the value in the form of a checkpoint: an object of LangGraph's class if LangGraph is
    installed.

    A thread that we wrote can then be continued by LangGraph. Savers know its classes by name.
    """
    cls = type(value)
    if cls is list or cls is tuple:
        if any(type(item) in _KEPT for item in value):
            return cls(for_saver(item) for item in value)
        return value
    if cls not in _KEPT:
        return value
    types = _langgraph_types()
    if types is None:
        return value
    if cls is Send:
        return _their_send(types, value)
    if cls is Overwrite:
        return types.Overwrite(value.value)
    interrupt = types.Interrupt(value=value.value, id=value.id)
    if value.response_schema is not None and hasattr(interrupt, "response_schema"):
        interrupt.response_schema = value.response_schema
    return interrupt


def _their_send(types: Any, send: Send) -> Any:
    limit = send.timeout
    if limit is None or not hasattr(types, "TimeoutPolicy"):
        return types.Send(send.node, send.arg)
    timeout = types.TimeoutPolicy(
        run_timeout=limit.run_timeout,
        idle_timeout=limit.idle_timeout,
        refresh_on=limit.refresh_on,
    )
    return types.Send(send.node, send.arg, timeout=timeout)


_KEPT = (Send, Overwrite, Interrupt)


@cache
def _langgraph_types() -> Any:
    try:
        return importlib.import_module("langgraph.types")
    except ImportError:
        return None


# --- errors that handlers for LangGraph's errors catch too --------------------------------------

_SHARED_ERRORS = (
    "EmptyChannelError",
    "EmptyInputError",
    "GraphDrained",
    "GraphRecursionError",
    "InvalidUpdateError",
    "NodeCancelledError",
    "NodeTimeoutError",
)


@cache
def _shared_classes() -> dict[type[BaseException], type[BaseException]]:
    """Return, for errors that both have, a class that is caught as either."""
    import langgraph.errors as theirs

    both: dict[type[BaseException], type[BaseException]] = {}
    for name in _SHARED_ERRORS:
        own, foreign = getattr(errors, name), getattr(theirs, name, None)
        if foreign is not None:
            both[own] = type(name, (own, foreign), {"__module__": "distgraph.errors"})
    return both


def either(error: BaseException) -> BaseException:
    """Return a distgraph error as an error that is also LangGraph's, if LangGraph is loaded.

    Any other error is returned as it is.
    """
    cls = _shared_classes().get(type(error))
    if cls is None:
        return error
    converted = cls.__new__(cls, *error.args)  # its __init__ may take other arguments
    converted.args = error.args
    converted.__dict__.update(error.__dict__)
    converted.__cause__ = error.__cause__
    return converted.with_traceback(error.__traceback__)


@contextmanager
def caught_as_either() -> Iterator[None]:
    """Raise an error of the engine as one that handlers for LangGraph's catch too."""
    try:
        yield
    except Exception as error:
        converted = either(error)
        if converted is error:
            raise
        raise converted from error.__cause__
