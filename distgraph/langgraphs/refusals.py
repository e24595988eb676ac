"""Checks that refuse unsupported LangGraph graphs before a run starts."""

from __future__ import annotations

from typing import Any

from distgraph.errors import UnsupportedError

__all__ = ("refuse_remote",)


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
