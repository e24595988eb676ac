"""The broker's rules, with a clock that the tests move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from distgraph.contract.stream import (
    DRIVER,
    END_MODE,
    GENERATION,
    Admit,
    Commit,
    Event,
    Finish,
    Journal,
    KeepRun,
    Op,
    Publish,
    Segment,
)
from distgraph.driver.operations import end_blob
from distgraph.errors import InvalidTransition, RunError, Truncated
from distgraph.streaming.broker import GATE, LOOK, PAUSE, Broker, Limits
from distgraph.streaming.codec import decode_events, encode_events
from distgraph.streaming.log import SEGMENT_OVERHEAD
from distgraph.streaming.transport import GONE, Fetched, ReaderKey

RUN, OWNER, OTHER = "run", "owner", "other"
FIRST, SECOND = ReaderKey(RUN), ReaderKey(RUN, 1)


def event(payload: object) -> bytes:
    return encode_events([Event((), "custom", payload)])


def segment(number: int, payload: object, task: str = "t") -> Segment:
    return Segment(task, 1, 1, number, 1, event(payload))


class Rig:
    """A broker, a clock, and callers."""

    def __init__(self, **limits: Any) -> None:
        limits = {"max_bytes": 4_000, "max_events": 1_000, "retain_bytes": 0, **limits}
        self.now = 100.0
        self.broker = Broker(Limits(**limits), lambda e: end_blob("error", error=e, orphan=True))
        self._batches: dict[str, int] = {}

    def drive(self, *ops: Op, run: str = RUN) -> float:
        self._batches[run] = self._batches.get(run, 0) + 1
        return self.broker.drive(run, OWNER, self._batches[run], ops, self.now)

    def publish(self, *segments: Segment, run: str = RUN) -> float:
        return self.broker.publish(run, segments, self.now)

    def write(self, *numbers: int, size: int = 0) -> float:
        """Publish the events with these numbers of task ``t``."""
        return self.publish(*(segment(n, (n, b"x" * size)) for n in numbers))

    def open(self, after: int = 0, lease: float | None = None) -> None:
        self.broker.open(OTHER, SECOND, after, self.now, lease=lease)

    def ack(self, caller: str, reader: ReaderKey, seq: int) -> None:
        self.broker.consumed(caller, 0, [(reader, seq)], self.now)

    def fetch(
        self, caller: str = OWNER, consumed: Sequence[tuple[ReaderKey, int]] = ()
    ) -> list[Fetched]:
        """What is pushed, to a caller whose earlier pushes have arrived."""
        self.broker.consumed(caller, self.broker.number_of(caller), consumed, self.now)
        return self.broker.take(caller, self.now)

    def listen(self, received: int) -> None:
        """The owner is back on another connection."""
        self.broker.listen(OWNER, received, self.now)

    def events(self, caller: str = OWNER, reader: ReaderKey = FIRST, **request: Any) -> list[Event]:
        return _events(self.fetch(caller, **request), reader)

    def numbers(
        self, caller: str = OWNER, reader: ReaderKey = FIRST, **request: Any
    ) -> list[object]:
        """As ``events``: the numbers that ``write`` was given."""
        return [e.payload[0] for e in self.events(caller, reader, **request)]


def _events(found: Sequence[Fetched], reader: ReaderKey) -> list[Event]:
    deliveries = [d for f in found if f.reader == reader for d in f.deliveries]
    return [e for delivery in deliveries for e in decode_events(delivery.segment)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- one reader -----------------------------------------------------------------------------------


def test_events_come_in_order_and_once(rig: Rig) -> None:
    rig.publish(segment(2, "b"))
    rig.drive(Admit("t", 1, 1))
    rig.publish(segment(1, "a"), segment(2, "b"))
    rig.drive(
        Commit("t", 1, 3, (segment(3, "c"),)),
        Publish(Segment(DRIVER, 1, 1, 1, 1, event("update"))),
        Finish(event("end")),
    )
    assert [e.payload for e in rig.events()] == ["a", "b", "c", "update", "end"]
    assert rig.fetch() == []


def test_a_publisher_ahead_of_its_reader_is_told_to_pause_until_it_was_read(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    pauses = [rig.write(n, size=500) for n in range(1, 9)]
    assert pauses[0] == 0.0
    assert pauses[-1] == PAUSE
    assert rig.numbers() == [*range(1, 9)]
    assert rig.write() == PAUSE
    rig.ack(OWNER, FIRST, 8)
    assert rig.write() == 0.0


def test_events_that_were_lost_with_their_worker_end_the_run_and_say_so(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1), Commit("t", 1, 2), Finish(event("never")))
    rig.write(1)
    assert rig.numbers() == [1]
    rig.now += GATE - 1
    assert rig.fetch() == []
    rig.now += 2
    (end,) = rig.events()
    assert (end.mode, end.payload["status"], end.payload["orphan"]) == (END_MODE, "error", True)
    assert end.payload["error"].type_name == "distgraph.errors.WorkerDied"
    assert "1 events of task t, attempt 1, were lost" in end.payload["error"].message


def test_a_busy_neighbour_does_not_hide_that_events_were_lost(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1), Commit("t", 1, 1), Finish(event("never")))
    rig.drive(Admit("b", 1, 1), run="busy")
    ends: list[Event] = []
    for n in range(1, 14):
        rig.publish(segment(n, "b", "b"), run="busy")
        found = rig.fetch()
        assert _events(found, ReaderKey("busy"))
        ends += _events(found, FIRST)
        rig.now += LOOK
    assert [e.payload["status"] for e in ends] == ["error"]


def test_a_log_that_contradicts_itself_ends_its_run(rig: Rig) -> None:
    rig.drive(Commit("unknown", 1, 0))
    (end,) = rig.events()
    assert end.payload["error"].type_name == "distgraph.errors.InvalidTransition"


def test_a_lost_driver_ends_the_run_behind_what_has_arrived(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.write(1)
    rig.broker.terminate(OWNER, [RUN, "unheard of"], event("lost"))
    found = rig.fetch()
    assert [e.payload for e in _events(found, FIRST)] == [(1, b""), "lost"]
    assert [e.payload for e in _events(found, ReaderKey("unheard of"))] == ["lost"]


def test_a_run_that_its_driver_did_not_begin_is_begun_by_the_next_one(rig: Rig) -> None:
    begin = KeepRun(b"start", "program")
    assert rig.broker.begin_again(OWNER, RUN, begin) == Journal(
        RUN, b"start", "program", (), 0, GENERATION + 1
    )
    rig.drive(begin, Admit("t", 1, 1))  # of the lost driver, and late
    assert rig.broker.statistics()[RUN].ignored_batches == 1
    rig.broker.drive(RUN, OWNER, GENERATION + 1, [begin, Admit("t", GENERATION, 1)], rig.now)
    assert rig.broker.statistics()[RUN].open_attempts == 1
    assert rig.broker.begin_again(OWNER, RUN, begin) is None  # it has a journal


def test_a_run_that_its_driver_began_without_a_journal_is_not_begun_again(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    assert rig.broker.begin_again(OWNER, RUN, KeepRun(b"start", "program")) is None


def test_a_run_that_its_owner_left_takes_nothing_and_does_not_come_back(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.broker.leave(OWNER, [FIRST], rig.now)
    assert rig.write(1) == GONE
    assert rig.drive(Finish(event("late"))) == 0.0
    assert rig.fetch() == []
    assert rig.broker.statistics() == {}


def test_a_run_can_be_left_before_the_broker_has_heard_of_it(rig: Rig) -> None:
    rig.broker.leave(OWNER, [FIRST], rig.now)
    assert rig.drive(Admit("t", 1, 1)) == 0.0
    assert rig.write(1) == GONE
    assert rig.broker.statistics() == {}


def test_a_reader_that_does_not_acknowledge_is_sent_a_window_and_no_more() -> None:
    rig = Rig(max_bytes=1 << 20, window=1_000)
    rig.drive(Admit("t", 1, 1))
    rig.write(*range(1, 11), size=400)
    sent: list[object] = []
    while found := rig.numbers():
        sent += found
    assert 0 < len(sent) < 10
    more = rig.numbers(consumed=((FIRST, len(sent)),))
    assert more and [*sent, *more] == [*range(1, len(sent) + len(more) + 1)]


def test_only_what_was_handed_out_can_be_acknowledged(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.write(1, 2)
    with pytest.raises(InvalidTransition, match="seq 2 acknowledged, 0 handed out"):
        rig.ack(OWNER, FIRST, 2)


# --- pushes that were lost ------------------------------------------------------------------------


def test_what_a_lost_push_held_is_handed_out_again_for_all_runs(rig: Rig) -> None:
    for run in (RUN, "second"):
        rig.drive(Admit("t", 1, 1), run=run)
        rig.publish(segment(1, run), run=run)
    assert len(rig.fetch()) == 2
    rig.write(2)
    rig.listen(received=0)
    found = rig.broker.take(OWNER, rig.now)
    assert [e.payload for e in _events(found, ReaderKey("second"))] == ["second"]
    assert [e.payload for e in _events(found, FIRST)] == [RUN, (2, b"")]
    assert rig.fetch() == []


def test_of_several_pushes_those_that_were_lost_are_handed_out_again(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    for number in (1, 2, 3):
        rig.write(number)
        rig.broker.take(OWNER, rig.now)
        assert rig.broker.number_of(OWNER) == number
    rig.listen(received=1)
    assert rig.numbers() == [2, 3]
    assert rig.broker.number_of(OWNER) == 4


def test_what_was_consumed_of_a_push_is_not_handed_out_again(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.write(1, 2)
    assert rig.numbers() == [1, 2]
    rig.ack(OWNER, FIRST, 2)
    rig.write(3)
    rig.listen(received=0)
    assert rig.numbers() == [3]


def test_pushes_that_have_arrived_are_forgotten(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    for number in (1, 2, 3):
        rig.write(number)
        rig.broker.take(OWNER, rig.now)
    rig.broker.consumed(OWNER, 2, (), rig.now)
    rig.listen(received=0)  # as of a process that has forgotten what it has
    assert rig.numbers() == [3]


# --- several readers ------------------------------------------------------------------------------


def test_two_readers_of_a_run_have_positions_of_their_own(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open()
    rig.write(1, 2)
    assert rig.numbers() == [1, 2]
    rig.write(3)
    assert rig.numbers(OTHER, SECOND) == [1, 2, 3]
    assert rig.numbers() == [3]
    assert [(r.caller, r.sent) for r in rig.broker.readers(RUN)] == [(OWNER, 3), (OTHER, 3)]


def test_two_readers_in_one_process_share_a_push(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.broker.open(OWNER, SECOND, 0, rig.now)
    rig.write(1)
    assert [f.reader for f in rig.fetch()] == [FIRST, SECOND]


def test_a_reader_begins_where_it_says(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.write(1, 2, 3)
    rig.open(after=2)
    assert rig.numbers(OTHER, SECOND) == [3]


def test_publishers_wait_for_the_slowest_reader(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open()
    rig.write(*range(1, 9), size=500)
    assert len(rig.events()) == len(rig.events(OTHER, SECOND)) == 8
    rig.ack(OWNER, FIRST, 8)
    assert rig.write() == PAUSE
    rig.ack(OTHER, SECOND, 8)
    assert rig.write() == 0.0


def test_nobody_waits_for_a_reader_that_has_left(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open()
    rig.write(*range(1, 9), size=500)
    rig.fetch()
    rig.ack(OWNER, FIRST, 8)
    assert rig.write() == PAUSE
    rig.broker.leave(OTHER, [SECOND], rig.now)
    assert rig.write() == 0.0
    assert rig.broker.statistics()[RUN].unread_bytes == 0


def test_nobody_waits_for_a_reader_that_is_silent_for_longer_than_its_lease(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open(lease=5.0)
    rig.write(*range(1, 9), size=500)
    rig.fetch()
    rig.ack(OWNER, FIRST, 8)
    rig.now += 5.0
    assert rig.write() == PAUSE
    rig.now += 0.1
    assert rig.write() == 0.0


def test_a_silent_reader_that_comes_back_goes_on_with_what_is_retained() -> None:
    rig = Rig(retain_bytes=1 << 20)
    rig.drive(Admit("t", 1, 1))
    rig.open(lease=5.0)
    rig.write(*range(1, 9), size=500)
    rig.fetch()
    rig.ack(OWNER, FIRST, 8)
    rig.now += 6.0
    assert rig.write() == 0.0
    assert rig.numbers(OTHER, SECOND) == [*range(1, 9)]
    assert rig.write() == PAUSE  # it is waited for again


def test_a_silent_reader_that_comes_back_too_late_is_told_and_closed(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open(lease=5.0)
    rig.write(1, 2)
    rig.fetch()
    rig.ack(OWNER, FIRST, 2)
    rig.now += 6.0
    rig.write(3)
    (found,) = rig.fetch(OTHER)
    assert (found.reader, found.deliveries) == (SECOND, [])
    assert isinstance(found.error, Truncated)
    assert [r.reader for r in rig.broker.readers(RUN)] == [FIRST]
    assert rig.numbers() == [3]


@pytest.mark.parametrize(
    ("limits", "oldest"),
    [
        ({"retain_events": 3}, 8),
        ({"retain_bytes": 3 * (SEGMENT_OVERHEAD + len(event((10, b""))))}, 8),
        ({"retain_bytes": 0}, 11),
    ],
)
def test_what_is_retained_can_be_read_from_and_nothing_before_it(
    limits: dict[str, int], oldest: int
) -> None:
    rig = Rig(**{"retain_bytes": 1 << 20, **limits})
    rig.drive(Admit("t", 1, 1))
    rig.write(*range(1, 11))
    rig.fetch()
    rig.ack(OWNER, FIRST, 10)
    if oldest > 1:
        with pytest.raises(Truncated, match=f"oldest one that is kept is {oldest}"):
            rig.open(after=oldest - 2)
    rig.open(after=oldest - 1)
    rig.write(11)
    assert rig.numbers(OTHER, SECOND) == [*range(oldest, 12)]


def test_what_a_reader_that_joined_has_to_read_is_not_dropped_meanwhile() -> None:
    rig = Rig(max_bytes=1 << 20, retain_bytes=4_000)
    rig.drive(Admit("t", 1, 1))
    rig.write(*range(1, 6), size=100)
    rig.fetch()
    rig.ack(OWNER, FIRST, 5)
    rig.open()
    rig.write(*range(6, 30), size=100)
    rig.fetch()
    rig.ack(OWNER, FIRST, 29)
    assert rig.numbers(OTHER, SECOND) == [*range(1, 30)]


def test_a_reader_waits_for_the_number_after_which_it_begins(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open(after=2)
    rig.write(1, 2)
    assert rig.numbers(OTHER, SECOND) == []
    rig.write(3)
    assert rig.numbers(OTHER, SECOND) == [3]


def test_a_reader_that_begins_beyond_the_end_of_a_run_is_refused(rig: Rig) -> None:
    rig.drive(Finish(end_blob("done", error=ValueError())))
    with pytest.raises(ValueError, match="after=5: run run has ended, and its last event .* 1"):
        rig.open(after=5)


def test_a_run_that_ends_before_a_reader_begins_is_an_error_of_the_reader(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open(after=5)
    rig.drive(Commit("t", 1, 0), Finish(end_blob("done", error=ValueError())))
    (found,) = rig.fetch(OTHER)
    assert isinstance(found.error, RunError)
    assert "after=5" in str(found.error)


@pytest.mark.parametrize("left", [True, False])
def test_a_run_that_is_not_there_cannot_be_read(rig: Rig, left: bool) -> None:
    if left:
        rig.drive(Admit("t", 1, 1))
        rig.broker.leave(OWNER, [FIRST], rig.now)
    with pytest.raises(RunError, match="run run cannot be read"):
        rig.open()


def test_when_its_owner_leaves_the_other_readers_get_an_end(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open()
    rig.write(1)
    rig.broker.leave(OWNER, [FIRST], rig.now)
    assert rig.write(2) == GONE
    first, end = rig.events(OTHER, SECOND)
    assert first.payload == (1, b"")
    assert (end.mode, end.payload["status"]) == (END_MODE, "error")
    assert "left by the process that had started it" in end.payload["error"].message
    rig.ack(OTHER, SECOND, 2)
    assert rig.broker.statistics() == {}


def test_a_run_that_has_ended_can_be_read_to_its_end_when_its_owner_has_left(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open()
    rig.write(1)
    rig.drive(Commit("t", 1, 1), Finish(event("end")))
    rig.fetch()
    rig.broker.leave(OWNER, [FIRST], rig.now)
    assert [e.payload for e in rig.events(OTHER, SECOND)] == [(1, b""), "end"]
    rig.broker.leave(OTHER, [SECOND], rig.now)
    assert rig.broker.statistics() == {}


def test_a_left_run_does_not_outlive_the_lease_of_its_last_reader(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open(lease=5.0)
    rig.broker.leave(OWNER, [FIRST], rig.now)
    assert list(rig.broker.statistics()) == [RUN]
    rig.now += 6.0
    rig.fetch()
    assert rig.broker.statistics() == {}


def test_a_reader_of_another_process_cannot_close_the_run(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.broker.leave(OTHER, [FIRST], rig.now)
    assert rig.write(1) == 0.0
    assert rig.numbers() == [1]


def test_when_a_process_is_gone_its_runs_are_closed_and_its_readers_with_it(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.broker.drive("theirs", OTHER, 1, [Admit("t", 1, 1)], rig.now)
    rig.open()
    rig.broker.leave_all(OTHER, rig.now)
    assert list(rig.broker.statistics()) == [RUN]
    assert [r.caller for r in rig.broker.readers(RUN)] == [OWNER]
    assert rig.publish(segment(1, "x"), run="theirs") == GONE


def test_whoever_may_go_on_is_woken(rig: Rig) -> None:
    rig.drive(Admit("t", 1, 1))
    rig.open()
    rig.broker.take_woken()
    rig.write(1)
    assert rig.broker.take_woken() == {OWNER, OTHER}
    assert rig.broker.take_woken() == set()
