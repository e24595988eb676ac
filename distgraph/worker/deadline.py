"""Termination of a synchronous attempt that exceeds its time limit.

In the main thread of its own process, a signal interrupts the attempt, blocking calls included; if
the attempt does not end, the process exits. In a thread of a shared process, the attempt can only
be abandoned.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as `signal`, without the enumerations
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from distgraph.concurrency.forking import free_in_forks
from distgraph.concurrency.threads import daemon
from distgraph.contract.attempt import Lateness
from distgraph.worker.children import descendants, marked

if TYPE_CHECKING:
    from distgraph.contract.attempt import AttemptRequest
    from distgraph.types import TimeoutPolicy

T = TypeVar("T")

GRACE = 1.0
"""Seconds between the interruption and the end of the process."""

_SIGNAL = signal.SIGUSR2
"""Not SIGINT: worker processes ignore it, so that Ctrl-C is the caller's alone."""

_NUMBER = int(_SIGNAL)

EXIT_CODE = 70
"""Exit code of a process that ended because its attempt could not be interrupted."""


class Clock:
    """The time that an attempt has left, by the limits of the part and of the node.

    Args:
        own: Seconds that a part may take.
        limit: Time limits of the node's attempts, in seconds.
    """

    def __init__(self, own: float | None, limit: TimeoutPolicy | None) -> None:
        self._own = own
        self._run = _seconds(limit and limit.run_timeout)
        self._idle = _seconds(limit and limit.idle_timeout)
        self._began = self._progress = 0.0
        self._started = False
        self.listens = self._idle is not None and limit is not None and limit.refresh_on == "auto"
        """Whether events and callbacks of the node count as progress."""
        self.late: Lateness | None = None
        """The limit of the node that was reached; None if none, or the part's own limit."""

    @classmethod
    def of(cls, request: AttemptRequest) -> Clock | None:
        """Return the clock of an attempt, None where its time is not limited."""
        if request.timeout is None and request.limit is None:
            return None
        return cls(request.timeout, request.limit)

    def start(self) -> None:
        """Begin: the node's own code runs from here on."""
        self._began = self._progress = time.monotonic()
        self._started = True

    def beat(self) -> None:
        """Note that the attempt makes progress. Any thread may call this."""
        if self._started:
            self._progress = time.monotonic()

    @property
    def heartbeat(self) -> Callable[[], None] | None:
        """Function by which a node reports progress; None if there is no idle limit."""
        return None if self._idle is None else self.beat

    def peek(self) -> float:
        """Return the seconds until a limit is reached."""
        return self._nearest()[0]

    def left(self) -> float:
        """Return the seconds until a limit is reached; 0 or less notes which it was."""
        seconds, late = self._nearest()
        if seconds <= 0:
            self.late = late
        return seconds

    def _nearest(self) -> tuple[float, Lateness | None]:
        now = time.monotonic() if self._started else 0.0
        # differences first: rounded sums could end an attempt whose elapsed time is below its limit
        elapsed = now - self._began
        limits: list[tuple[float, Lateness | None]] = []
        if self._run is not None:
            limits.append((self._run - elapsed, Lateness("run", elapsed)))
        if self._idle is not None:
            limits.append((self._idle - (now - self._progress), Lateness("idle", elapsed)))
        if self._own is not None:
            limits.append((self._own - elapsed, None))
        return min(limits, key=lambda entry: entry[0])


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float) else None


def shortest(request: AttemptRequest) -> float | None:
    """Return the seconds after which an attempt may have been ended, None where it never is."""
    limit = request.limit
    if limit is None:
        return request.timeout
    times = (request.timeout, limit.run_timeout, limit.idle_timeout)
    return min((t for t in times if isinstance(t, (int, float))), default=None)


class Interruption:
    """The code that the main thread of a process runs; other threads may interrupt it."""

    def __init__(self) -> None:
        self._lock = free_in_forks(threading.Lock())
        self._accepts = False
        self._sent = False
        self.children: list[tuple[int, int]] = []
        """Child processes of code that was interrupted, when it was; see ``marked``."""

    def interrupt(self, wanted: Callable[[], bool] = lambda: True) -> bool:
        """Let the running code get a ``KeyboardInterrupt``, blocking calls included. Any thread.

        Return False if no code runs, or not the ``wanted`` code: it does not change meanwhile.
        """
        main = threading.main_thread().ident
        assert main is not None
        with self._lock:
            if not (self._accepts and wanted()):
                return False
            self._sent = True
            # the code may end its child processes now, and lose sight of theirs
            self.children = marked(descendants(os.getpid()))
            signal.pthread_kill(main, _SIGNAL)
            return True

    def run(self, call: Callable[[], T]) -> tuple[T | None, bool]:
        """Run ``call`` in the main thread. Return its result and whether it was interrupted."""
        previous = _signal.signal(_NUMBER, self._raise)
        self._sent = False
        self.children = []
        result: T | None = None
        try:
            try:
                self._accepts = True
                result = call()
            finally:
                with self._lock:
                    self._accepts = False  # no signal is sent from here on
        except KeyboardInterrupt:
            if not self._sent:  # somebody else's
                raise
        if self._sent:
            with suppress(KeyboardInterrupt):
                time.sleep(0.001)  # one that was sent lands here at the latest
        _signal.signal(_NUMBER, previous)
        return result, self._sent

    def _raise(self, number: int, frame: object) -> None:
        if self._accepts:
            self._accepts = False
            raise KeyboardInterrupt


main_thread = Interruption()
"""What the main thread of this process runs."""


def run_interruptibly(call: Callable[[], T], clock: Clock) -> tuple[T | None, bool]:
    """Run ``call`` in the main thread. Return its result and whether it was interrupted.

    ``call`` gets a ``KeyboardInterrupt`` when its time is over. The process ends ``GRACE`` seconds
    later if that does not end the call. Use it only where the process has nothing else to do.
    """
    over = threading.Event()

    def watch() -> None:
        while (left := clock.left()) > 0:
            if over.wait(left):
                return
        if not main_thread.interrupt():
            return
        if not over.wait(GRACE):
            os._exit(EXIT_CODE)

    def watched() -> T:
        daemon(watch, "distgraph-deadline").start()
        try:
            return call()
        finally:
            over.set()

    return main_thread.run(watched)


class LeftBehind:
    """Code of attempts that nobody waits for any longer, and that has not ended. Thread-safe."""

    def __init__(self) -> None:
        self._since: dict[object, float] = {}

    def add(self, code: object) -> None:
        """Note that code was left behind."""
        self._since[code] = time.monotonic()

    def discard(self, code: object) -> None:
        """Note that code has ended."""
        self._since.pop(code, None)

    def count(self, seconds: float) -> int:
        """Return how much code was left behind at least so many seconds ago."""
        before = time.monotonic() - seconds
        return sum(since <= before for since in list(self._since.values()))


left_behind = LeftBehind()
"""The code that was left behind in this process."""


def run_abandonably(call: Callable[[], T], clock: Clock, late: Callable[[], object]) -> T | None:
    """Run ``call`` in a thread of its own and return its result, None where it takes longer.

    The thread cannot be ended; ``late`` is called before it is left behind.
    """
    import contextvars

    box: list[T] = []
    context = contextvars.copy_context()
    over = threading.Event()

    def run() -> None:
        try:
            box.append(context.run(call))
        finally:
            over.set()
            left_behind.discard(over)

    worker = daemon(run, "distgraph-deadline")
    worker.start()
    while worker.is_alive() and (left := clock.left()) > 0:
        worker.join(left)
    if worker.is_alive():
        left_behind.add(over)
        if over.is_set():
            left_behind.discard(over)
        late()
        return None
    return box[0]
