from __future__ import annotations

import gc

import pytest

from distgraph.contract.stream import DRIVER, END_MODE, Delivery, Segment, StreamEvent
from distgraph.errors import InvalidTransition
from distgraph.streaming.consumer import AT_ONCE, Reassembler

from .support import END_BLOB, payloads, segment

END = Segment(DRIVER, 1, 1, 1, 1, END_BLOB)


def test_deliveries_become_numbered_events() -> None:
    reader = Reassembler("run-1")
    first, second = reader.feed([Delivery(1, segment("a", 4, 2, attempt=3, step=7))])
    assert first == StreamEvent("run-1", 1, (), 7, "a", 3, 4, "custom", ("a", 3, 4))
    assert (second.seq, second.pub_seq) == (2, 5)
    assert reader.position == 2
    assert not reader.ended


def test_the_terminal_event_is_the_last() -> None:
    reader = Reassembler("run")
    (end,) = reader.feed([Delivery(1, END, end=True)])
    assert (end.mode, end.payload) == (END_MODE, "done")
    assert reader.ended
    with pytest.raises(InvalidTransition, match="seq 2 follows the end at 1"):
        reader.feed([Delivery(2, segment("a", 1))])


def test_a_reader_that_leaves_waits_for_the_end_though_it_was_interrupted_with_events() -> None:
    """Ctrl-C came between taking events from the inbox and feeding them: nothing has those."""
    reader = Reassembler("run")
    reader.feed([Delivery(1, segment("a", 1, 2))])
    assert reader.feed_end([Delivery(6, segment("a", 6, 2))]) == []
    assert (reader.position, reader.ended) == (7, False)
    (end,) = reader.feed_end([Delivery(8, segment("a", 8)), Delivery(9, END, end=True)])
    assert (end.seq, end.mode, end.payload) == (9, END_MODE, "done")
    assert (reader.position, reader.ended) == (9, True)


@pytest.mark.parametrize(("seq", "what"), [(4, "lost: expected seq 3, got 4"), (1, "repeated")])
def test_a_gap_and_a_repeat_are_errors(seq: int, what: str) -> None:
    reader = Reassembler("run")
    reader.feed([Delivery(1, segment("a", 1, 2))])
    with pytest.raises(InvalidTransition, match=f"run run: events were {what}"):
        reader.feed([Delivery(seq, segment("a", 3))])


def test_a_consumer_that_comes_back_skips_what_it_knows() -> None:
    reader = Reassembler("run", after_seq=12)
    events = reader.feed([Delivery(10, segment("a", 1, 5)), Delivery(15, segment("a", 6))])
    assert [event.seq for event in events] == [13, 14, 15]
    assert payloads(events) == [("a", 1, 4), ("a", 1, 5), ("a", 1, 6)]


def test_only_the_first_delivery_after_coming_back_may_overlap() -> None:
    reader = Reassembler("run", after_seq=1)
    reader.feed([Delivery(1, segment("a", 1, 2))])
    with pytest.raises(InvalidTransition, match="repeated"):
        reader.feed([Delivery(2, segment("a", 2, 2))])


def test_a_segment_that_holds_other_than_it_says_is_an_error() -> None:
    wrong = segment("a", 1, 3)._replace(count=2)
    with pytest.raises(InvalidTransition, match="a segment of 2 events at seq 1 has 3"):
        Reassembler("run").feed([Delivery(1, wrong)])


def test_events_are_returned_some_at_once_and_a_later_reader_goes_on_within_a_segment() -> None:
    deliveries = [
        Delivery(1, segment("a", 1, 700)),
        Delivery(701, segment("b", 1, 2)),
        Delivery(703, segment("", 1, 1), end=True),
    ]
    reader, seen = Reassembler("run"), []
    reader.add(deliveries)
    while reader.has_more:
        events = reader.take(300)
        assert len(events) == min(300, 703 - len(seen))
        seen += events
        assert reader.position == len(seen) == events[-1].seq
        assert reader.ended == (len(seen) == 703)
    assert [event.seq for event in seen] == [*range(1, 704)]
    assert seen == Reassembler("run").feed(deliveries)
    again = Reassembler("run", 300)
    assert again.feed(deliveries) == seen[300:]


def test_a_reader_that_leaves_amid_a_segment_gets_the_end_at_once() -> None:
    reader = Reassembler("run")
    reader.add([Delivery(1, segment("a", 1, 700)), Delivery(701, segment("", 1, 1), end=True)])
    assert len(reader.take(10)) == 10
    (end,) = reader.feed_end(())
    assert (end.seq, reader.ended, reader.has_more) == (701, True, False)


def test_few_of_many_events_are_objects_at_the_same_time() -> None:
    """The garbage collector looks at all objects that are there, again and again."""
    reader = Reassembler("run")
    reader.add([Delivery(1, segment("a", 1, 10_000))])
    reader.take(1)
    before = len(gc.get_objects())
    while events := reader.take(AT_ONCE) if reader.has_more else []:
        assert len(gc.get_objects()) < before + 4 * len(events) + 200
