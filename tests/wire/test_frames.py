"""Frames in a stream of bytes that arrives in pieces of any size."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgraph.wire.frames import FrameError, FrameReader, encode

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
