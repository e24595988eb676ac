"""Sender and receiver of large values keep the same ones, without being told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distgraph.serde.pickling import dumps
from distgraph.worker.held_values import ReceivedValues, SentValues

LIMIT = 2 * len(dumps("aaaa"))


def connection():
    return SentValues(LIMIT), ReceivedValues(LIMIT)


def send(sender, receiver, values, numbers):
    """Send a packet that refers to values; return what the receiver reads, and what was sent."""
    blobs = {n: dumps(values[n]) for n in numbers}
    new = sender.send(blobs)
    found = receiver.receive(numbers, new, [blobs[n] for n in new])
    return [value.load() for value in found], new


def test_a_value_is_sent_once():
    sender, receiver = connection()
    assert send(sender, receiver, {1: "abc"}, [1]) == (["abc"], [1])
    assert send(sender, receiver, {1: "abc"}, [1]) == (["abc"], [])


def test_the_value_that_was_not_used_for_longest_is_dropped():
    sender, receiver = connection()
    values = {1: "aaaa", 2: "bbbb", 3: "cccc"}
    for numbers in ([1], [2], [1], [3]):
        send(sender, receiver, values, numbers)
    assert send(sender, receiver, values, [1, 3]) == (["aaaa", "cccc"], [])
    assert send(sender, receiver, values, [2]) == (["bbbb"], [2])


def test_a_value_above_the_limit_is_read_and_not_kept():
    sender, receiver = connection()
    values = {1: "x" * LIMIT, 2: "y"}
    assert send(sender, receiver, values, [1, 2])[0] == ["x" * LIMIT, "y"]
    assert sender.missing([1]) == receiver.missing([1]) == [1]


@given(
    st.lists(st.integers(0, LIMIT), min_size=9, max_size=9),
    st.lists(st.lists(st.integers(0, 8), max_size=5, unique=True), max_size=20),
)
def test_whatever_is_sent_the_receiver_reads_the_values(sizes, packets):
    values = {n: chr(97 + n) * size for n, size in enumerate(sizes)}
    sender, receiver = connection()
    for numbers in packets:
        assert send(sender, receiver, values, numbers)[0] == [values[n] for n in numbers]
        assert sender.missing(range(9)) == receiver.missing(range(9))
