"""Ending a synchronous attempt that runs for too long, for certain.

In the main thread of a process of its own, a signal interrupts it, blocking calls included; if it
resists, the process ends. In a thread of a shared process it can only be left behind.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

GRACE = 1.0
"""Seconds between the interruption and the end of the process."""

_SIGNAL = signal.SIGUSR2
"""Not SIGINT: worker processes ignore it, so that Ctrl-C is the caller's alone."""

EXIT_CODE = 70
"""Exit code of a process that ended because its attempt could not be interrupted."""


def run_interruptibly(call: Callable[[], T], seconds: float) -> tuple[T | None, bool]:
    """Run ``call`` in the main thread. Return its result and whether it was interrupted.

    ``call`` gets a ``KeyboardInterrupt`` after ``seconds``. The process ends ``GRACE`` seconds
    later if that does not end the call. Use it only where the process has nothing else to do.
    """
    lock = threading.Lock()
    over = threading.Event()
    fired = False
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        nonlocal fired
        if over.wait(seconds):
            return
        with lock:
            if over.is_set():
                return
            fired = True
            signal.pthread_kill(main, _SIGNAL)
        if not over.wait(GRACE):
            os._exit(EXIT_CODE)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(_SIGNAL, interrupt)
    threading.Thread(target=watch, name="distgraph-deadline", daemon=True).start()
    result: T | None = None
    try:
        try:
            result = call()
        finally:
            with lock:
                over.set()  # no signal is sent from here on
    except KeyboardInterrupt:
        if not fired:  # somebody else's: a cancelled run
            raise
    with suppress(KeyboardInterrupt):
        threading.Event().wait(0.001 if fired else 0)  # one that was sent lands here at the latest
    signal.signal(_SIGNAL, previous)
    return result, fired


def run_abandonably(call: Callable[[], T], seconds: float, late: Callable[[], object]) -> T | None:
    """Run ``call`` in a thread of its own and return its result, None where it takes longer.

    The thread cannot be ended; ``late`` is called before it is left behind.
    """
    import contextvars

    box: list[T] = []
    context = contextvars.copy_context()
    worker = threading.Thread(
        target=lambda: box.append(context.run(call)), name="distgraph-deadline", daemon=True
    )
    worker.start()
    worker.join(seconds)
    if worker.is_alive():
        late()
        return None
    return box[0]
