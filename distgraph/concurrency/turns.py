"""Turns on a thread that many share, in the order in which they were asked for.

A driver has a thousand runs, each of which has something to do now and then. With a thread for each
of them, most of the time goes into handing the interpreter over from one to another, and a run can
wait for long while others go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum
from functools import partial

__all__ = ("Seat", "Turns")

logger = logging.getLogger("distgraph")


class _State(Enum):
    IDLE = "idle"
    WAITING = "waiting"
    IN_TURN = "in turn"
    ASKED_AGAIN = "asked again"


class Seat:
    """Something that takes turns, one after the other: no two at the same time.

    Args:
        turns: Which it shares.
        turn: Does what is to be done now.
    """

    __slots__ = ("_turns", "state", "turn")

    def __init__(self, turns: Turns, turn: Callable[[], object]) -> None:
        self._turns = turns
        self.turn = turn
        self.state = _State.IDLE

    def ask(self) -> None:
        """Ask for a turn that begins after this call. Any thread may call this."""
        self._turns.ask(self)


class Turns:
    """Hands out turns.

    Args:
        work: Makes calls in their order, one after the other. Where one takes long, it goes on with
            the next ones on another thread.
    """

    def __init__(self, work: Callable[[Callable[[], None]], object]) -> None:
        self._work = work
        self._lock = threading.RLock()  # the garbage collector may ask at any moment

    def ask(self, seat: Seat) -> None:
        """Ask for a turn that begins after this call. Any thread may call this."""
        with self._lock:
            if seat.state is _State.IDLE:
                seat.state = _State.WAITING
                self._work(partial(self._take, seat))
            elif seat.state is _State.IN_TURN:
                seat.state = _State.ASKED_AGAIN

    def _take(self, seat: Seat) -> None:
        seat.state = _State.IN_TURN
        try:
            seat.turn()
        except BaseException:  # the others go on
            logger.exception("a turn failed: %r", seat.turn)
        with self._lock:
            if seat.state is _State.ASKED_AGAIN:
                seat.state = _State.WAITING
                self._work(partial(self._take, seat))
            else:
                seat.state = _State.IDLE
