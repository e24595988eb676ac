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
    """Measures one attempt, from its construction to ``end``."""

    def __init__(self) -> None:
        global _running, _crowds
        with _lock:
            _running += 1
            self._alone = _running == 1
            _crowds += not self._alone
            self._crowds = _crowds
        self._process, self._thread = time.process_time(), time.thread_time()

    def end(self, *, on_loop: bool) -> float:
        """Return CPU seconds: of the process, where no other attempt ran in it meanwhile.

        Else of the thread; 0.0 on an event loop (``on_loop``), which attempts share.
        """
        global _running
        with _lock:
            _running -= 1
            alone = self._alone and self._crowds == _crowds
        if alone:
            return time.process_time() - self._process
        return 0.0 if on_loop else time.thread_time() - self._thread
