"""What a forked process must not inherit: threads do not live on in it, and sockets are shared.

``multiprocessing`` forks by default on Linux before Python 3.14, as do servers that load a program
before they fork (``gunicorn --preload``) and Celery. Every module that keeps threads, or what
belongs to a connection, for the whole process starts anew in a forked one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ("free_in_forks", "in_forked_process")

C = TypeVar("C", bound=Callable[[], object])
L = TypeVar("L")


def in_forked_process(call: C) -> C:
    """Make a call in each process that is forked from this one, before its own code goes on.

    The call must not wait for a lock: the thread that holds it may not exist in the forked process.
    A decorator.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=call)
    return call


def free_in_forks(lock: L) -> L:
    """Return a lock that nobody holds in a process forked from this one.

    Another thread of this process may hold it at that moment, and there is no such thread in the
    forked process. For locks that live as long as the process.

    Args:
        lock: A ``Lock`` or an ``RLock``.
    """
    renewed: Any = lock
    in_forked_process(renewed._at_fork_reinit)
    return lock
