"""LangGraph's own ``Command``, ``Send`` and ``Overwrite``, taken for ours without importing it."""

from __future__ import annotations

from typing import Any

from distgraph.types import Command, Overwrite, Send, TimeoutPolicy

__all__ = ("own",)

_FOREIGN = frozenset({"Command", "Send", "Overwrite"})
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
        timeout = getattr(value, "timeout", None)
        return Send(
            value.node,
            value.arg,
            timeout=None
            if timeout is None
            else TimeoutPolicy(
                run_timeout=timeout.run_timeout,
                idle_timeout=timeout.idle_timeout,
                refresh_on=timeout.refresh_on,
            ),
        )
    return Overwrite(value.value)
