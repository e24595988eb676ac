"""Refuses, for a detached run, objects that end with the process that starts the run."""

from __future__ import annotations

from collections.abc import Sequence

from distgraph.errors import UnsupportedError

__all__ = ("refuse_to_leave",)


def refuse_to_leave(graph: str, staying: Sequence[str], referring: bool) -> None:
    """Refuse a detached run that needs what ends with this process.

    Args:
        graph: Name of the graph.
        staying: Roles and names of savers, stores and the like that stay in this process.
        referring: Whether graph or input hold references to objects of the cluster that this
            process owns.

    Raises:
        UnsupportedError: It does; the message has the remedy.
    """
    if staying:
        names = ", ".join(dict.fromkeys(staying))
        raise UnsupportedError(
            f"graph {graph!r}: a detached run outlives this process, and what it needs lives in "
            f"this process: {names}. Use one that is a file or a server, such as SqliteSaver, "
            "PostgresSaver, SqliteStore, PostgresStore or SqliteCache, or start the run without "
            "detached=True"
        )
    if referring:
        raise UnsupportedError(
            f"graph {graph!r}: a detached run outlives this process, and its graph or input holds "
            "a reference to an object of the Ray cluster, which ends with this process. Pass the "
            "value itself or the path of a file, or start the run without detached=True"
        )
