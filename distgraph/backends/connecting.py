"""``connect``: Ray and the processes of a session start while the program does something else."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from distgraph.backends import resolve
from distgraph.concurrency.threads import daemon

if TYPE_CHECKING:
    from distgraph.backends.base import Backend

__all__ = ("connect",)

logger = logging.getLogger("distgraph")


def connect(backend: str | Backend | None = None) -> None:
    """Start Ray, or join the cluster, in the background: the first run waits less.

    The call returns once Ray is imported. A program that calls it first, and then imports LangChain
    and builds its graph, gets its first event seconds earlier. Call ``ray.init`` before, if at all.
    A failure is raised by the first run, which connects again. The backend "local" needs nothing.

    Args:
        backend: As in ``compile`` and ``distribute``.

    Raises:
        ValueError: There is no backend of that name.
    """
    chosen = resolve(backend)
    if chosen.ready():
        return
    try:  # Ray imports it later: two threads that import one package may see parts of it
        import_module("pydantic")
    except ImportError:
        pass

    def start() -> None:
        try:
            chosen.connect()
        except Exception as error:
            logger.debug("the connection in the background failed: %s", error)

    daemon(start, "distgraph-connect").start()
