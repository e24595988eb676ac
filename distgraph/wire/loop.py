"""The one thread of a process that serves all of its connections."""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol
from weakref import WeakSet

from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import daemon
from distgraph.concurrency.timers import timers
from distgraph.wire.busy_polling import BusyPoll, window

__all__ = ("LONG", "OFTEN", "READ", "WRITE", "Loop", "loop", "pair")

logger = logging.getLogger("distgraph")

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

LONG = 0.01
"""Seconds between two looks at a call of ``work``. One that goes on from one look to the next takes
long: another thread serves the connections from then on."""

OFTEN = 0.0002
"""Seconds for which a thread keeps the interpreter, while another one serves the connections beside
a call that takes long. A superstep needs it several times: with Python's 0.005 s, it would take
many times as long beside a reducer that computes."""


IN_A_ROW = 16
"""Calls of ``work`` before sockets are served again. What these calls send goes together."""

_BATCH = 0.002
"""Seconds after which they are served all the same."""


class Ready(Protocol):
    """What the loop calls when a socket is ready."""

    def __call__(self, mask: int) -> None:
        """Read or write as far as possible without waiting. ``mask``: ``READ``, ``WRITE``."""


class _File(Protocol):
    """A socket, or what is ready when some sockets are."""

    def fileno(self) -> int: ...


class User(Protocol):
    """What the loop serves."""

    def leave(self) -> None:
        """Use the socket no more: this is a forked process, and the socket is its parent's."""


class Loop:
    """Waits for sockets and for time, and makes calls.

    Its calls must not wait for anything, as all connections of the process wait for them. Those of
    ``work`` may.

    Args:
        later: Makes a call after some seconds, on another thread.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object] | None = None) -> None:
        self._later = later or timers().after
        self.users: WeakSet[User] = WeakSet()
        self._busy_poll = BusyPoll(window())
        self._selector = selectors.DefaultSelector()
        self._lost: list[selectors.BaseSelector] = []
        """Selectors whose file descriptors code of the user has closed."""
        self._calls: deque[Callable[[], object]] = deque()
        self._long: deque[Callable[[], object]] = deque()
        """Calls that may take long."""
        self._begun = 0
        """How many of those have begun."""
        self._seen = 0
        """How many had begun at the last look at them."""
        self._looking = False
        self._making: threading.Thread | None = None
        """Which began such a call last."""
        self._beside: set[threading.Thread | None] = set()
        """Threads whose calls take long."""
        self._usual = sys.getswitchinterval()
        self._asleep = False
        """Whether the thread has to be woken for a call."""
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._behind: deque[Callable[[], object]] = deque()
        """Calls to be made behind what is handled now."""
        self._numbers = itertools.count()
        self._rewiring = threading.RLock()
        self._wakes, self._woken = pair()
        self._selector.register(self._woken, READ, self._drain)
        self._start()

    def _start(self) -> None:
        self._thread: threading.Thread | None = daemon(self._run, "distgraph-wire")
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the loop's own, and not in a call of ``work``."""
        return threading.current_thread() is self._thread

    def soon(self, call: Callable[[], object]) -> None:
        """Make a call on the loop's thread. Any thread may call this."""
        self._calls.append(call)
        self._wake()

    def work(self, call: Callable[[], object]) -> None:
        """Make a call that may take long, or wait, on the loop's thread. Any thread may call this.

        Such calls are made in their order, one at a time, behind what has arrived. Within the call,
        its thread is not the loop's. Where the call takes long, another thread becomes the loop's:
        it serves connections, and makes further calls.
        """
        self._long.append(call)
        self._wake()

    @property
    def collects(self) -> bool:
        """Whether the calling thread handles more before it waits: what it sends can wait for that.

        On the loop's thread, that is what was read together; in a call of ``work``, further calls.
        """
        thread = threading.current_thread()
        return thread is self._thread or (self._goes_on(thread) and bool(self._long))

    def _goes_on(self, thread: threading.Thread) -> bool:
        """Whether a thread makes a call of ``work``, and no other is in its place."""
        return self._thread is None and thread is self._making

    def collect(self, call: Callable[[], object]) -> bool:
        """Make a call behind what the calling thread handles; see ``collects``. It is made at once
        where another thread takes this one's place.

        Return False, and do nothing, where that has happened.
        """
        thread = threading.current_thread()
        with self._rewiring:
            if thread is self._thread or self._goes_on(thread):
                self._behind.append(call)
                return True
        return False

    def _wake(self) -> None:
        if not self._asleep:  # it looks for calls before it sleeps
            return
        try:
            self._wakes.send(b"\0")
        except BlockingIOError:  # it has been woken often enough
            pass
        except OSError:
            self._wake_anew()

    def _wake_anew(self) -> None:
        """Replace the sockets that wake the thread: code of the user has closed one of them."""
        logger.warning("the thread of the wire is woken anew, as code of the user closed a file")
        with self._rewiring:
            with suppress(KeyError):
                self._selector.unregister(self._woken)
            for lost in (self._wakes, self._woken):
                lost.detach()  # its number may be that of a file of the user's, which stays open
            self._wakes, self._woken = pair()
            try:
                self._selector.register(self._woken, READ, self._drain)
            except OSError:  # the selector is closed too, and the thread may wait there for ever
                self._watch_anew()
                self._selector.register(self._woken, READ, self._drain)
                if not self.is_current:
                    self._start()
            self._wakes.send(b"\0")

    # --- on the loop's thread only --------------------------------------------------------------

    def settle(self) -> None:
        """Make the calls that were asked for by ``collect``."""
        while self._behind:
            try:
                self._behind.popleft()()
            except Exception:
                logger.exception("a connection's call failed")

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Make a call after some seconds."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), call))

    def watch(self, sock: _File, mask: int, ready: Ready) -> None:
        """Call ``ready`` when a socket can be read or written; with mask 0, no longer."""
        try:
            self._set(sock, mask, ready)
        except OSError as error:  # the socket must not be forgotten: nobody would notice
            self._log_lost(error)
            self._watch_anew()
            self._set(sock, mask, ready)

    def _set(self, sock: _File, mask: int, ready: Ready) -> None:
        known = self._selector.get_map().get(sock)
        if known is not None and known.fileobj is not sock:
            # code of the user has closed that one, and this one has its number
            self._selector.unregister(known.fileobj)
            known = None
        if mask == 0:
            if known is not None:
                self._selector.unregister(sock)
        elif known is None:
            self._selector.register(sock, mask, ready)
        else:
            self._selector.modify(sock, mask, ready)

    def _drain(self, mask: int) -> None:
        try:
            while count := len(self._woken.recv(4096)):
                if count < 4096:
                    return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._wake_anew()

    def _run(self) -> None:
        self.settle()  # of a thread in whose place this one is
        while self.is_current:
            self._asleep = True  # before the look for calls: those that come behind it wake
            wait = 0.0 if self._calls or self._long else None
            if self._due and wait is None:
                wait = max(0.0, self._due[0][0] - time.monotonic())
            self._serve(wait)
            while self._due and self._due[0][0] <= time.monotonic():
                self._make(heapq.heappop(self._due)[2])
            for _ in range(len(self._calls)):
                self._make(self._calls.popleft())
            if self._long:
                self._work_off()

    def _work_off(self) -> None:
        """Make some calls of ``work``, and behind them what they have asked for by ``collect``."""
        until = time.monotonic() + _BATCH
        for _ in range(IN_A_ROW):
            self._make_long(self._long.popleft())
            if not (self.is_current and self._long and time.monotonic() < until):
                break
        if self.is_current:
            self.settle()

    def _make_long(self, call: Callable[[], object]) -> None:
        """Make a call during which another thread may take this one's place."""
        with self._rewiring:
            self._begun += 1
            mine, self._thread = self._thread, None
            self._making = mine
            looking, self._looking = self._looking, True
        if not looking:
            self._later(LONG, self._look)
        try:
            call()
        except BaseException:
            logger.exception("a call failed: %r", call)
        with self._rewiring:
            if self._thread is None:
                self._thread = mine
            if mine in self._beside:
                self._beside.discard(mine)
                if not self._beside:
                    sys.setswitchinterval(self._usual)

    def _look(self) -> None:
        """Let another thread serve beside a call that takes long. On another thread."""
        with self._rewiring:
            goes_on = self._begun != self._seen
            if not goes_on and self._thread is None:
                self._beside.add(self._making)
                sys.setswitchinterval(min(OFTEN, self._usual))
                self._start()
            self._seen = self._begun
            self._looking = goes_on
        if goes_on:
            self._later(LONG, self._look)

    def _serve(self, wait: float | None) -> None:
        # a method: its variables must not hold the last connection until the next one is ready
        for key, mask in self._selected(wait):
            self._make(partial(key.data, mask))

    def _selected(self, wait: float | None) -> Sequence[tuple[selectors.SelectorKey, int]]:
        try:
            return self._busy_poll.wait(self._selector.select, wait)
        except OSError as error:
            self._log_lost(error)
            self._watch_anew()
            return []
        finally:
            self._asleep = False

    @staticmethod
    def _log_lost(error: OSError) -> None:
        logger.warning("sockets are watched anew, as code of the user closed a file: %s", error)

    def _watch_anew(self) -> None:
        """Replace the selector, whose file descriptor was closed."""
        lost, self._selector = self._selector, selectors.DefaultSelector()
        self._lost.append(lost)  # its number may be that of a file of the user's, which stays open
        for key in list(lost.get_map().values()):
            try:
                self._selector.register(key.fileobj, key.events, key.data)
            except (OSError, ValueError):  # closed as well: reading tells its user so
                self._calls.append(partial(key.data, READ))

    def _make(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:  # that of one connection is not to end the others
            logger.exception("a connection's call failed: %r", call)
        self.settle()


def pair() -> tuple[socket.socket, socket.socket]:
    """Return sockets by the first of which a thread is woken that waits for the second."""
    wakes, woken = socket.socketpair()
    wakes.setblocking(False)
    woken.setblocking(False)
    return wakes, woken


_lock = threading.Lock()
_loop: Loop | None = None


def loop() -> Loop:
    """Return the loop of this process. A forked process has one of its own."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = Loop()
        return _loop


@in_forked_process
def _forget_loop() -> None:
    """Leave the connections to the process that opened them."""
    global _loop, _lock
    inherited, _loop, _lock = _loop, None, threading.Lock()
    if inherited is not None:
        for user in list(inherited.users):
            user.leave()
