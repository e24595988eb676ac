"""Threads for the user's code that the end of the process does not wait for.

``concurrent.futures`` joins every thread of every pool in a process that exits, without a limit. A
node that never returns, left behind by its timeout or its run, would keep the process for ever.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import ctypes
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as _pools
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from distgraph.concurrency.forking import in_forked_process

__all__ = ("DaemonExecutor", "daemon", "elsewhere", "in_thread", "new_loop", "wait_for_idle")

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("distgraph")

MAX_THREADS = 64
"""Threads of one run, and of one event loop."""

_IDLE = 10.0
"""Seconds after which a thread without work ends."""


class _Ours(int):
    """The ``daemon`` flag of our threads. Threads inherit it: what a node starts is known by it."""


_OURS = cast(bool, _Ours(True))


def daemon(target: Callable[[], object], name: str) -> threading.Thread:
    """Return a thread, not started yet, that the end of the process does not wait for.

    Neither does it for threads of pools that ``target`` makes.
    """
    return _Thread(target=target, name=name, daemon=_OURS)


class _Thread(threading.Thread):
    """Shows its name to the system, as threads of Python 3.14 do: ``top -H`` then shows which
    thread is busy."""

    def run(self) -> None:
        if _prctl is not None:
            _prctl(_PR_SET_NAME, self.name.encode()[:_LONGEST_NAME], 0, 0, 0)
        super().run()


_PR_SET_NAME = 15
_LONGEST_NAME = 15
_prctl: Any = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


def elsewhere(call: Callable[[], object]) -> bool:
    """Make a call in a thread of its own. This takes no lock, so that the garbage collector may.

    Return False in an interpreter that ends, which makes no call any more.
    """
    try:
        # `threading` would wait for the new thread
        _thread.start_new_thread(_carry_out, (None, call))
    except RuntimeError:
        return False
    return True


class DaemonExecutor(ThreadPoolExecutor):
    """A thread pool that the end of the process does not wait for.

    It is a ``ThreadPoolExecutor`` by name only: asyncio takes no other as a loop's own executor.
    """

    def __init__(self, max_workers: int = MAX_THREADS, thread_name_prefix: str = "") -> None:
        super().__init__(max_workers, thread_name_prefix)
        self._most = max_workers
        self._prefix = thread_name_prefix
        self._made = 0
        self._closed = False
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Future[Any] | None, Callable[[], Any]]] = deque()
        self._alive = 0
        self._idle = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn(*args, **kwargs)`` in a thread.

        Raises:
            RuntimeError: The pool was shut down.
        """
        future: Future[T] = Future()
        self._add(future, partial(fn, *args, **kwargs))
        return future

    def spawn(self, call: Callable[[], object]) -> None:
        """Make a call in a thread, for no result: a failure is logged.

        Raises:
            RuntimeError: The pool was shut down.
        """
        self._add(None, call)

    def _add(self, future: Future[Any] | None, call: Callable[[], Any]) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError(f"thread pool {self._prefix!r} was shut down")
            self._jobs.append((future, call))
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif self._alive < self._most:
                self._start()

    def lend(self, threads: int) -> None:
        """Allow for more threads than before, or for fewer again: some of those only wait."""
        with self._changed:
            self._most += threads
            if len(self._jobs) > self._idle and self._alive < self._most and not self._closed:
                self._start()

    def _start(self) -> None:
        thread = daemon(self._serve, f"{self._prefix}_{self._made}")
        try:
            thread.start()
        except RuntimeError:  # the system, or an interpreter that ends, has no thread to give
            if not self._alive:
                self._jobs.clear()
                raise
            return
        self._alive += 1
        self._made += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. It does not wait: threads end with what they are doing."""
        with self._changed:
            self._closed = True
            if cancel_futures:
                for future, _ in self._jobs:
                    if future is not None:
                        future.cancel()
                self._jobs.clear()
            self._changed.notify_all()

    def _serve(self) -> None:
        thread = threading.current_thread()
        while (job := self._next()) is not None:
            _at_work.add(thread)
            _carry_out(*job)
            del job  # what it refers to does not live on while the thread waits
            _at_work.discard(thread)

    def _next(self) -> tuple[Future[Any] | None, Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            while not self._jobs and not self._closed:
                if not self._changed.wait(_IDLE):  # else another thread may have taken the job
                    break
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._alive -= 1
            return None


_all: WeakSet[DaemonExecutor] = WeakSet()
_at_work: set[threading.Thread] = set()
_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, DaemonExecutor] = WeakKeyDictionary()


@in_forked_process
def _forget_threads() -> None:
    for each in list(_all):
        each._begin()
    _at_work.clear()


def _carry_out(future: Future[Any] | None, call: Callable[[], Any]) -> None:
    if future is None:
        try:
            call()
        except BaseException:
            logger.exception("a call in a thread failed: %r", call)
        return
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
        del future  # else the traceback would hold it, and it the traceback
    else:
        future.set_result(result)


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As ``asyncio.to_thread``, but neither the process nor ``asyncio.run`` waits for the thread.

    Each loop has threads of its own: a call on one may wait for what runs on another.
    """
    loop = asyncio.get_running_loop()
    executor = _of_loops.get(loop)
    if executor is None:
        executor = _of_loops[loop] = DaemonExecutor(thread_name_prefix="distgraph-thread")
    context = contextvars.copy_context()
    return await loop.run_in_executor(executor, partial(context.run, call, *args, **kwargs))


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop whose own threads the end of the process does not wait for."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(DaemonExecutor(thread_name_prefix="distgraph-thread"))
    return loop


def wait_for_idle(seconds: float) -> None:
    """Wait until no thread runs work, for ``seconds`` at most."""
    until = time.monotonic() + seconds
    while _at_work and time.monotonic() < until:
        time.sleep(0.01)


class _Joined(WeakKeyDictionary[threading.Thread, Any]):
    """The threads of all pools, as the end of the process sees them: without those of nodes."""

    def items(self) -> list[tuple[threading.Thread, Any]]:  # type: ignore[override]
        return [(thread, jobs) for thread, jobs in super().items() if not _is_ours(thread)]


def _is_ours(thread: threading.Thread) -> bool:
    flag: Any = thread.daemon
    return isinstance(flag, _Ours)


def _release() -> None:
    """Let the process join no thread of a pool that a node has made, or makes from here on."""
    with _pools._global_shutdown_lock:
        _pools._threads_queues = _Joined(_pools._threads_queues)


# private, and the only way: a hook ahead of the pools' own, and what that goes by
if all(hasattr(_pools, name) for name in ("_global_shutdown_lock", "_threads_queues")):
    with suppress(AttributeError):
        threading._register_atexit(_release)  # type: ignore[attr-defined]
