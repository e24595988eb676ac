"""A cable between two virtual network cards that takes its time, and may lose what it carries.

The kernel of a test machine often has no netem. This cable is a thread that reads Ethernet frames
from one card (a TAP device) and writes them to the other one when they are due. Linux only; needs
root and ``/dev/net/tun``.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import threading
import time
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_TAP, _PLAIN = 0x0002, 0x1000
"""Frames of Ethernet, without a head of their own. The kernel then completes their checksums."""

_LARGEST = 1 << 16

_GLANCE = 10.0
"""Milliseconds between two looks whether frames still wait."""

CLONE = "/dev/net/tun"


def card(name: str) -> int:
    """Make a network card. Return its file descriptor; the card ends with it."""
    descriptor = os.open(CLONE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP | _PLAIN))
    return descriptor


class SlowWire:
    """Carries frames between two cards.

    Args:
        names: Of the cards, which are made.
        seconds: For which a frame is on its way, in each direction.
    """

    def __init__(self, names: tuple[str, str], seconds: float) -> None:
        self.seconds = seconds
        self.is_cut = False
        self.is_stalled = False
        """Whether frames wait, of which none is lost."""
        self.loss = 0.0
        """Part of the frames that is lost."""
        self._chance = random.Random(7)
        self._ends = [card(name) for name in names]
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="slow-wire", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the cable and its cards away."""
        os.close(self._stopped)
        self._thread.join()
        for descriptor in (*self._ends, self._stop):
            os.close(descriptor)

    def _carry(self) -> None:
        due: list[tuple[float, int, int, bytes]] = []
        numbers = itertools.count()
        other = dict(zip(self._ends, reversed(self._ends), strict=True))
        poll = select.poll()
        for descriptor in (*self._ends, self._stop):
            poll.register(descriptor, select.POLLIN)
        while True:
            wait = None if not due else max(0.0, due[0][0] - time.monotonic()) * 1000
            if self.is_stalled:
                wait = _GLANCE
            for descriptor, _ in poll.poll(wait):
                if descriptor == self._stop:
                    return
                with suppress(OSError):  # nothing more to read, or the card is down
                    while True:
                        frame = os.read(descriptor, _LARGEST)
                        if not (self.is_cut or self._chance.random() < self.loss):
                            entry = (next(numbers), other[descriptor], frame)
                            heapq.heappush(due, (time.monotonic() + self.seconds, *entry))
            while due and due[0][0] <= time.monotonic() and not self.is_stalled:
                _, _, descriptor, frame = heapq.heappop(due)
                with suppress(OSError):
                    os.write(descriptor, frame)
