"""Notices that code of users has closed or replaced files of its process which it had not opened.

A process works on as far as possible with what is left: it sends what came of the code, and is then
replaced. Connections of distgraph are looked after by the connections themselves.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from distgraph.wire.dialing import is_local_name

__all__ = ("Descriptors",)

_OPEN = "/proc/self/fd"
_STANDARD = 3
"""Standard input, output and error are set back instead."""


class _File(NamedTuple):
    """What a file descriptor stood for."""

    device: int
    inode: int
    text: str
    is_kept: bool
    """Whether the descriptor stands for the same file as long as the process lives. A log file does
    not: it is followed by another one."""


class Descriptors:
    """The file descriptors of this process at the time when this is made, before code of users.

    Left out are: files that are only read, devices, and connections over a network, which their
    owners close at any time. Without ``/proc``, nothing is noticed. Any thread may look.
    """

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._poll: select.poll | None = None
        self._lock = threading.Lock()  # a ``select.poll`` refuses a second thread
        self.damage = ""
        """What has happened to which of them, "" if nothing has."""
        self._looked = time.monotonic()
        """When it was last looked closely."""
        self._seen = float("-inf")
        """When it was last looked."""
        with suppress(OSError, AttributeError):  # no /proc, or no poll
            self._poll = select.poll()
            for number in map(int, os.listdir(_OPEN)):
                found = _file(number) if number >= _STANDARD else None
                if found is not None:
                    self._files[number] = found
                    self._poll.register(number, 0)

    def begin(self, pause: float = 0.0) -> None:
        """Forget what its owner has closed since the last look: code of users begins now.

        Args:
            pause: Seconds behind a look for which its owner is taken to close nothing.
        """
        if time.monotonic() < self._seen + pause:
            return
        with self._lock:
            for number in self._closed():
                self._forget(number)

    def look(self, pause: float = 0.0) -> str:
        """Look what code of users has done, which has ended. Return ``damage``.

        Args:
            pause: Seconds behind a close look in which only closed files are found, and no replaced
                ones: a close look takes ten times as long, about 0.05 ms.
        """
        with self._lock:
            if not self.damage:
                lost = [(number, "closed") for number in self._closed()]
                now = self._seen = time.monotonic()
                if now >= self._looked + pause:
                    self._looked = now
                    lost += [
                        (number, "replaced")
                        for number, file in self._files.items()
                        if file.is_kept and _is_other(number, file)
                    ]
                self.damage = ", ".join(
                    f"{number} ({self._files[number].text}) was {what}" for number, what in lost
                )
        return self.damage

    def _closed(self) -> list[int]:
        """Return which are closed. One call of the system for all of them."""
        if self._poll is None or not self._files:
            return []
        return [number for number, event in self._poll.poll(0) if event & select.POLLNVAL]

    def _forget(self, number: int) -> None:
        del self._files[number]
        assert self._poll is not None
        self._poll.unregister(number)


def _file(number: int) -> _File | None:
    """Return what a descriptor stands for, None if it is not looked after."""
    try:
        status = os.fstat(number)
        text = os.readlink(f"{_OPEN}/{number}")
    except OSError:  # that of the listing itself
        return None
    if stat.S_ISCHR(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return None
    is_file = stat.S_ISREG(status.st_mode)
    if is_file and not _is_written(number):
        return None
    if stat.S_ISSOCK(status.st_mode) and _is_connection(number):
        return None
    return _File(status.st_dev, status.st_ino, text, not is_file)


def _is_written(number: int) -> bool:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _is_connection(number: int) -> bool:
    """Whether a socket is a connection over a network, or will be one, or is one of distgraph."""
    with socket.socket(fileno=os.dup(number)) as sock:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            return not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        with suppress(OSError):
            return is_local_name(sock.getpeername()) or is_local_name(sock.getsockname())
        return False


def _is_other(number: int, file: _File) -> bool:
    try:
        status = os.fstat(number)
    except OSError:
        return False  # it is closed, and was found as such
    return (status.st_dev, status.st_ino) != (file.device, file.inode)
