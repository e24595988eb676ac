"""Sets back what a node has changed in its process, before the next node of any run finds it.

For processes that run one attempt at a time. Files and sockets that a node closes which it did not
open are beyond repair, except standard input, output and error.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

__all__ = ("Tidying",)

logger = logging.getLogger("distgraph")

_SIGNALS = tuple(
    getattr(signal, name)
    for name in (
        "SIGINT",
        "SIGTERM",
        "SIGALRM",
        "SIGUSR1",
        "SIGUSR2",
        "SIGHUP",
        "SIGCHLD",
        "SIGPIPE",
    )
    if hasattr(signal, name)
)

_STREAMS = ("stdin", "stdout", "stderr")

_FIRST_COPY = 200
"""Least number of the copies of the standard files, which a node that closes some rarely closes."""


class Tidying:
    """Sets back what the code inside of a ``with`` statement has changed in its process.

    Set back are: the working directory; environment variables that existed before; the umask;
    signal handlers and a pending alarm; ``sys.stdin``, ``sys.stdout``, ``sys.stderr`` and the files
    behind them. New environment variables stay: modules set such variables once, at their import.

    Only the main thread may use it, as only this thread may set signal handlers.
    """

    def __init__(self) -> None:
        self._copies = _copies()

    def __enter__(self) -> None:
        self._folder = _folder()
        self._environment = dict(os.environ._data)  # type: ignore[attr-defined]  # 30 times as fast
        self._umask = _umask()
        self._handlers = [signal.getsignal(number) for number in _SIGNALS]
        self._has_alarm = _has_alarm()
        self._streams = [getattr(sys, name) for name in _STREAMS]
        self._files = [_identity(number) for number in range(len(_STREAMS))]

    def __exit__(self, *exc_info: object) -> None:
        changed: list[str] = []
        for what, restore in (
            ("the working directory", self._restore_folder),
            ("environment variables", self._restore_environment),
            ("the umask", self._restore_umask),
            ("signal handlers", self._restore_handlers),
            ("an alarm", self._restore_alarm),
            ("the standard files", self._restore_files),
            ("sys.stdin, sys.stdout or sys.stderr", self._restore_streams),
        ):
            _try(what, restore, changed)
        if changed:
            logger.info("a node has changed %s of its process, set back now", ", ".join(changed))

    def _restore_folder(self) -> bool:
        if self._folder is None or _folder() == self._folder:
            return False
        os.chdir(self._folder)
        return True

    def _restore_environment(self) -> bool:
        now = os.environ._data  # type: ignore[attr-defined]
        if now == self._environment:
            return False
        lost = {key: value for key, value in self._environment.items() if now.get(key) != value}
        for key, value in lost.items():
            os.environ[os.fsdecode(key)] = os.fsdecode(value)
        return bool(lost)

    def _restore_umask(self) -> bool:
        return os.umask(self._umask) != self._umask

    def _restore_handlers(self) -> bool:
        found = False
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
                found = True
        return found

    def _restore_alarm(self) -> bool:
        if self._has_alarm or not _has_alarm():
            return False
        signal.setitimer(signal.ITIMER_REAL, 0)
        return True

    def _restore_files(self) -> bool:
        found = False
        for number, before in enumerate(self._files):
            if before is not None and _identity(number) != before and number in self._copies:
                os.dup2(self._copies[number], number)
                found = True
        return found

    def _restore_streams(self) -> bool:
        found = False
        for name, before in zip(_STREAMS, self._streams, strict=True):
            if getattr(sys, name) is not before:
                setattr(sys, name, before)
                found = True
        return found


def _try(what: str, restore: Callable[[], bool], changed: list[str]) -> None:
    try:
        if restore():
            changed.append(what)
    except (OSError, ValueError) as error:
        logger.warning("a node has changed %s, which cannot be set back: %s", what, error)


def _copies() -> dict[int, int]:
    """Return copies of the standard files that are open, by their numbers."""
    copies: dict[int, int] = {}
    try:
        import fcntl
    except ImportError:  # not on Windows
        return copies
    for number in range(len(_STREAMS)):
        with suppress(OSError):
            copies[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST_COPY)
    return copies


def _folder() -> str | None:
    with suppress(OSError):  # it was removed
        return os.getcwd()
    return None


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _has_alarm() -> bool:
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _identity(number: int) -> tuple[int, int] | None:
    """Return what identifies an open file; None for a closed one."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
