"""From instructions to operations of the log, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.contract.events import Emit, StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import (
    DRIVER,
    END_MODE,
    Admit,
    Commit,
    Event,
    Fence,
    Finish,
    Publish,
    Segment,
    StreamEvent,
)
from distgraph.driver.operations import OperationWriter, end_blob
from distgraph.driver.ports import GroupEnded
from distgraph.serde.exceptions import capture_error
from distgraph.streaming.codec import decode_events, encode_events
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import RunLog
from tests.engine.corpus import CASES, Case, fan, to_parent
from tests.engine.play import attempt, key_of, made, options

from .fake import NOTHING, FakeBackend, FakeRun

DEBUG = frozenset({"values", "updates", "custom", "tasks", "debug"})


def coordinated(build: Any, *, room: int | None = None, **more: Any) -> FakeRun:
    play = FakeRun(build().compile(backend="local"), options(**more), room=room)
    play.start({"items": []})
    return play


def keys(ops: list[Any], kind: type) -> list[tuple[str, int]]:
    return [(op.task_id, op.attempt) for op in ops if isinstance(op, kind)]


def shown(ops: list[Any]) -> list[tuple[str, Any]]:
    events = [e for op in ops if isinstance(op, Publish) for e in op.segment.blob]
    return [(event.mode, event.payload) for event in events]


# --- operations -----------------------------------------------------------------------------------


def test_an_attempt_is_admitted_when_it_is_sent_behind_what_came_before() -> None:
    play = coordinated(fan)
    said, admits = play.ops[:-3], play.ops[-3:]
    assert [op.segment.step for op in said] == [0, 1]
    assert [type(op) for op in admits] == [Admit] * 3
    assert keys(admits, Admit) == [key_of(start) for start in play.running.values()]
    assert {op.step for op in admits} == {1}


def test_what_the_engine_starts_is_not_admitted_before_it_is_sent() -> None:
    play = coordinated(fan, room=0)
    assert [s.request.node for s in play.waiting] == ["a", "b", "c"]
    assert {type(op) for op in play.ops} == {Publish}
    assert all(key_of(start) in play.driver.wanted for start in play.waiting)


def test_one_at_a_time_an_attempt_is_admitted_behind_the_end_of_the_one_before() -> None:
    play = coordinated(fan, room=1, modes=frozenset({"updates"}))
    expected: list[tuple[type, str | None]] = []
    for name in ("a", "b", "c", "last"):
        start = play.of(name)
        play.end(start)
        task = start.request.task_id
        expected += [(Admit, task), (Commit, task), (Publish, None)]
    expected.append((Finish, None))
    assert [(type(op), getattr(op, "task_id", None)) for op in play.ops] == expected


def test_an_attempt_that_was_cancelled_before_it_was_sent_is_never_admitted() -> None:
    play = coordinated(fan, room=1)
    first = play.of("a")
    assert len(play.waiting) == 2
    actions = play.lose(first, ValueError("gone"))
    assert play.waiting == [] and actions.cancelled == []
    assert keys(play.ops, Admit) == keys(play.ops, Fence) == [key_of(first)]


def test_an_attempt_that_could_not_be_sent_leaves_nothing_in_the_log() -> None:
    backend = FakeBackend(refuses=lambda group: TypeError("cannot pickle"))
    play = FakeRun(fan().compile(backend="local"), backend=backend)
    play.start({"items": []})
    assert backend.in_flight == []
    assert play.finished is not None and play.finished.status == "error"
    assert {type(op) for op in play.ops[:-1]} == {Publish}
    assert isinstance(play.ops[-1], Finish)


def test_the_gate_of_an_outcome_comes_before_what_it_leads_to() -> None:
    play = coordinated(fan)
    start = play.of("b")
    tail = (Segment(start.request.task_id, 1, 1, 3, 1, [Event((), "custom", "x")]),)
    actions = play.end(start, published=3, tail=tail)
    assert actions.ops[0] == Commit(*key_of(start), 3, tail)
    assert [type(op) for op in actions.ops[1:]] == [Publish]
    assert [mode for mode, _ in shown(actions.ops)] == ["updates", "tasks"]


def test_a_lost_attempt_is_fenced_and_never_committed() -> None:
    play = coordinated(fan)
    start = play.of("b")
    others = [key_of(play.of(name)) for name in "ac"]
    actions = play.lose(start, ValueError("gone"))
    assert actions.ops[0] == Fence(*key_of(start))
    assert keys(actions.ops, Commit) == []
    assert keys(actions.ops, Fence) == [key_of(start), *others]
    assert [key_of(group.starts[0]) for group in actions.cancelled] == others
    assert isinstance(actions.ops[-1], Finish) and not actions.ops[-1].force


def test_siblings_of_a_node_that_leaves_its_graph_are_fenced() -> None:
    play = coordinated(to_parent)
    siblings = [key_of(play.of(name)) for name in ("s1", "s2")]
    actions = play.end(play.of("leave"))
    assert isinstance(actions.ops[0], Commit)
    assert keys(actions.ops, Fence) == siblings
    assert play.finished is None


def test_an_outcome_that_is_no_longer_wanted_does_nothing() -> None:
    play = coordinated(to_parent)
    late = play.of("s1")
    outcome, _ = attempt(play.graph, late.request, play.run)
    other = play.of("s2")
    play.end(play.of("leave"))
    assert play.ended(outcome) == NOTHING
    assert play.ended(made(other, "ok")) == NOTHING


def test_an_outcome_counts_once() -> None:
    play = coordinated(fan)
    start = play.of("a")
    outcome, _ = attempt(play.graph, start.request, play.run)
    group = play.take(outcome.attempt_id)
    told = play.post(GroupEnded(group, (outcome, outcome)))
    assert keys(told.ops, Commit) == [key_of(start)]


def test_only_a_cancelled_run_forces_its_end() -> None:
    play = coordinated(fan)
    running = [key_of(start) for start in play.running.values()]
    actions = play.cancel()
    assert keys(actions.ops, Fence) == running
    assert isinstance(actions.ops[-1], Finish) and actions.ops[-1].force
    assert play.finished is not None and play.finished.status == "cancelled"
    assert play.cancel() == NOTHING
    assert play.driver.finished


def test_a_failed_run_waits_for_what_its_node_has_emitted() -> None:
    play = coordinated(fan)
    start = play.of("a")
    error = capture_error(ValueError("no"))
    actions = play.ended(made(start, "error", error=error, published=7))
    assert actions.ops[0] == Commit(*key_of(start), 7, ())
    end = actions.ops[-1]
    assert isinstance(end, Finish) and not end.force
    (event,) = end.blob
    assert event.mode == END_MODE
    assert event.payload["status"] == "error" and event.payload["error"] is error


def test_an_exception_of_the_driver_is_shipped_as_data() -> None:
    play = coordinated(fan, limit=1, modes=DEBUG)
    for start in list(play.running.values()):
        play.end(start)
    end = play.ops[-1].blob[0].payload
    assert isinstance(end["error"], ShippedError)
    assert end["error"].type_name == "distgraph.errors.GraphRecursionError"


def test_the_output_travels_only_where_it_is_asked_for() -> None:
    for wanted, value in ((True, {"items": ["a", "b", "c", "last"]}), (False, None)):
        graph = fan().compile(backend="local")
        play = FakeRun(graph, want_output=wanted)
        play.start({"items": []})
        while play.running:
            play.end(next(iter(play.running.values())))
        assert play.ops[-1].blob[0].payload["value"] == value


def test_where_nothing_is_streamed_only_the_end_is_told() -> None:
    for end in ("finish", "cancel", "lose"):
        play = coordinated(to_parent, modes=frozenset())
        assert play.ops == []
        if end == "cancel":
            play.cancel()
        elif end == "lose":
            play.lose(play.of("s1"), ValueError("gone"))
        while play.finished is None:
            play.end(next(iter(play.running.values())))
        assert [type(op) for op in play.ops] == [Finish]
        assert not play.running


def test_debug_wraps_what_starts_and_ends_with_the_time() -> None:
    moment = datetime(2024, 5, 6, tzinfo=timezone.utc)
    graph = fan().compile(backend="local")
    run = options(modes=frozenset({"debug"}))
    play = FakeRun(graph, run, now=lambda: moment)
    play.start({"items": []})
    play.end(play.of("a"))
    events = [payload for mode, payload in shown(play.ops) if mode == "debug"]
    assert [e["type"] for e in events] == ["task"] * 3 + ["task_result"]
    assert {e["timestamp"] for e in events} == {moment.isoformat()}
    assert [e["step"] for e in events] == [1] * 4
    assert events[-1]["payload"]["result"] == {"items": ["a"]}
    assert {mode for mode, _ in shown(play.ops)} == {"debug"}


def test_the_end_of_a_run_without_its_engine_is_told_like_any_other() -> None:
    segment = Segment(DRIVER, 1, 0, 1, 1, end_blob("error", error=ValueError("no"), orphan=True))
    (event,) = decode_events(segment)
    assert event.mode == END_MODE
    assert event.payload["status"] == "error" and event.payload["orphan"] is True
    assert event.payload["error"].message == "no"


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_operations_of_every_run(case: Case, data: st.DataObject) -> None:
    room = data.draw(st.none() | st.integers(1, 2), label="room")
    play = FakeRun(case.graph(), options(modes=DEBUG), room=room)
    play.start(case.given)
    cancel_at = data.draw(st.none() | st.integers(0, 6))
    ends = 0
    while play.finished is None:
        if ends == cancel_at:
            play.cancel()
            break
        running = list(play.running.values())
        actions = play.end(running[data.draw(st.integers(0, len(running) - 1))])
        assert isinstance(actions.ops[0], Commit)
        ends += 1
    open_, closed = set(), set()
    published = 0
    for op in play.ops:
        if isinstance(op, Admit):
            assert (op.task_id, op.attempt) not in open_ | closed
            open_.add((op.task_id, op.attempt))
        elif isinstance(op, (Commit, Fence)):
            open_.remove((op.task_id, op.attempt))
            closed.add((op.task_id, op.attempt))
        elif isinstance(op, Publish):
            segment = op.segment
            assert (segment.task_id, segment.attempt) == (DRIVER, 1)
            assert segment.first == published + 1
            assert segment.count == len(segment.blob) > 0
            published += segment.count
    assert not open_
    finishes = [op for op in play.ops if isinstance(op, Finish)]
    assert finishes == [play.ops[-1]]
    assert play.finished is not None
    assert finishes[0].force == (play.finished.status == "cancelled")


# --- through the log ------------------------------------------------------------------------------


class Wire:
    """The ways into a log, along which everything may be overtaken."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.log = RunLog(retain_bytes=0)
        self.reader = Reassembler("run")
        self.events: list[StreamEvent] = []
        self.under_way: list[Callable[[], object]] = []
        self.batches = 0

    def drive(self, ops: list[Any]) -> None:
        if ops:
            self.batches += 1
            self.under_way.append(lambda no=self.batches, ops=ops: self.log.drive(no, ops))

    def publish(self, segment: Segment) -> None:
        self.under_way.append(lambda: self.log.publish(segment))

    def deliver(self) -> None:
        """Let some of what is under way arrive, in any order."""
        for _ in range(self.data.draw(st.integers(0, len(self.under_way)))):
            self.deliver_one()

    def deliver_one(self) -> None:
        self.under_way.pop(self.data.draw(st.integers(0, len(self.under_way) - 1)))()
        while deliveries := self.log.read(self.reader.position):
            self.events += self.reader.feed(deliveries)
            self.log.ack(self.reader.position)

    def segments(self, start: StartTask, events: list[Event]) -> list[Segment]:
        """Cut what an attempt emitted into segments."""
        made: list[Segment] = []
        first = 1
        while first <= len(events):
            count = self.data.draw(st.integers(1, len(events) - first + 1))
            blob = encode_events(events[first - 1 : first - 1 + count])
            made.append(Segment(*key_of(start), start.request.step, first, count, blob))
            first += count
        return made


def contract(events: list[StreamEvent]) -> None:
    """The numbered promises of a stream that hold whatever happens to a run."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.mode for event in events].count(END_MODE) == 1
    assert events[-1].mode == END_MODE
    seen: dict[tuple[str, int], int] = {}
    steps: dict[tuple[str, ...], int] = {}
    for event in events[:-1]:
        key = (event.task_id, event.attempt)
        assert event.pub_seq == seen.get(key, 0) + 1
        seen[key] = event.pub_seq
        assert event.step >= steps.get(event.ns, -1), "an event of a step that was over"
        steps[event.ns] = event.step


def results(events: list[StreamEvent]) -> dict[str, int]:
    """Where in the stream each task's result is."""
    return {
        e.payload["id"]: i
        for i, e in enumerate(events)
        if e.mode == "tasks" and "result" in e.payload
    }


def stream(
    case: Case, data: st.DataObject, *, cancel: bool = False, lose: bool = False
) -> tuple[FakeRun, Wire, dict[tuple[str, int], int]]:
    """Run a graph while everything about it is under way, to the end of its stream."""
    wire = Wire(data)
    room = data.draw(st.none() | st.integers(1, 2), label="room")
    play = FakeRun(case.graph(), options(), room=room, encode=encode_events)
    emitted: dict[tuple[str, int], int] = {}
    wire.drive(play.start(case.given).ops)
    cancel_at = data.draw(st.integers(0, 6)) if cancel else None
    lose_at = data.draw(st.integers(0, 6)) if lose else None
    ends = 0
    while play.finished is None:
        if ends == cancel_at:
            for start in play.running.values():  # what was emitted, and is lost or late
                _, events = attempt(play.graph, start.request, play.run)
                for segment in wire.segments(start, events):
                    wire.publish(segment)
            wire.drive(play.cancel().ops)
            break
        running = list(play.running.values())
        start = running[data.draw(st.integers(0, len(running) - 1))]
        outcome, events = attempt(play.graph, start.request, play.run)
        segments = wire.segments(start, events)
        if ends == lose_at:
            for segment in segments:
                if data.draw(st.booleans()):
                    wire.publish(segment)
            told = play.lose(start, ValueError("gone"))
        else:
            unsent = data.draw(st.integers(0, len(segments)))
            sent, tail = segments[: len(segments) - unsent], segments[len(segments) - unsent :]
            for segment in sent:
                wire.publish(segment)
            emitted[key_of(start)] = len(events)
            told = play.ended(replace(outcome, published=len(events), tail=tuple(tail)))
        wire.drive(told.ops)
        wire.deliver()
        ends += 1
    while wire.under_way:
        wire.deliver_one()
    assert wire.reader.ended, f"the stream hangs at {wire.log.gate}"
    return play, wire, emitted


@cases
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_reader_sees_every_event_in_its_place(case: Case, data: st.DataObject) -> None:
    play, wire, emitted = stream(case, data)
    contract(wire.events)
    found = dict.fromkeys(emitted, 0)
    ends = results(wire.events)
    for position, event in enumerate(wire.events):
        if event.task_id == DRIVER:
            continue
        found[event.task_id, event.attempt] += 1
        if event.task_id in ends:
            assert position < ends[event.task_id], "behind the result of its task"
    assert found == emitted
    end = wire.events[-1].payload
    assert end["status"] == case.status
    assert play.finished is not None and end["value"] == play.finished.value


@cases
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_cancelled_stream_ends_whatever_is_under_way(case: Case, data: st.DataObject) -> None:
    play, wire, _ = stream(case, data, cancel=True)
    contract(wire.events)
    assert play.finished is not None
    assert wire.events[-1].payload["status"] == play.finished.status


@cases
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_lost_attempt_leaves_a_prefix_of_its_events(case: Case, data: st.DataObject) -> None:
    play, wire, emitted = stream(case, data, lose=True)
    contract(wire.events)
    for key, count in emitted.items():
        assert len([e for e in wire.events if (e.task_id, e.attempt) == key]) == count
    assert play.finished is not None
    assert wire.events[-1].payload["status"] == play.finished.status


def test_events_are_stamped_with_the_time_of_the_clock_by_default() -> None:
    writer = OperationWriter(frozenset({"debug"}), encode=list, want_output=False)
    before = datetime.now(timezone.utc)
    writer.emit(Emit((), 1, "tasks", {}, debug_type="task"))
    events = [p for _, p in shown(writer.take())]
    stamps = {datetime.fromisoformat(e["timestamp"]) for e in events}
    assert all(before <= stamp <= datetime.now(timezone.utc) for stamp in stamps)
