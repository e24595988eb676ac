"""Frames: how messages stand in a stream of bytes. Pure.

A frame is a header (length, kind, number of parts), the lengths of its parts if there are several,
and the parts. A part is never joined with others or copied by the sender.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = (
    "CREDIT",
    "FIRST_FREE",
    "LINE",
    "Frame",
    "FrameError",
    "FrameReader",
    "LineReader",
    "encode",
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

FIRST_FREE = 16
"""The kinds from here on belong to the users of a connection."""

_INLINE = 1 << 16
"""Bytes of a frame from which the frame is read into memory of its own."""

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


class FrameReader:
    """Makes frames of the bytes that arrive.

    Args:
        limit: Most bytes of one frame. It can be raised later, for what was not fed yet.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._large: bytearray | None = None
        """A frame that is read into memory of its own, and the bytes of it that are there."""
        self._filled = 0
        self._head = (0, 0, 0)

    def target(self) -> memoryview | None:
        """Return where the next bytes are to be written, if they belong to one large frame."""
        return None if self._large is None else memoryview(self._large)[self._filled :]

    def wrote(self, count: int) -> Iterator[Frame]:
        """Note that ``count`` bytes were written to ``target``. Return the frame if complete."""
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
            while len(buffer) - at >= _HEADER.size:
                rest, kind, count = _HEADER.unpack_from(buffer, at)
                if rest > self.limit:
                    raise FrameError(f"a frame of {rest} bytes, where {self.limit} are allowed")
                if count == 0:
                    raise FrameError("a frame without parts")
                start = at + _HEADER.size
                there = len(buffer) - start
                self._head = rest, kind, count
                if there >= rest:
                    at = start + rest
                    yield self._frame(bytes(memoryview(buffer)[start:at]))
                elif rest >= _INLINE:
                    self._large = bytearray(rest)
                    self._large[:there] = memoryview(buffer)[start:]
                    self._filled = there
                    at = len(buffer)
                else:
                    return
        finally:
            del buffer[:at]

    def _frame(self, payload: bytes | bytearray) -> Frame:
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

    def target(self) -> None:
        """Return nothing: lines are read through the buffer of the connection."""

    def wrote(self, count: int) -> Iterator[Frame]:
        """Return nothing, as there is no target."""
        return iter(())
