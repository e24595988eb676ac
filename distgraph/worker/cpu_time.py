"""CPU time of attempts, as far as other work in the process can be separated from it."""

from __future__ import annotations

import threading
import time

from distgraph.concurrency.forking import free_in_forks

__all__ = ("CpuTime",)

_lock = free_in_forks(threading.Lock())
_running = 0
_crowds = 0
"""Times that an attempt began while another ran in the process."""


class CpuTime:
    """Measures one attempt, from its construction to ``end``.

    Args:
        on_loop: Whether it runs on an event loop, which attempts share.
    """

    def __init__(self, *, on_loop: bool = False) -> None:
        global _running, _crowds
        with _lock:
            _running += 1
            alone = _running == 1
            _crowds += not alone
            self._crowds = _crowds
        # each is a call of the system: only what ``end`` may need
        self._process = time.process_time() if alone else None
        self._thread = None if on_loop else time.thread_time()

    def end(self) -> float:
        """Return CPU seconds: of the process, where no other attempt ran in it meanwhile.

        Else of the thread; 0.0 on an event loop.
        """
        global _running
        with _lock:
            _running -= 1
            alone = self._crowds == _crowds
        if alone and self._process is not None:
            return time.process_time() - self._process
        return 0.0 if self._thread is None else time.thread_time() - self._thread
