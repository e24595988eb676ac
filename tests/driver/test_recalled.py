"""Attempts that wait behind a slow one of their group are given back, and sent again."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Annotated, Any, TypedDict

from hypothesis import given
from hypothesis import strategies as st

from distgraph.contract.stream import Admit, Commit
from distgraph.driver.batching import Durations
from distgraph.driver.ports import Group, GroupEnded, GroupRecalled
from distgraph.errors import WorkerDied
from distgraph.graph import StateGraph
from distgraph.types import Send
from tests.driver.fake import FakeBackend, FakeRun
from tests.engine.play import attempt, options

SHORT = 0.001
"""Seconds that an attempt takes, on a machine of any speed."""


class State(TypedDict):
    items: Annotated[list[Any], operator.add]


def node(number: int) -> dict[str, Any]:
    return {"items": [number]}


def wide(count: int) -> FakeRun:
    """Return a run whose step of ``count`` short attempts was sent, in groups."""
    builder = StateGraph(State).add_node("n", node)
    builder.add_conditional_edges("__start__", lambda state: [Send("n", i) for i in range(count)])
    durations = Durations()
    durations.note(("", (), "n", "node", ""), SHORT)
    run = FakeRun(
        builder.compile(backend="local"),
        options(modes=frozenset({"updates"})),
        backend=FakeBackend(batched=True),
        durations=durations,
    )
    run.start({"items": []})
    run.end(run.of("__start__"))
    return run


def outcomes(run: FakeRun, group: Group, first: int, last: int) -> list[Any]:
    starts = list(group.starts)[first:last]
    ended = [attempt(run.graph, start.request, run.run)[0] for start in starts]
    # what attempts took decides how many are sent together
    return [replace(outcome, duration=SHORT) for outcome in ended]


def finish(run: FakeRun) -> None:
    while run.backend.in_flight:
        group = run.backend.in_flight.pop(0)
        run.post(GroupEnded(group, outcomes(run, group, 0, len(group.starts))))


def test_what_has_not_begun_is_sent_in_other_groups() -> None:
    run = wide(8)
    group = run.backend.in_flight.pop(0)
    ids, starts = list(group.ids), list(group.starts)
    assert len(ids) == 4
    run.post(GroupRecalled(group, outcomes(run, group, 0, 1), 2))
    assert group.ids == ids[:2]
    sent = [attempt_id for other in run.backend.in_flight for attempt_id in other.ids]
    assert sent[-2:] == ids[2:]
    finish(run)
    assert run.finished is None  # the slow one goes on
    slow = attempt(run.graph, starts[1].request, run.run)[0]
    run.post(GroupEnded(group, (slow,)))
    assert run.finished.status == "done"
    assert run.finished.value == {"items": list(range(8))}


def test_outcomes_that_come_early_are_in_the_stream_at_once() -> None:
    run = wide(4)
    group = run.backend.in_flight.pop(0)
    told = run.post(GroupRecalled(group, outcomes(run, group, 0, 1), 2))
    assert [op.task_id for op in told.ops if isinstance(op, Commit)] == [group.ids[0].task_id]


def test_an_attempt_that_is_sent_again_is_admitted_once() -> None:
    run = wide(8)
    group = run.backend.in_flight.pop(0)
    run.post(GroupRecalled(group, (), 1))
    finish(run)
    admitted = [op.task_id for op in run.ops if isinstance(op, Admit)]
    assert len(admitted) == len(set(admitted)) == 9


def test_attempts_that_were_given_back_are_not_lost_with_the_group() -> None:
    run = wide(8)
    group = run.backend.in_flight.pop(0)
    slow = group.ids[0]
    run.post(GroupRecalled(group, (), 1))
    run.post(GroupEnded(group, lost={slow: WorkerDied("gone")}))
    again = [start.request for start in run.running.values() if start.request.attempt == 2]
    assert [request.task_id for request in again] == [slow.task_id]
    finish(run)
    assert run.finished.value == {"items": list(range(8))}


def test_of_a_run_that_was_cancelled_nothing_is_sent_again() -> None:
    run = wide(8)
    group = run.backend.in_flight.pop(0)
    run.cancel()
    run.backend.in_flight.clear()
    run.post(GroupRecalled(group, (), 1))
    assert run.backend.in_flight == []


@given(st.data())
def test_every_attempt_counts_once_whatever_is_given_back(data: st.DataObject) -> None:
    count = data.draw(st.integers(4, 24))
    run = wide(count)
    known: dict[Group, int] = {}
    while run.backend.in_flight:
        at = data.draw(st.integers(0, len(run.backend.in_flight) - 1))
        group = run.backend.in_flight[at]
        told = known.get(group, 0)
        if told == 0 and data.draw(st.booleans()):
            ended = data.draw(st.integers(0, len(group.starts) - 1))
            known[group] = ended or -1
            done = outcomes(run, group, 0, ended)
            run.post(GroupRecalled(group, done, ended + 1))
        else:
            del run.backend.in_flight[at]
            run.post(GroupEnded(group, outcomes(run, group, max(0, told), len(group.starts))))
    assert run.finished.value == {"items": list(range(count))}
