"""Signs of life of a session's actors: an actor that gives none for too long is ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from distgraph.concurrency.cpu_waits import cpu_waits
from distgraph.concurrency.timers import timers
from distgraph.driver.silence import Silence

__all__ = ("REPORT", "Watched", "when_lost")

logger = logging.getLogger("distgraph")

REPORT = 5.0
"""Seconds after which a silence is logged."""

LOOK = 1.0
"""Seconds between two looks."""

AGAIN = 0.1
"""Seconds after which an actor that Ray starts again is watched again."""

STARTS = 60.0
"""Seconds for a process to start, or to be started again, in which no sign of life is expected."""


def when_lost(actor: Any, lost: Callable[[Any], object]) -> None:
    """Call ``lost``, with the future of a call, once an actor has ended that is not started again.

    Args:
        actor: Has a method ``watch`` that never returns and that Ray does not repeat: Ray would
            print, at the end of each session, that it repeats the call.
        lost: Called by a thread of Ray's.
    """

    def ended(future: Any) -> None:
        if isinstance(future.exception(), ActorUnavailableError) and ray.is_initialized():
            timers().after(AGAIN, partial(when_lost, actor, lost))
        else:
            lost(future)

    actor.watch.remote().future().add_done_callback(ended)


class Watched:
    """An actor on this machine that is asked for signs of life.

    Args:
        handle: The actor.
        restarts: Whether Ray starts it again once it has ended.
    """

    def __init__(self, handle: Any, *, restarts: bool = False) -> None:
        self._handle = handle
        self._restarts = restarts
        self._silence = Silence(STARTS, REPORT, cpu_waits)
        self._reported = False

    @property
    def seen(self) -> float:
        """When it was asked for its last sign of life: it lived then, or later."""
        return self._silence.seen

    def watch(
        self,
        name: str,
        bound: float,
        *,
        until: Callable[[], bool] = lambda: False,
        ending: Callable[[], object] = lambda: None,
    ) -> None:
        """Look each second for signs of life, and end the actor once it gives none for too long.

        Args:
            name: What it is, for the log.
            bound: Seconds.
            until: Whether it is watched no longer.
            ending: Called before it is ended.
        """
        if until():
            return
        seconds = self.silent()
        if seconds >= bound:
            ending()
            self.end()
        elif seconds >= REPORT:
            self.report(name, seconds, bound)
        timers().after(LOOK, partial(self.watch, name, bound, until=until, ending=ending))

    def silent(self) -> float:
        """Ask, if no question is open; return for how long one has been. Called now and then."""
        now = time.monotonic()
        seconds = self._silence.look(now, _exists)
        if seconds is not None:
            return seconds
        self._reported = False
        self._handle.process.remote().future().add_done_callback(partial(self._answered, now))
        return 0.0

    def _answered(self, asked: float, future: Any) -> None:
        self._silence.answered(asked, None if future.exception() is not None else future.result())

    def report(self, name: str, seconds: float, bound: float) -> None:
        """Log a silence, once."""
        if not self._reported:
            self._reported = True
            logger.warning(
                "the %s (process %s on %s) has not reacted for %.0f s: it is stopped, or a reducer "
                "holds the interpreter lock. It is ended after %.0f s",
                name,
                self._silence.pid,
                socket.gethostname(),
                seconds,
                bound,
            )

    def end(self) -> None:
        """Kill the process, which is on this machine. One that follows it is asked anew."""
        pid = self._silence.pid
        self._silence.ended()
        with suppress(OSError):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        with suppress(RayError):
            ray.kill(self._handle, no_restart=not self._restarts)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
