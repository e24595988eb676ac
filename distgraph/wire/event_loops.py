"""An event loop receives by itself while only its coroutines wait for what some connections bring.

No other thread has to wake it for a frame. The thread of the connections looks after it, and
receives in its place where it is blocked, has ended, or is not alone.
"""

from __future__ import annotations

import asyncio
import enum
import select
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from distgraph.wire.connection import Connection
from distgraph.wire.loop import READ, Loop
from distgraph.wire.sockets import file_of

__all__ = ("AGAIN", "LOOK", "REST", "EventLoops", "Rules", "Turn", "Verdict")

LOOK = 0.05
"""Seconds between two looks at an event loop that receives. What one look finds, and the next one
too, waits for a loop that is blocked."""

AGAIN = 1.0
"""Seconds for which a loop does not receive after it was blocked, or a thread has waited."""

REST = 20
"""Looks in a row that find nothing new. The next one follows when something comes, or after
``RARELY``."""

RARELY = 1.0
"""Seconds between two looks then: code of the user may have closed what the loop waits for."""


class Verdict(enum.Enum):
    """What a look at an event loop leads to."""

    ON = enum.auto()
    """It goes on to receive."""
    REST = enum.auto()
    """The same, and nobody has to look until something comes."""
    BACK = enum.auto()
    """Another thread receives in its place."""


class Rules:
    """Whether an event loop receives. Pure."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._taken = -1
        self._quiet = 0
        self._found = False

    def may(self, now: float) -> bool:
        """Return whether one may begin, at a time in seconds."""
        return now >= self._not_before

    def begin(self) -> None:
        """One begins, or begins anew after a rest."""
        self._taken, self._quiet, self._found = -1, 0, False

    def ends(self, now: float) -> None:
        """It ends to receive because it is blocked, or because a thread waits."""
        self._not_before = now + AGAIN

    def look(self, taken: int, *, is_ready: bool, has_ended: bool) -> Verdict:
        """Look at a loop that receives.

        Args:
            taken: How often it has taken something so far.
            is_ready: Whether something is there that it has not taken.
            has_ended: Whether it never will.
        """
        is_same, self._taken = taken == self._taken, taken
        was_found, self._found = self._found, is_ready
        if has_ended or (is_same and was_found and is_ready):
            return Verdict.BACK
        self._quiet = self._quiet + 1 if is_same and not is_ready else 0
        return Verdict.REST if self._quiet >= REST else Verdict.ON


class Turn:
    """The turn of one event loop to receive.

    Args:
        loop: The event loop.
        wire: Serves the connections.
        take: Takes what has come, on the loop's thread. False: another one takes it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: Loop,
        take: Callable[[Sequence[Connection]], bool],
    ) -> None:
        self.loop = loop
        self.taken = 0
        """How often the loop has taken what came."""
        self._has_ended = False
        self._wire = wire
        self._take = take
        self._poll = select.epoll()
        """One file descriptor for all connections: any thread may add and remove some, and the
        event loop never watches a file descriptor that another thread closes."""
        self._file = file_of(self._poll.fileno())
        self._by_file: dict[int, Connection] = {}

    def join(self) -> bool:
        """Begin to wait, on the loop's thread. Return False where the loop cannot."""
        try:
            self.loop.add_reader(self._poll.fileno(), self._ready)
        except (NotImplementedError, AttributeError, OSError, ValueError, RuntimeError):
            self._poll.close()
            return False
        return True

    def leave(self) -> None:
        """Wait no longer. On the loop's thread."""
        with suppress(OSError, ValueError, RuntimeError):
            self.loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def _ready(self) -> None:
        found = [self._by_file.get(number) for number in self._look()]
        mine = [each for each in found if each is not None]
        try:
            if self._take(mine):
                self.taken += bool(mine)
        finally:
            if self._has_ended:  # the wire's thread may have looked while this one was reading
                self._wire.soon(partial(_receive_on, mine))

    def _look(self) -> list[int]:
        try:
            return [number for number, _ in self._poll.poll(0)]
        except (OSError, ValueError):  # code of the user has closed it, or the turn has ended
            return []

    # --- on the thread of the connections ---------------------------------------------------------

    @property
    def poll(self) -> Any:
        """What is ready when one of the connections is."""
        return self._poll

    @property
    def is_ready(self) -> bool:
        """Whether something is there that the loop has not taken."""
        return bool(self._look())

    @property
    def has_ended(self) -> bool:
        """Whether the loop will never take anything: it is closed, or code of the user has closed
        the file descriptor."""
        return self.loop.is_closed() or file_of(self._poll.fileno()) != self._file

    def holds(self, connection: Connection) -> bool:
        """Whether frames of a connection are the loop's to take."""
        return connection in self._by_file.values()

    def add(self, connections: Sequence[Connection]) -> None:
        """Let the loop receive on these connections too, as far as that is possible."""
        _receive_on(self._remove(each for each in self._by_file.values() if each.closed))
        for each in connections:
            if not self.holds(each) and each.take_turn():
                try:
                    self._by_file[each.watch_by(self._poll)] = each
                    each.watch_less()
                except OSError:  # code of the user has closed it, which the wire's thread notices
                    each.watch_again()

    def end(self) -> None:
        """Let the wire's thread receive in place of the loop."""
        self._has_ended = True
        _receive_on(self._remove(self._by_file.values()))
        try:
            self.loop.call_soon_threadsafe(self.leave)
        except RuntimeError:  # it is closed
            self._poll.close()

    def _remove(self, connections: Iterable[Connection]) -> Sequence[Connection]:
        removed = set(connections)
        for number, each in list(self._by_file.items()):
            if each in removed:
                del self._by_file[number]
                with suppress(OSError, ValueError):  # it is closed, which has removed it
                    self._poll.unregister(number)
        return list(removed)


def _receive_on(connections: Iterable[Connection]) -> None:
    """Let the wire's thread receive."""
    for each in connections:
        each.watch_again()


class EventLoops:
    """The event loops of which coroutines wait for what some connections bring.

    Args:
        wire: Serves the connections.
        connections: Returns those that are open.
        take: See ``Turn``.
        threads_wait: Whether threads wait too.
        clock: Seconds.
    """

    def __init__(
        self,
        wire: Loop,
        connections: Callable[[], Sequence[Connection]],
        take: Callable[[Sequence[Connection]], bool],
        threads_wait: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._connections = connections
        self._take = take
        self._threads_wait = threads_wait
        self._clock = clock
        self._rules = Rules()
        self._loops: Sequence[asyncio.AbstractEventLoop] = ()
        self._asked: asyncio.AbstractEventLoop | None = None
        """Which one was asked last to receive. It is not asked again before it has answered."""
        # written on the wire's thread only
        self._turn: Turn | None = None
        self._rests = False
        """Whether the next look follows when something comes."""
        self._looks = 0
        """Number of the next look. One with an older number is left out."""
        self._again_due = False

    def wait(self, loops: Sequence[asyncio.AbstractEventLoop]) -> None:
        """Note the loops of which coroutines wait now. Any thread.

        A loop that receives goes on to do so for a while when none waits: between two runs.
        """
        self._loops = loops
        turn = self._turn
        if turn is None:
            self._ask()
        elif any(each is not turn.loop for each in loops):
            self._wire.soon(partial(self._take_back, turn))
        elif loops and self._rests:
            self._wire.soon(self._stir)

    def stop(self) -> None:
        """Let the wire's thread receive, because a thread waits. Any thread."""
        turn = self._turn
        if turn is not None:
            self._wire.soon(partial(self._take_back, turn))

    def holds(self, connection: Connection) -> bool:
        """Whether an event loop receives on a connection."""
        return self._turn is not None and self._turn.holds(connection)

    def _ask(self) -> None:
        """Let the only loop receive. Any thread."""
        loops = self._loops
        if not _CAN or len(loops) != 1 or loops[0] is self._asked:
            return
        if not self._rules.may(self._clock()):
            if not self._again_due:
                self._wire.soon(self._later)
            return
        self._asked = loops[0]
        if _get_running_loop() is loops[0]:
            self._join(loops[0])
        else:
            with suppress(RuntimeError):  # it is closed
                loops[0].call_soon_threadsafe(self._join, loops[0])

    def _join(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the thread of that loop."""
        turn = Turn(loop, self._wire, self._take)
        if turn.join():
            self._wire.soon(partial(self._begin, turn))

    # --- on the wire's thread -------------------------------------------------------------------

    def _begin(self, turn: Turn) -> None:
        self._asked = None
        if self._turn is not None:
            turn.end()
            return
        self._turn = turn  # first: threads that wait from now on say so
        self._rules.begin()
        if self._threads_wait() or any(each is not turn.loop for each in self._loops):
            self._take_back(turn)
            return
        self._look(self._looks)

    def _look(self, number: int) -> None:
        turn = self._turn
        if turn is None or number != self._looks:
            return
        turn.add(self._connections())
        verdict = self._rules.look(turn.taken, is_ready=turn.is_ready, has_ended=turn.has_ended)
        if verdict is Verdict.BACK or (verdict is Verdict.REST and not self._loops):
            self._take_back(turn)
            return
        self._rest(turn, verdict is Verdict.REST)
        self._looks += 1
        wait = RARELY if self._rests else LOOK
        self._wire.after(wait, partial(self._look, self._looks))

    def _rest(self, turn: Turn, rests: bool) -> None:
        if rests != self._rests:
            self._rests = rests
            self._wire.watch(turn.poll, READ if rests else 0, self._stir)

    def _stir(self, mask: int = READ) -> None:
        """Something comes, or is about to."""
        if self._turn is not None and self._rests:
            self._rest(self._turn, False)
            self._rules.begin()
            self._look(self._looks)

    def _take_back(self, turn: Turn) -> None:
        if turn is not self._turn:
            return
        self._rest(turn, False)
        self._turn = None
        turn.end()
        if turn.loop in self._loops:
            self._rules.ends(self._clock())
            self._later()
        else:
            self._ask()

    def _later(self) -> None:
        if not self._again_due:
            self._again_due = True
            self._wire.after(AGAIN, self._again)

    def _again(self) -> None:
        self._again_due = False
        if self._turn is None and self._loops:
            if self._threads_wait():
                self._later()
            else:
                self._ask()


_CAN = hasattr(select, "epoll")
