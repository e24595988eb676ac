"""Checks that refuse unsupported LangGraph graphs before a run starts."""

from __future__ import annotations

from typing import Any

from distgraph.errors import UnsupportedError

__all__ = ("graphs_of_chain", "refuse_remote")


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


def graphs_of_chain(runnable: Any) -> str:
    """Return how to distribute the graphs that are steps of a chain, "" where none is."""
    from langgraph.pregel import Pregel

    steps = getattr(runnable, "steps", None)
    if not isinstance(steps, list):
        return ""
    graphs = {at for at, step in enumerate(steps) if isinstance(step, Pregel)}
    if not graphs:
        return ""
    parts = [
        f"distribute(chain.steps[{at}])" if at in graphs else f"chain.steps[{at}]"
        for at in range(len(steps))
    ]
    return f". A step of it is a graph: use {' | '.join(parts)} in its place"
