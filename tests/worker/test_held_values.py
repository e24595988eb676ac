"""Sender and receiver of large values keep the same ones, without being told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distgraph.worker.held_values import HeldValues

LIMIT = 10


def send(sender, receiver, values, numbers):
    """Send a packet that refers to some values; return what the receiver reads."""
    new = sender.missing(numbers)
    sender.use(numbers, {n: (None, len(values[n])) for n in new})
    return receiver.use(numbers, {n: (values[n], len(values[n])) for n in new}), new


def test_a_value_is_sent_once():
    sender, receiver = HeldValues(LIMIT), HeldValues(LIMIT)
    assert send(sender, receiver, {1: "abc"}, [1]) == (["abc"], [1])
    assert send(sender, receiver, {1: "abc"}, [1, 1]) == (["abc", "abc"], [])


def test_the_value_that_was_not_used_for_longest_is_dropped():
    sender, receiver = HeldValues(LIMIT), HeldValues(LIMIT)
    values = {1: "aaaa", 2: "bbbb", 3: "cccc"}
    for numbers in ([1], [2], [1], [3]):
        send(sender, receiver, values, numbers)
    assert send(sender, receiver, values, [1, 3]) == (["aaaa", "cccc"], [])
    assert send(sender, receiver, values, [2]) == (["bbbb"], [2])


def test_a_value_above_the_limit_is_read_and_not_kept():
    sender, receiver = HeldValues(LIMIT), HeldValues(LIMIT)
    values = {1: "x" * 11, 2: "y"}
    assert send(sender, receiver, values, [1, 2])[0] == ["x" * 11, "y"]
    assert sender.missing([1]) == receiver.missing([1]) == [1]


@given(
    st.lists(st.integers(0, 8), min_size=9, max_size=9),
    st.lists(st.lists(st.integers(0, 8), max_size=5), max_size=20),
)
def test_whatever_is_sent_the_receiver_reads_the_values(sizes, packets):
    values = {n: chr(97 + n) * size for n, size in enumerate(sizes)}
    sender, receiver = HeldValues(LIMIT), HeldValues(LIMIT)
    for numbers in packets:
        assert send(sender, receiver, values, numbers)[0] == [values[n] for n in numbers]
        assert sender.missing(range(9)) == receiver.missing(range(9))
