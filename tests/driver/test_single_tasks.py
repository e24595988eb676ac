"""Which task runs a group of attempts, when another one was submitted in its place."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.driver.leases import MOST_OVERDUE, OVERDUE
from distgraph.driver.single_tasks import Again, SingleTasks


def submitted(*names: str) -> SingleTasks:
    tasks = SingleTasks()
    for at, name in enumerate(names):
        tasks.submitted(name, "needs", float(at))
    return tasks


def test_a_task_runs_its_group_and_ends_it() -> None:
    tasks = submitted("a")
    assert tasks.deadline() == OVERDUE
    assert tasks.asks("a", 1)
    assert tasks.deadline() is None
    assert tasks.ended("a", 1)
    assert not tasks.asks("a", 1)


def test_a_task_that_begins_late_runs_nothing() -> None:
    tasks = submitted("a")
    assert tasks.tick(OVERDUE - 1) == []
    assert tasks.tick(OVERDUE) == [Again("a", 2)]
    assert tasks.asks("a", 2)
    assert tasks.others("a", 2) == [1]
    assert not tasks.asks("a", 1)
    assert not tasks.ended("a", 1)
    assert tasks.ended("a", 2)


def test_the_first_task_may_be_the_one_that_begins() -> None:
    tasks = submitted("a")
    tasks.tick(OVERDUE)
    assert tasks.asks("a", 1)
    assert not tasks.asks("a", 2)
    assert tasks.ended("a", 1)
    assert not tasks.ended("a", 2)


def test_a_task_that_asks_again_may_still_run() -> None:
    tasks = submitted("a")
    assert tasks.asks("a", 1)
    assert tasks.asks("a", 1)


def test_a_task_that_dies_before_it_begins_ends_its_group_unless_there_is_another() -> None:
    tasks = submitted("a", "b")
    assert tasks.ended("a", 1)
    tasks.tick(OVERDUE + 1)
    assert not tasks.ended("b", 1)
    assert tasks.ended("b", 2)


def test_few_tasks_are_submitted_again_where_many_groups_wait() -> None:
    tasks = submitted(*"abcdef")
    assert tasks.tick(100.0) == [Again("a", 2), Again("b", 2)]
    assert tasks.tick(1000.0) == []
    assert tasks.asks("a", 1)
    assert tasks.tick(1000.0) == [Again("c", 2)]


def test_a_group_gets_no_more_than_two_tasks_more() -> None:
    tasks = submitted("a")
    found = [again for now in range(0, 1000, 10) for again in tasks.tick(float(now))]
    assert found == [Again("a", 2), Again("a", 3)]


def test_a_group_that_is_cancelled_before_it_begins_has_ended() -> None:
    tasks = submitted("a", "b")
    assert tasks.cancel("a")
    assert not tasks.asks("a", 1)
    assert not tasks.ended("a", 1)
    tasks.asks("b", 1)
    assert not tasks.cancel("b")
    assert tasks.ended("b", 1)


@settings(max_examples=300)
@given(st.data())
def test_in_any_order_each_group_runs_at_most_once_and_ends_once(data: st.DataObject) -> None:
    tasks, now = SingleTasks(), 0.0
    live: set[tuple[str, int]] = set()
    ran: dict[str, int] = {}
    ends: dict[str, int] = {}

    def over(name: str, has_ended: bool) -> None:
        ends[name] = ends.get(name, 0) + has_ended

    names = [f"g{number}" for number in range(data.draw(st.integers(1, 5)))]
    for name in names:
        tasks.submitted(name, data.draw(st.sampled_from("xy")), now)
        live.add((name, 1))
    for _ in range(data.draw(st.integers(0, 30))):
        what = data.draw(st.sampled_from(["ask", "end", "cancel", "pass"]))
        if what == "pass":
            now += data.draw(st.sampled_from([1.0, OVERDUE]))
            live.update((again.name, again.number) for again in tasks.tick(now))
            due = tasks.deadline()
            assert due is None or due > now
        elif what == "cancel":
            name = data.draw(st.sampled_from(names))
            over(name, tasks.cancel(name))
        elif live:
            name, number = data.draw(st.sampled_from(sorted(live)))
            if what == "ask" and tasks.asks(name, number):
                assert ran.setdefault(name, number) == number
            elif what == "end":
                live.discard((name, number))
                over(name, tasks.ended(name, number))
        assert len(live) <= len(names) + 2 * MOST_OVERDUE * len(names)
    for name, number in sorted(live):
        over(name, tasks.ended(name, number))
    assert ends == dict.fromkeys(names, 1)
