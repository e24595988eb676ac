"""Sets back what a node has changed in its process, before the next node of any run finds it.

For processes that run one attempt at a time. Files and sockets that a node closes which it did not
open are beyond repair, except standard input, output and error.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` without its enumerations, 100 times as fast
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ("Tidying",)

logger = logging.getLogger("distgraph")

_SIGNALS = tuple(
    int(getattr(signal, name))
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

_HAS_TIMER = hasattr(signal, "getitimer")
_ITIMER = int(getattr(signal, "ITIMER_REAL", 0))

_STREAMS = ("stdin", "stdout", "stderr")

_FIRST_COPY = 200
"""Least number of the copies of the standard files, which a node that closes some rarely closes."""


class Tidying:
    """Sets back what the code inside of a ``with`` statement has changed in its process: at the
    next ``tidy``, and before the next such statement.

    Set back are: the working directory; environment variables that existed before; the umask;
    signal handlers and a pending alarm; ``sys.stdin``, ``sys.stdout``, ``sys.stderr`` and the files
    behind them. New environment variables stay: modules set such variables once, at their import.

    Only the main thread may use it, as only this thread may set signal handlers.
    """

    def __init__(self) -> None:
        self._copies = _copies()
        self._is_known = False
        """Whether the code before this one has changed nothing: what was kept then still counts."""
        self._is_due = False
        """Whether code has run since the last ``tidy``."""

    def begin(self) -> None:
        """Look at the process anew before the next code: its owner may have changed it."""
        self._is_known = False

    def __enter__(self) -> None:
        self.tidy()
        if self._is_known:
            return
        self._environment = dict(os.environ._data)  # type: ignore[attr-defined]  # 30 times as fast
        self._umask = _umask()
        self._before = _state()

    def __exit__(self, *exc_info: object) -> None:
        self._is_due = True

    def tidy(self) -> None:
        """Set back what code has changed, if some has run."""
        if not self._is_due:
            return
        self._is_due = False
        environment = os.environ._data  # type: ignore[attr-defined]
        umask = os.umask(self._umask)
        if umask == self._umask and environment == self._environment and _state() == self._before:
            self._is_known = True
            return
        self._is_known = False
        changed: list[str] = []
        for what, restore in (
            ("the working directory", self._restore_folder),
            ("environment variables", self._restore_environment),
            ("the umask", lambda: umask != self._umask),
            ("signal handlers", self._restore_handlers),
            ("an alarm", self._restore_alarm),
            ("the standard files", self._restore_files),
            ("sys.stdin, sys.stdout or sys.stderr", self._restore_streams),
        ):
            _try(what, restore, changed)
        if changed:
            logger.info("a node has changed %s of its process, set back now", ", ".join(changed))

    def _restore_folder(self) -> bool:
        folder = self._before.folder
        if folder is None or _folder() == folder:
            return False
        os.chdir(folder)
        return True

    def _restore_environment(self) -> bool:
        now = os.environ._data  # type: ignore[attr-defined]
        if now == self._environment:
            return False
        lost = {key: value for key, value in self._environment.items() if now.get(key) != value}
        for key, value in lost.items():
            os.environ[os.fsdecode(key)] = os.fsdecode(value)
        return bool(lost)

    def _restore_handlers(self) -> bool:
        found = False
        for number, handler in zip(_SIGNALS, self._before.handlers, strict=True):
            if handler is not None and _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
                found = True
        return found

    def _restore_alarm(self) -> bool:
        if self._before.has_alarm or not _has_alarm():
            return False
        signal.setitimer(signal.ITIMER_REAL, 0)
        return True

    def _restore_files(self) -> bool:
        found = False
        for number, before in enumerate(self._before.files):
            if before is not None and _identity(number) != before and number in self._copies:
                os.dup2(self._copies[number], number)
                found = True
        return found

    def _restore_streams(self) -> bool:
        found = False
        for name, before in zip(_STREAMS, self._before.streams, strict=True):
            if getattr(sys, name) is not before:
                setattr(sys, name, before)
                found = True
        return found


class _State(NamedTuple):
    """What a node may change, apart from environment variables and the umask."""

    folder: str | None
    handlers: tuple[Any, ...]
    has_alarm: bool
    streams: tuple[Any, ...]
    files: tuple[tuple[Any, ...] | None, ...]


def _state() -> _State:
    # between any two attempts: as few calls of Python code as can be
    try:
        folder: str | None = os.getcwd()
        files: tuple[Any, ...] = os.fstat(0)[1:3], os.fstat(1)[1:3], os.fstat(2)[1:3]
    except OSError:
        folder, files = _folder(), (_identity(0), _identity(1), _identity(2))
    return _State(
        folder,
        tuple(map(_signal.getsignal, _SIGNALS)),
        _has_alarm(),
        (sys.stdin, sys.stdout, sys.stderr),
        files,
    )


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
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _has_alarm() -> bool:
    return _HAS_TIMER and _signal.getitimer(_ITIMER)[0] > 0


def _identity(number: int) -> tuple[Any, ...] | None:
    """Return what identifies an open file, inode and device; None for a closed one."""
    try:
        return os.fstat(number)[1:3]
    except OSError:
        return None
