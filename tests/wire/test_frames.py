"""Frames in a stream of bytes that arrives in pieces of any size."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgraph.wire import aside
from distgraph.wire.aside import Aside
from distgraph.wire.frames import PIECE, FrameError, FrameReader, encode, piece

LIMIT = 1 << 20
Message = tuple[int, list[bytes]]
messages = st.lists(
    st.tuples(st.integers(0, 255), st.lists(st.binary(max_size=200), min_size=1, max_size=5)),
    max_size=8,
)


def written(sent: list[Message]) -> bytes:
    return b"".join(encode(kind, parts)[0] + b"".join(parts) for kind, parts in sent)


def read(reader: FrameReader, data: bytes) -> list[Message]:
    """Read as a connection does: large frames into their own memory."""
    found = []
    while data:
        target = reader.target()
        if target is None:
            found += list(reader.feed(data[:100_000]))
            data = data[100_000:]
        else:
            count = min(len(target), len(data))
            target[:count] = data[:count]
            found += list(reader.wrote(count))
            data = data[count:]
    return [(frame.kind, [bytes(part) for part in frame.parts]) for frame in found]


@given(messages, st.lists(st.integers(1, 400), min_size=1))
def test_frames_are_read_as_written_in_pieces_of_any_size(sent, sizes):
    stream, reader, got, at, turn = written(sent), FrameReader(LIMIT), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        got += read(reader, stream[at : at + size])
        at, turn = at + size, turn + 1
    assert got == sent


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 900_000])
def test_large_frames_are_read_whole_and_what_follows_too(size):
    sent = [(20, [b"a" * size]), (21, [b"b", b"c" * size]), (22, [b"end"])]
    assert read(FrameReader(LIMIT * 2), written(sent)) == sent


def test_the_size_of_a_frame_counts_all_of_its_bytes():
    head, size = encode(20, [b"ab", b"", b"cde"])
    assert size == len(head) + 5
    (frame,) = FrameReader(LIMIT).feed(head + b"abcde")
    assert frame.size == size


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!QBI", LIMIT + 1, 20, 1),
        struct.pack("!QBI", 2**64 - 1, 20, 1),
        struct.pack("!QBI", 4, 20, 0),
        struct.pack("!QBI", 4, 20, 2) + b"1234",
        struct.pack("!QBIQQ", 16, 20, 2, 2**63, 2**63),
        struct.pack("!QBIQQ", 18, 20, 2, 0, 1) + b"12",
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    ],
    ids=["above the limit", "huge", "no parts", "cut lengths", "long part", "short parts", "http"],
)
def test_what_is_no_frame_is_refused_before_any_memory_is_taken(data):
    reader = FrameReader(LIMIT)
    with pytest.raises(FrameError):
        list(reader.feed(data))
    assert reader.target() is None


@given(st.binary(max_size=500))
def test_garbage_is_an_error_or_a_frame_and_nothing_else(data):
    try:
        for frame in FrameReader(LIMIT).feed(data):
            assert frame.size <= LIMIT + 10
    except FrameError:
        pass


def test_a_frame_has_as_many_parts_as_are_given():
    sent = [(20, [b"%d" % number for number in range(70_000)]), (21, [b"end"])]
    assert read(FrameReader(LIMIT), written(sent)) == sent


def test_a_frame_has_at_least_one_part():
    with pytest.raises(ValueError, match="at least one part"):
        encode(20, [])


# --- pieces ---------------------------------------------------------------------------------------


def read_through(reader: FrameReader, data: bytes, most: int) -> list[tuple[int, list[bytes]]]:
    """Read as a connection does: ``most`` bytes at once, and large frames where they belong."""
    found = []
    at = 0
    while at < len(data):
        target = reader.target()
        if target is None:
            some = data[at : at + (reader.at_once or most)]
            frames = reader.feed(some)
        else:
            some = data[at : at + min(most, len(target))]
            target[: len(some)] = some
            frames = reader.wrote(len(some))
        at += len(some)
        found += [(frame.kind, [bytes(part) for part in frame.parts]) for frame in frames]
    return found


@pytest.mark.parametrize("most", [1, 7, 1000, 70_000, 1 << 20])
def test_frames_in_pieces_arrive_in_order_and_small_ones_between(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    size = 20 if most < 1000 else 30_000
    monkeypatch.setattr(aside, "PIECE_SIZE", size)
    sent, large = Aside(), [bytes([n]) * (size * n) for n in range(1, 5)]
    sent.add(*whole(20, large[0], large[1]))
    sent.add(*whole(21, b"", large[2]))
    sent.add(*whole(22, large[3]))
    data, small = bytearray(), 0
    while sent:
        data += b"".join(sent.piece())
        data += framed(30, b"%d" % small)
        small += 1
    found = read_through(FrameReader(1 << 30, has_pieces=True), bytes(data), most)
    assert [frame for frame in found if frame[0] < 30] == [
        (20, [large[0], large[1]]),
        (21, [b"", large[2]]),
        (22, [large[3]]),
    ]
    assert [parts for kind, parts in found if kind == 30] == [[b"%d" % n] for n in range(small)]
    assert sent.done == 3
    assert small > 10


def whole(kind: int, *parts: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    return encode(kind, parts)[0], parts


def framed(kind: int, *parts: bytes) -> bytes:
    return encode(kind, parts)[0] + b"".join(parts)


def test_a_frame_in_pieces_is_no_larger_than_allowed_and_comes_behind_the_greeting_only() -> None:
    head, parts = whole(20, b"x" * 200)
    data = piece(50) + (head + parts[0])[:50]
    with pytest.raises(FrameError, match="a frame of 200 bytes, where 100 are allowed"):
        list(FrameReader(100, has_pieces=True).feed(data))
    (frame,) = FrameReader(1 << 20).feed(data)
    assert frame.kind == PIECE


def test_what_is_large_is_read_into_memory_of_the_system() -> None:
    size = 40 << 20
    reader = FrameReader(1 << 30)
    assert list(reader.feed(encode(20, [b"x" * size])[0])) == []
    target = reader.target()
    assert target is not None
    target[:] = b"y" * size
    (frame,) = reader.wrote(size)
    assert bytes(frame.parts[0]) == b"y" * size
