"""Options of sockets, and what their file descriptors stand for."""

from __future__ import annotations

import os
import socket
import struct
import sys

__all__ = ("file_of", "process_behind", "tune")

_IDLE, _INTERVAL, _PROBES = 10, 5, 3
"""Keep-alive: seconds of silence before the first probe, between probes, and probes until the other
side counts as lost."""

_RTO_MAX_MS, _SLOWEST = 44, 1000
"""An option of Linux 6.15, and milliseconds: what was not acknowledged is sent again as often.
Without it, a network that was gone for a while is found again after as long again."""

_THIN_LINEAR = 16
"""An option of older versions: the first six times that a small frame is sent again, the system
waits equally long, instead of twice as long each time."""

_LOCAL_BUFFER = 1 << 20
"""Bytes that a Unix socket takes at once, or as many as the system allows. For each part of a large
frame, the two processes wake each other. TCP chooses its buffers by itself."""


def file_of(descriptor: int) -> tuple[int, int] | None:
    """Return device and inode of a file descriptor, None where it is closed."""
    try:
        status = os.fstat(descriptor)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


_CREDENTIALS = struct.Struct("3i")


def process_behind(sock: socket.socket) -> int | None:
    """Return the process on the other side, None where it is on another machine, or not known."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or sock.family != socket.AF_UNIX:
        return None
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None
    return int(_CREDENTIALS.unpack(found)[0]) or None


def tune(sock: socket.socket) -> None:
    """Send small frames at once, large ones in few parts, and notice a machine that is gone."""
    if sock.family == getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_BUFFER)
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE),
        ("TCP_KEEPINTVL", _INTERVAL),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", (_IDLE + _INTERVAL * _PROBES) * 1000),
    ):
        if hasattr(socket, name):  # not every system has each
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if sys.platform == "linux":
        try:
            sock.setsockopt(socket.IPPROTO_TCP, _RTO_MAX_MS, _SLOWEST)
        except OSError:
            sock.setsockopt(socket.IPPROTO_TCP, _THIN_LINEAR, 1)
