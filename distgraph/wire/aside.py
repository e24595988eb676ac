"""Frames that are sent in pieces, so that small ones need not wait for large ones. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from distgraph.wire.frames import Bytes, piece

__all__ = ("PIECES", "PIECE_SIZE", "Aside")

PIECE_SIZE = 256 << 10
"""Bytes of a piece at most: what a small frame may have to wait for."""

PIECES = 4
"""Pieces that are handed to the system in a row, before other connections get their turn."""


class Aside:
    """Frames on their way, one after the other."""

    def __init__(self) -> None:
        self._frames: deque[deque[memoryview]] = deque()
        """What is left of each frame."""
        self._added = 0
        self.done = 0
        """How many frames were taken whole."""

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, head: bytes, parts: Sequence[Bytes]) -> int:
        """Add a frame. Return its number, from 1."""
        views = (memoryview(part).cast("B") for part in (head, *parts) if len(part))
        self._frames.append(deque(views))
        self._added += 1
        return self._added

    def piece(self) -> Iterator[memoryview]:
        """Take the next piece, with what goes before it."""
        left, taken = PIECE_SIZE, list[memoryview]()
        while left and self._frames:
            views = self._frames[0]
            view = views.popleft()
            taken.append(view[:left])
            if len(view) > left:
                views.appendleft(view[left:])
            left -= len(taken[-1])
            if not views:
                self._frames.popleft()
                self.done += 1
        yield memoryview(piece(PIECE_SIZE - left))
        yield from taken

    def clear(self) -> None:
        """Forget all frames."""
        self._frames.clear()
