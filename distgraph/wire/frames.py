"""Frames: how messages stand in a stream of bytes. Pure.

A frame is a header (length, kind, number of parts), the lengths of its parts if there are several,
and the parts. A part is never joined with others or copied by the sender.

A large frame that others need not wait for is sent in pieces, with other frames between them. The
contents of all pieces make a stream of frames of its own.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = (
    "CREDIT",
    "FIRST_FREE",
    "LINE",
    "PIECE",
    "Frame",
    "FrameError",
    "FrameReader",
    "LineReader",
    "encode",
    "piece",
)

_HEADER = struct.Struct("!QBI")
"""Bytes after the header, kind, number of parts."""

_LENGTH = struct.Struct("!Q")

CREDIT = 0
"""Kind of the frames by which a receiver says how many bytes it has consumed."""

GREETING = 1
"""Kind of the frames of the greeting."""

LINE = 2
"""Kind of the lines of a connection that carries lines of text after the greeting."""

PIECE = 3
"""Kind of the frames that are pieces of others."""

FIRST_FREE = 16
"""The kinds from here on belong to the users of a connection."""

_INLINE = 1 << 16
"""Bytes of a frame from which the frame is read into memory of its own."""

_MAPPED = 32 << 20
"""Bytes of a frame from which its memory is the system's own. A ``bytearray`` would be filled with
zeros first, and all threads would wait for that. Smaller ones get memory that was freed before."""

Bytes = bytes | bytearray | memoryview


class FrameError(ValueError):
    """The bytes are not frames, or a frame is larger than allowed."""


class Frame(NamedTuple):
    """A message."""

    kind: int
    parts: Sequence[Bytes]
    size: int
    """Bytes of the frame on the connection."""


def encode(kind: int, parts: Sequence[Bytes]) -> tuple[bytes, int]:
    """Return what goes before the parts of a frame, and the size of the whole frame in bytes."""
    count = len(parts)
    if count == 0:
        raise ValueError("a frame has at least one part")
    sizes = [len(part) for part in parts]
    lengths = b"" if count == 1 else b"".join(map(_LENGTH.pack, sizes))
    rest = len(lengths) + sum(sizes)
    return _HEADER.pack(rest, kind, count) + lengths, _HEADER.size + rest


def piece(size: int) -> bytes:
    """Return what goes before a piece of ``size`` bytes."""
    return _HEADER.pack(size, PIECE, 1)


def _memory(size: int) -> memoryview:
    if size < _MAPPED or sys.platform == "win32":
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE))


class FrameReader:
    """Makes frames of the bytes that arrive.

    Args:
        limit: Most bytes of one frame. It can be raised later, for what was not fed yet.
        has_pieces: Whether frames may come in pieces.
    """

    def __init__(self, limit: int, *, has_pieces: bool = False) -> None:
        self.limit = limit
        self._has_pieces = has_pieces
        self._buffer = bytearray()
        self._large: memoryview | None = None
        """A frame that is read into memory of its own, and the bytes of it that are there."""
        self._filled = 0
        self._head = (0, 0, 0)
        self._pieces: FrameReader | None = None
        """Makes frames of pieces, once there were any."""
        self._piece = 0
        """Bytes that are missing of the piece that comes now."""

    def target(self) -> memoryview | None:
        """Return where the next bytes are to be written, if they belong to one large frame."""
        if self._piece and self._pieces is not None:
            within = self._pieces.target()
            return None if within is None else within[: self._piece]
        return None if self._large is None else self._large[self._filled :]

    @property
    def at_once(self) -> int:
        """Bytes to read at once where there is no ``target``, 0 for any number: those behind the
        header of a piece are not to be copied."""
        is_between = self._pieces is not None and self._pieces.target() is not None
        return _HEADER.size if is_between and not self._buffer else 0

    def wrote(self, count: int) -> Iterator[Frame]:
        """Note that ``count`` bytes were written to ``target``. Return the frame if complete."""
        if self._piece and self._pieces is not None:
            self._piece -= count
            yield from self._pieces.wrote(count)
            return
        assert self._large is not None
        self._filled += count
        if self._filled == len(self._large):
            payload, self._large = self._large, None
            yield self._frame(payload)

    @property
    def missing(self) -> int:
        """Bytes that are missing to the end of a header, or of the frame if that is known."""
        there = len(self._buffer)
        if there < _HEADER.size:
            return _HEADER.size - there
        return int(_HEADER.unpack_from(self._buffer)[0]) + _HEADER.size - there

    def left(self) -> bytes:
        """Return the bytes behind the last frame."""
        return bytes(self._buffer)

    def feed(self, data: Bytes) -> Iterator[Frame]:
        """Return the frames that are complete with ``data``.

        Raises:
            FrameError: The bytes are not frames, or a frame is too large.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while True:
                if self._piece and at < len(buffer):
                    part = bytes(memoryview(buffer)[at : at + self._piece])
                    at += len(part)
                    self._piece -= len(part)
                    yield from self._of_pieces(part)
                if len(buffer) - at < _HEADER.size:
                    return
                rest, kind, count = _HEADER.unpack_from(buffer, at)
                if rest > self.limit:
                    raise FrameError(f"a frame of {rest} bytes, where {self.limit} are allowed")
                if count == 0:
                    raise FrameError("a frame without parts")
                start = at + _HEADER.size
                if kind == PIECE and self._has_pieces:
                    self._piece, at = rest, start
                    continue
                there = len(buffer) - start
                self._head = rest, kind, count
                if there >= rest:
                    at = start + rest
                    yield self._frame(bytes(memoryview(buffer)[start:at]))
                elif rest >= _INLINE:
                    self._large = _memory(rest)
                    self._large[:there] = memoryview(buffer)[start:]
                    self._filled = there
                    at = len(buffer)
                else:
                    return
        finally:
            del buffer[:at]

    def _of_pieces(self, part: bytes) -> Iterator[Frame]:
        """Return the frames that are complete with a part of a piece."""
        if self._pieces is None:
            self._pieces = FrameReader(self.limit)
        target = self._pieces.target()
        if target is not None:
            count = min(len(target), len(part))
            target[:count] = part[:count]
            yield from self._pieces.wrote(count)
            part = part[count:]
        if part:
            yield from self._pieces.feed(part)

    def _frame(self, payload: bytes | memoryview) -> Frame:
        rest, kind, count = self._head
        size = rest + _HEADER.size
        if count == 1:
            return Frame(kind, (payload,), size)
        at = count * _LENGTH.size
        if at > rest:
            raise FrameError("the lengths of the parts are cut off")
        view = memoryview(payload)
        parts: list[Bytes] = []
        for number in range(count):
            (length,) = _LENGTH.unpack_from(payload, number * _LENGTH.size)
            if length > rest - at:
                raise FrameError("a part is longer than its frame")
            parts.append(view[at : at + length])
            at += length
        if at != rest:
            raise FrameError("the parts are shorter than their frame")
        return Frame(kind, parts, size)


class LineReader:
    """Makes frames of lines of text, each without its end.

    Args:
        limit: Most bytes of one line.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = b""

    def feed(self, data: Bytes) -> Iterator[Frame]:
        """Return the lines that are complete with ``data``.

        Raises:
            FrameError: A line is too long.
        """
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        for line in lines:
            yield Frame(LINE, (line,), 0)
        if len(self._rest) > self.limit:
            raise FrameError(f"a line of more than {self.limit} bytes")

    at_once = 0
    """Bytes to read at once: any number."""

    def target(self) -> None:
        """Return nothing: lines are read through the buffer of the connection."""

    def wrote(self, count: int) -> Iterator[Frame]:
        """Return nothing, as there is no target."""
        return iter(())
