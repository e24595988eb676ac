"""Signs of life of the actors of a session, for who ends an actor that gives none."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

__all__ = ("REPORT", "Watched")

logger = logging.getLogger("distgraph")

REPORT = 5.0
"""Seconds after which a silence is logged."""


class Watched:
    """An actor on this machine that is asked for signs of life.

    Args:
        handle: The actor.
        restarts: Whether Ray starts it again once it has ended.
    """

    def __init__(self, handle: Any, *, restarts: bool = False) -> None:
        self._handle = handle
        self._restarts = restarts
        self._asked: float | None = None
        self._pid: int | None = None
        self._reported = False
        self.seen = float("-inf")
        """When it was asked for its last sign of life: it lived then, or later."""

    def silent(self) -> float:
        """Ask, if no question is open; return for how long one has been."""
        now = time.monotonic()
        if self._asked is not None:
            return now - self._asked
        self._asked, self._reported = now, False
        self._handle.process.remote().future().add_done_callback(self._answered)
        return 0.0

    def _answered(self, future: Any) -> None:
        if future.exception() is None:
            self._pid = future.result()
            self.seen, self._asked = self._asked or self.seen, None

    def report(self, name: str, seconds: float, bound: float) -> None:
        """Log a silence, once."""
        if not self._reported:
            self._reported = True
            logger.warning(
                "the %s (process %s on %s) has not reacted for %.0f s: it is stopped, or a reducer "
                "holds the interpreter lock. It is ended after %.0f s",
                name,
                self._pid,
                socket.gethostname(),
                seconds,
                bound,
            )

    def end(self) -> None:
        """Kill the process, which is on this machine."""
        pid, self._pid = self._pid, None
        with suppress(OSError):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        with suppress(RayError):
            ray.kill(self._handle, no_restart=not self._restarts)
