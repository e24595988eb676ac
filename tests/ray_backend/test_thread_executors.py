"""The processes of threads whose nodes are pinned: when they start, and when they end."""

from types import SimpleNamespace

import pytest

from actors.executor_choice import ThreadExecutors


class FakeExecutor:
    """Notes what is asked of a process."""

    def __init__(self):
        self.is_lost = False
        self.asked = []

    def drop(self, run_id):
        self.asked.append(f"drop {run_id}")

    def end(self):
        self.asked.append("end")


@pytest.mark.parametrize(("idle", "ended"), [(0.0, ["end"]), (3600.0, [])])
def test_a_process_ends_when_its_thread_was_idle_for_long_enough(idle, ended):
    executors = ThreadExecutors(idle, FakeExecutor)
    process = executors.join("t", "run 1")
    executors.leave("t", "run 1")
    executors.release()
    assert process.asked == ["drop run 1", *ended]
    assert executors.count == (0 if ended else 1)


def test_a_process_does_not_end_while_a_run_uses_it():
    executors = ThreadExecutors(0.0, FakeExecutor)
    process = executors.join("t", "run 1")
    assert executors.join("t", "run 2") is process
    executors.leave("t", "run 1")
    executors.release()
    assert process.asked == ["drop run 1"]
    assert executors.join("t", "run 2") is process


def test_nothing_is_looked_at_while_every_process_is_used(monkeypatch):
    looks = []
    monkeypatch.setattr(
        "actors.executor_choice.timers",
        lambda: SimpleNamespace(after=lambda _, look: looks.append(look)),
    )
    executors = ThreadExecutors(0.0, FakeExecutor)
    executors.join("t", "run 1")
    executors.join("t", "run 2")
    executors.leave("t", "run 1")
    looks.pop()()
    assert looks == []
    executors.leave("t", "run 2")
    looks.pop()()
    assert looks == []
    assert executors.count == 0


def test_a_thread_whose_process_died_gets_another():
    executors = ThreadExecutors(3600.0, FakeExecutor)
    process = executors.join("t", "run 1")
    process.is_lost = True
    other = executors.join("t", "run 1")
    assert other is not process
    other.is_lost = True
    executors.leave("t", "run 1")
    executors.release()
    assert executors.count == 0
    assert "end" not in other.asked
