"""Whatever order the inputs of a log come in, and how often, its stream keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.contract.stream import (
    DRIVER,
    END_MODE,
    Admit,
    Commit,
    Fence,
    Finish,
    Op,
    Publish,
    Segment,
    StreamEvent,
)
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import RunLog

from .support import END_BLOB, driver_segment, segment

Input = Callable[[RunLog], object]


@dataclass
class Run:
    """A run as it was: what each task emitted, in which step, and what tells the log."""

    steps: list[dict[str, int]]
    """Events of each task, by step."""
    lost: set[str]
    """Tasks whose first attempt died: its events may be lost from anywhere on."""
    inputs: list[Input]


def cut(draw: st.DrawFn, events: int) -> list[tuple[int, int]]:
    """Cut events 1 … into (first, count) pieces."""
    pieces, first = [], 1
    while first <= events:
        count = draw(st.integers(1, events - first + 1))
        pieces.append((first, count))
        first += count
    return pieces


def publish(one: Segment) -> Input:
    return lambda log: log.publish(one)


def drive(number: int, ops: list[Op]) -> Input:
    return lambda log: log.drive(number, ops)


@st.composite
def runs(draw: st.DrawFn, *, with_losses: bool = False) -> Run:
    run = Run([], set(), [])
    ops: list[Op] = []
    for step in range(1, draw(st.integers(1, 4)) + 1):
        tasks = [f"{step}.{n}" for n in range(draw(st.integers(1, 3)))]
        run.steps.append({})
        ops += [Admit(task, 1, step) for task in tasks]
        for task in draw(st.permutations(tasks)):
            attempt = 1
            events = draw(st.integers(0, 6))
            if with_losses and draw(st.booleans()):
                run.lost.add(task)
                pieces = cut(draw, events)
                arriving = draw(st.lists(st.sampled_from(pieces), unique=True)) if pieces else []
                run.inputs += [publish(segment(task, *piece, step=step)) for piece in arriving]
                if draw(st.booleans()):
                    # The result was there, but the worker died with puts on their way.
                    ops.append(Commit(task, 1, events))
                ops += [Fence(task, 1), Publish(driver_segment(("reset", task), step=step))]
                attempt = 2
                ops.append(Admit(task, 2, step))
                events = draw(st.integers(0, 6))
            pieces = cut(draw, events)
            made = [segment(task, *piece, attempt=attempt, step=step) for piece in pieces]
            unsent = draw(st.integers(0, len(made)))
            sent, tail = made[: len(made) - unsent], made[len(made) - unsent :]
            run.inputs += [publish(one) for one in sent]
            ops.append(Commit(task, attempt, events, tuple(tail)))
            ops.append(Publish(driver_segment(("update", task), step=step)))
            run.steps[-1][task] = events
        ops.append(Publish(driver_segment(("values", step), step=step)))
    ops.append(Finish(END_BLOB))
    number = 0
    while ops:
        size = draw(st.integers(1, len(ops)))
        number += 1
        run.inputs.append(drive(number, ops[:size]))
        ops = ops[size:]
    return run


def consume(data: st.DataObject, run: Run, *, repeats: bool) -> list[StreamEvent]:
    """Feed a run's inputs in a drawn order, and read the log meanwhile."""
    inputs = list(run.inputs)
    if repeats:
        inputs += data.draw(st.lists(st.sampled_from(run.inputs), max_size=10))
    log, reader, events = RunLog(retain_bytes=0), Reassembler("run"), list[StreamEvent]()
    for one in data.draw(st.permutations(inputs)):
        one(log)
        if data.draw(st.booleans()):
            events += reader.feed(log.read(reader.position, data.draw(st.integers(1, 2000))))
            log.ack(reader.position)
    while deliveries := log.read(reader.position):
        events += reader.feed(deliveries)
        log.ack(reader.position)
    assert reader.ended, f"the stream hangs at {log.gate}"
    statistics = log.statistics()
    assert (statistics.unread_bytes, statistics.held_bytes, statistics.held_events) == (0, 0, 0)
    return events


def check_contract(run: Run, events: list[StreamEvent]) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.mode for event in events].count(END_MODE) == 1
    assert events[-1].mode == END_MODE
    steps = [event.step for event in events]
    assert steps == sorted(steps)
    for tasks in run.steps:
        for task, count in tasks.items():
            attempt = 2 if task in run.lost else 1
            own = [i for i, e in enumerate(events) if e.task_id == task and e.attempt == attempt]
            assert [events[i].pub_seq for i in own] == list(range(1, count + 1))
            assert [events[i].payload for i in own] == [
                (task, attempt, n) for n in range(1, count + 1)
            ]
            (update,) = (i for i, e in enumerate(events) if e.payload == ("update", task))
            assert all(i < update for i in own)
    driver = [event.payload for event in events if event.task_id == DRIVER]
    assert [p for p in driver if p[0] == "values"] == [
        ("values", n) for n in range(1, len(run.steps) + 1)
    ]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_interleaving_with_repeats_gives_the_contract(data: st.DataObject) -> None:
    run = data.draw(runs())
    events = consume(data, run, repeats=True)
    check_contract(run, events)
    updates = sum(len(tasks) + 1 for tasks in run.steps)
    assert len(events) == sum(sum(tasks.values()) for tasks in run.steps) + updates + 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_lost_attempt_leaves_a_prefix_and_nothing_after_its_reset(data: st.DataObject) -> None:
    run = data.draw(runs(with_losses=True))
    events = consume(data, run, repeats=True)
    check_contract(run, events)
    for task in run.lost:
        (reset,) = (i for i, e in enumerate(events) if e.payload == ("reset", task))
        lost = [i for i, e in enumerate(events) if e.task_id == task and e.attempt == 1]
        assert [events[i].pub_seq for i in lost] == list(range(1, len(lost) + 1))
        assert all(i < reset for i in lost)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_stream_ends_whenever_it_is_terminated(data: st.DataObject) -> None:
    run = data.draw(runs(with_losses=True))
    inputs = data.draw(st.permutations(run.inputs))
    at = data.draw(st.integers(0, len(inputs)))
    log = RunLog()
    for one in inputs[:at]:
        one(log)
    log.terminate(END_BLOB)
    for one in inputs[at:]:
        one(log)
    events = Reassembler("run").feed(log.read(0, 1 << 30))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.mode for event in events].count(END_MODE) == 1
    assert events[-1].mode == END_MODE
    seen: dict[tuple[str, int], int] = {}
    for event in events:
        if event.task_id != DRIVER:
            key = (event.task_id, event.attempt)
            assert event.pub_seq == seen.get(key, 0) + 1
            seen[key] = event.pub_seq
