"""What a compiled graph asks for that cannot be honoured: told before anything runs."""

from __future__ import annotations

from typing import Any

from distgraph.errors import UnsupportedError

__all__ = ("refuse_graph", "refuse_remote")


def refuse_graph(graph: Any, where: str) -> None:
    """Refuse a graph by what was given to its ``compile`` or constructor.

    Raises:
        UnsupportedError: Names the option and the remedy.
    """
    if graph.step_timeout is not None:
        raise UnsupportedError(
            f"{where}: step_timeout={_name(graph.step_timeout)} cannot be honoured. Give timeout "
            "to the nodes"
        )


def refuse_remote(runnable: Any, where: str) -> None:
    """Refuse a graph that another server runs.

    Raises:
        UnsupportedError: It is one.
    """
    if type(runnable).__name__ == "RemoteGraph":
        raise UnsupportedError(
            f"{where} is a RemoteGraph: another server runs it already. Call its own invoke or "
            "stream, or make it a node of a graph that you distribute"
        )


def _name(value: Any) -> str:
    if isinstance(value, (bool, int, float, str)):
        return repr(value)
    return getattr(value, "__name__", None) or f"{type(value).__name__}(...)"
