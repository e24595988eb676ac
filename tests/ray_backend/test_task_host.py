"""Ray tasks that run one group of attempts each: another one follows a task that does not begin."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from actors import task_host
from actors.task_host import TaskGroup, TaskHost
from distgraph.driver.leases import OVERDUE


class Task:
    """Stands for the reference of a Ray task."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.end: Future[Any] = Future()

    def future(self) -> Future[Any]:
        return self.end

    def task_id(self) -> Any:
        return self

    def hex(self) -> str:
        return f"task {self.number}"


class World:
    """Heartbeats, reaper, timers and clock of a host."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.killed: list[int] = []
        self.cancelled: list[int] = []
        self.settled: list[str] = []
        self.due: list[Any] = []
        self.tasks: list[Task] = []
        self.done: list[tuple[str, Any]] = []
        self.may_run: Any = None
        patch.setattr(task_host.time, "monotonic", lambda: self.now)
        patch.setattr(task_host, "timers", lambda: self)
        self.host = TaskHost(self, self)  # type: ignore[arg-type]

    def kill(self, task: Task, label: str) -> None:
        self.killed.append(task.number)

    def cancel(self, task: Any, ask: Any, label: str, process: Any) -> None:
        self.cancelled.append(task.number)

    def doom(self, name: str) -> None: ...

    def settle(self, name: str) -> None:
        self.settled.append(name)

    def after(self, seconds: float, act: Any) -> None:
        act()

    def at(self, time: float, act: Any) -> None:
        self.due.append(act)

    def submit(self) -> TaskGroup:
        def start(number: int) -> Task:
            self.tasks.append(Task(number))
            return self.tasks[-1]

        def done(task: str, future: Future[Any] | None) -> None:
            self.done.append((task, None if future is None else future.result()))

        group = TaskGroup("a", "needs", "node 'n'", start, done)
        self.host.submit(group)
        return group

    def wait(self) -> None:
        self.now += OVERDUE
        due, self.due = self.due, []
        for act in due:
            act()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_task_runs_its_group(world: World) -> None:
    world.submit()
    assert world.may_run("a", 1)
    world.tasks[0].end.set_result(b"outcome")
    assert world.done == [("task 1", b"outcome")]
    assert world.settled == ["a"]
    assert not world.may_run("a", 1)


def test_another_task_follows_one_that_does_not_begin_and_then_it_runs_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.submit()
    world.wait()
    assert [task.number for task in world.tasks] == [1, 2]
    assert "node 'n' has waited 30 s for a worker" in caplog.text
    assert world.may_run("a", 2)
    assert world.killed == [1]
    assert not world.may_run("a", 1)
    world.tasks[0].end.set_result(None)
    assert world.done == []
    world.tasks[1].end.set_result(b"outcome")
    assert world.done == [("task 2", b"outcome")]


def test_a_cancel_before_any_task_begins_ends_the_group_at_once(world: World) -> None:
    world.submit()
    world.wait()
    world.host.cancel("a")
    assert world.done == [("", None)]
    assert world.killed == [1, 2]
    assert not world.may_run("a", 1)
    world.tasks[0].end.set_result(None)
    assert world.done == [("", None)]


def test_a_cancel_of_a_group_that_runs_ends_with_its_task(world: World) -> None:
    world.submit()
    world.may_run("a", 1)
    world.host.cancel("a")
    assert world.cancelled == [1]
    assert world.done == []
    world.tasks[0].end.set_result(b"outcome")
    assert world.done == [("task 1", b"outcome")]
