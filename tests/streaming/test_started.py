"""The broker's rules for runs that no reader owns, with a clock that the tests move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from distgraph.contract.started_runs import Retention, RunTerms
from distgraph.contract.stream import (
    END_MODE,
    GENERATION,
    Admit,
    Commit,
    Event,
    Finish,
    Journal,
    KeepRun,
    Op,
    Segment,
)
from distgraph.driver.operations import end_blob
from distgraph.errors import DriverLost, RunError, RunNotFound, Truncated, WorkerDied
from distgraph.serde.exceptions import rebuild_error
from distgraph.streaming.broker import GATE, PAUSE, Broker, Limits
from distgraph.streaming.codec import decode_events, encode_events
from distgraph.streaming.log import SEGMENT_OVERHEAD
from distgraph.streaming.transport import ReaderKey

RUN = "run"
A, B = ReaderKey(RUN, 1), ReaderKey(RUN, 2)
END = end_blob("done", error=ValueError("unused"))


def segment(number: int, size: int = 0) -> Segment:
    blob = encode_events([Event((), "custom", (number, b"x" * size))])
    return Segment("t", 1, 1, number, 1, blob)


class Rig:
    """A started run, its driver, and processes that read."""

    def __init__(self, limits: Limits | None = None, **terms: Any) -> None:
        self.now = 100.0
        self.broker = Broker(limits or Limits(), lambda e: end_blob("error", error=e, orphan=True))
        self._batches: dict[str, int] = {}
        self.announce(**terms)
        self.drive(Admit("t", 1, 1))

    def announce(self, run: str = RUN, **terms: Any) -> None:
        self.broker.announce(run, RunTerms(**terms), self.now)

    def drive(self, *ops: Op, run: str = RUN) -> float:
        number = self._batches[run] = self._batches.get(run, 0) + 1
        return self.broker.drive(run, "", number, ops, self.now)

    def write(self, *numbers: int, size: int = 0, run: str = RUN) -> float:
        return self.broker.publish(run, [segment(n, size) for n in numbers], self.now)

    def end(self, events: int) -> None:
        self.drive(Commit("t", 1, events), Finish(END))

    def open(self, caller: str, key: ReaderKey, after: int | None = 0, **more: Any) -> int:
        return self.broker.open(caller, key, after, self.now, **more)

    def read(self, caller: str, *consumed: tuple[ReaderKey, int]) -> list[object]:
        """Return what a caller's readers get: numbers, "end", or an error."""
        self.broker.consumed(caller, self.broker.number_of(caller), consumed, self.now)
        got: list[object] = []
        for _, deliveries, error in self.broker.take(caller, self.now):
            for delivery in deliveries:
                got += map(_shown, decode_events(delivery.segment))
            got += [error] if error is not None else []
        return got

    def sweep(self, seconds: float = 0.0) -> list[str]:
        self.now += seconds
        return self.broker.sweep(self.now)

    @property
    def status(self) -> str | None:
        state = self.broker.describe(RUN)
        return None if state is None else state.status


def _shown(event: Event) -> object:
    return "end" if event.mode == END_MODE else event.payload[0]


def bytes_of(events: int) -> int:
    return events * (SEGMENT_OVERHEAD + len(segment(1).blob))


def test_a_run_is_pending_until_its_driver_is_heard_of() -> None:
    rig = Rig()
    rig.announce("next")
    assert [state.status for state in rig.broker.describe_all()] == ["running", "pending"]
    rig.drive(Admit("t", 1, 1), run="next")
    assert [state.status for state in rig.broker.describe_all()] == ["running", "running"]


@pytest.mark.parametrize(
    ("finish", "status"),
    [
        ("done", "success"),
        ("error", "error"),
        ("command", "error"),
        ("interrupted", "interrupted"),
        ("cancelled", "cancelled"),
    ],
)
def test_the_status_of_a_run_that_ended_is_that_of_its_end(finish: str, status: str) -> None:
    rig = Rig()
    rig.drive(Finish(END, status=finish))
    assert rig.status == status


def test_a_run_that_the_broker_ends_is_an_error() -> None:
    rig = Rig()
    rig.broker.terminate("", [RUN], END)
    assert rig.status == "error"


def test_a_run_goes_on_and_is_kept_without_any_reader() -> None:
    rig = Rig(Limits(max_events=3))
    assert rig.write(*range(1, 11)) == 0.0
    rig.end(10)
    assert rig.open("late", A) == 0
    assert rig.read("late") == [*range(1, 11), "end"]


def test_every_reader_sees_the_same_events_from_where_it_begins() -> None:
    rig = Rig()
    rig.write(1, 2, 3)
    rig.open("one", A)
    assert rig.read("one") == [1, 2, 3]
    assert rig.open("two", A, after=2) == 2
    assert rig.read("two") == [3]
    assert rig.open("two", B, after=None) == 3
    rig.write(4)
    rig.end(4)
    assert rig.read("one") == [4, "end"]
    assert sorted(map(str, rig.read("two"))) == ["4", "4", "end", "end"]


@pytest.mark.parametrize("after", [None, 3], ids=["from now on", "behind the end"])
def test_a_reader_that_comes_after_the_end_gets_the_end(after: int | None) -> None:
    rig = Rig()
    rig.write(1, 2)
    rig.end(2)
    assert rig.open("late", A, after=after) == 2
    assert rig.read("late") == ["end"]


def test_a_reader_that_waits_for_more_than_the_run_has_gets_an_error() -> None:
    rig = Rig()
    rig.open("early", A, after=3)
    rig.write(1, 2)
    rig.end(2)
    (error,) = rig.read("early")
    assert isinstance(error, RunError)
    assert "its last event has number 3" in str(error)


def test_a_reader_that_leaves_does_not_end_the_run() -> None:
    rig = Rig()
    rig.open("one", A)
    rig.broker.leave("one", [A], rig.now)
    rig.broker.leave_all("one", rig.now)
    rig.write(1)
    assert rig.status == "running"
    rig.open("two", A)
    assert rig.read("two") == [1]


def test_a_reader_of_the_end_gets_nothing_else_and_holds_nothing() -> None:
    rig = Rig(Limits(max_events=3), slow_reader="wait")
    rig.open("one", A, only_end=True)
    assert rig.write(*range(1, 11)) == 0.0
    assert rig.read("one") == []
    rig.end(10)
    assert rig.read("one") == ["end"]
    assert rig.read("one", (A, 11)) == []


@pytest.mark.parametrize(
    ("kept", "oldest"),
    [
        (Retention(events=3), 8),
        (Retention(bytes=bytes_of(3)), 8),
        (Retention(), 1),
    ],
)
def test_beyond_events_or_bytes_the_oldest_are_dropped(kept: Retention, oldest: int) -> None:
    rig = Rig(retention=kept)
    rig.write(*range(1, 11))
    if oldest == 1:
        assert rig.open("one", A) == 0
        return
    with pytest.raises(Truncated) as caught:
        rig.open("one", A, after=oldest - 3)
    assert (caught.value.after, caught.value.oldest) == (oldest - 3, oldest)
    assert f"after seq {oldest - 3} were asked for" in str(caught.value)
    assert f"read on with events(after={oldest - 1})" in str(caught.value)
    rig.open("one", A, after=oldest - 1)
    assert rig.read("one") == [*range(oldest, 11)]


def test_events_that_are_too_old_are_dropped() -> None:
    rig = Rig(retention=Retention(seconds=10))
    rig.write(1, 2)
    rig.sweep(6)
    rig.write(3)
    rig.sweep(6)
    state = rig.broker.describe(RUN)
    assert state is not None
    assert (state.oldest, state.last) == (3, 3)


def test_the_end_is_kept_for_its_time_though_all_else_is_dropped() -> None:
    rig = Rig(retention=Retention(events=0, seconds=10))
    rig.write(1, 2)
    rig.end(2)
    rig.sweep(9)
    rig.open("one", A, only_end=True)
    assert rig.read("one") == ["end"]


def test_a_run_is_forgotten_some_time_after_its_end() -> None:
    rig = Rig(retention=Retention(seconds=10))
    rig.write(1)
    rig.end(1)
    rig.open("one", A)
    rig.open("two", A)
    assert rig.read("one") == [1, "end"]
    rig.sweep(11)
    assert rig.status is None
    assert rig.broker.take_forgotten() == [RUN]
    assert rig.broker.idle_since() == rig.now
    with pytest.raises(RunNotFound):
        rig.open("three", A)
    (behind,) = rig.read("two")
    assert isinstance(behind, Truncated)
    assert rig.read("one", (A, 2)) == []
    rig.announce()
    assert rig.status == "pending"


def test_with_truncate_a_slow_reader_is_left_behind_and_never_waited_for() -> None:
    rig = Rig(Limits(max_events=3), retention=Retention(events=5))
    rig.open("slow", A)
    rig.write(1)
    assert rig.read("slow") == [1]
    assert rig.write(*range(2, 11)) == 0.0
    (error,) = rig.read("slow", (A, 1))
    assert isinstance(error, Truncated)
    assert (error.after, error.oldest) == (1, 6)


def test_with_wait_the_run_pauses_for_an_open_reader() -> None:
    rig = Rig(Limits(max_events=3), slow_reader="wait", retention=Retention(events=0))
    assert rig.write(1, 2, 3, 4, 5) == 0.0
    rig.open("slow", A, after=None)
    assert rig.write(6, 7, 8) == 0.0
    assert rig.write(9) == PAUSE
    assert rig.read("slow") == [6, 7, 8, 9]
    rig.read("slow", (A, 9))
    assert rig.write(10) == 0.0


@pytest.mark.parametrize("leaves", [True, False])
def test_with_wait_a_reader_that_is_gone_is_waited_for_no_longer_than_its_lease(
    leaves: bool,
) -> None:
    rig = Rig(Limits(max_events=3), slow_reader="wait", lease=5.0, retention=Retention(events=0))
    rig.open("gone", A)
    assert rig.write(1, 2, 3, 4) == PAUSE
    if leaves:
        rig.broker.leave("gone", [A], rig.now)
    else:
        rig.sweep(6)
    assert rig.write(5) == 0.0


def test_one_run_s_slow_reader_does_not_pause_another_run() -> None:
    rig = Rig(Limits(max_events=3), slow_reader="wait")
    rig.announce("other", slow_reader="wait")
    rig.drive(Admit("t", 1, 1), run="other")
    rig.open("slow", A)
    assert rig.write(1, 2, 3, 4) == PAUSE
    assert rig.write(1, 2, 3, 4, run="other") == 0.0


def test_a_run_over_its_time_to_live_is_reported_once() -> None:
    rig = Rig(time_to_live=10)
    assert rig.sweep(9) == []
    assert rig.sweep(2) == [RUN]
    assert rig.sweep(2) == []


def test_a_run_that_ended_is_not_over_its_time_to_live() -> None:
    rig = Rig(time_to_live=10)
    rig.end(0)
    assert rig.sweep(11) == []


def test_the_runs_that_ended_first_make_room_for_others() -> None:
    rig = Rig(Limits(started_bytes=bytes_of(4)))
    rig.write(1, 2, 3)
    rig.end(3)
    rig.announce("next")
    rig.drive(Admit("t", 1, 1), run="next")
    rig.write(1, 2, run="next")
    rig.sweep(1)
    assert [state.run_id for state in rig.broker.describe_all()] == ["next"]


def test_an_id_that_is_known_is_refused() -> None:
    rig = Rig()
    with pytest.raises(RunError, match=r"config\['run_id'\]: run run is known already"):
        rig.announce()


def test_events_that_went_with_their_worker_end_a_run_that_nobody_reads() -> None:
    rig = Rig()
    rig.write(1)
    rig.end(2)
    rig.sweep(1)
    rig.sweep(GATE + 1)
    assert rig.status == "error"
    rig.open("one", A, only_end=True)
    assert rig.read("one") == ["end"]
    log = rig.broker._runs[RUN].log
    (last,) = log.read(log.last_seq - 1)
    (end,) = decode_events(last.segment)
    assert isinstance(rebuild_error(end.payload["error"]), WorkerDied)


def test_callers_without_readers_are_forgotten() -> None:
    rig = Rig()
    rig.open("one", A)
    rig.broker.leave("one", [A], rig.now)
    rig.sweep(601)
    assert "one" not in rig.broker._callers


def test_what_is_kept_is_a_number_from_zero() -> None:
    bad: Sequence[tuple[str, Any]] = [("events", -1), ("bytes", "1"), ("seconds", None)]
    for name, value in bad:
        with pytest.raises(ValueError, match=f"Retention.{name} must be a number from 0"):
            Retention(**{name: value})


def test_a_started_run_that_its_driver_did_not_begin_is_taken_over() -> None:
    rig = Rig()
    begin = KeepRun(b"start", "program")
    rig.broker.announce("other", RunTerms(), rig.now, begin)
    assert rig.broker.take_over(rig.now) == [
        Journal("other", b"start", "program", (), 0, GENERATION + 1)
    ]
    rig.broker.end_unbegun("other", end_blob("error", error=DriverLost("gone")))
    state = rig.broker.describe("other")
    assert state is not None
    assert state.status == "pending"


def test_a_started_run_that_no_driver_got_is_ended() -> None:
    rig = Rig()
    rig.broker.announce("other", RunTerms(), rig.now)
    assert rig.broker.take_over(rig.now) == []
    rig.broker.end_unbegun("other", end_blob("error", error=DriverLost("gone")))
    state = rig.broker.describe("other")
    assert state is not None
    assert state.status == "error"
