"""When an actor that gives no sign of life is ended, or is waited for no longer. No Ray runs."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors import mirror, signs_of_life
from actors.broker import StreamBroker
from actors.patient import answer_within
from actors.signs_of_life import REPORT, STARTS, Watched, when_lost
from distgraph.errors import BrokerLost
from distgraph.streaming.broker import Limits

BOUND = 60.0


class Actor:
    """An actor that answers when it is told to, and the clock and timers of who watches it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.questions: list[Future[int]] = []
        self.due: list[tuple[float, Any]] = []
        self.killed: list[float] = []
        self.process = SimpleNamespace(remote=lambda: SimpleNamespace(future=self.ask))
        monkeypatch.setattr(signs_of_life, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(signs_of_life, "timers", lambda: SimpleNamespace(after=self.after))
        monkeypatch.setattr(signs_of_life, "cpu_waits", lambda pid: None)
        kill = SimpleNamespace(kill=lambda handle, no_restart: self.killed.append(self.now))
        monkeypatch.setattr(signs_of_life, "ray", kill)
        self.exists = True
        monkeypatch.setattr(signs_of_life, "os", SimpleNamespace(kill=self.kill))

    def kill(self, pid: int, number: int) -> None:
        if not self.exists:
            raise ProcessLookupError

    def begin(self) -> None:
        """Give the first sign of life."""
        self.questions[-1].set_result(1)

    def ask(self) -> Future[int]:
        self.questions.append(Future())
        return self.questions[-1]

    def after(self, seconds: float, call: Any) -> None:
        self.due.append((self.now + seconds, call))

    def run(self, seconds: float, *, answers: bool = False) -> None:
        """Let time go by, in which what is due is called."""
        until = self.now + seconds
        while self.due and self.due[0][0] <= until:
            self.now, call = self.due.pop(0)
            call()
            if answers and not self.questions[-1].done():
                self.questions[-1].set_result(1)
        self.now = until

    def stop_both(self, seconds: float) -> None:
        """Let time go by in which neither the actor nor who watches it runs."""
        self.now += seconds
        self.due = [(max(at, self.now), call) for at, call in self.due]


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Actor:
    return Actor(monkeypatch)


def test_an_actor_that_answers_is_not_ended(actor: Actor) -> None:
    Watched(actor).watch("stream broker", BOUND)
    actor.run(1000, answers=True)
    assert actor.killed == []
    assert len(actor.questions) == 1000


def test_one_that_does_not_is_reported_and_then_ended_at_its_bound(
    actor: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[float] = []
    Watched(actor).watch("stream broker", BOUND, ending=lambda: told.append(actor.now))
    actor.begin()
    actor.run(REPORT + 2)
    assert [m.startswith("the stream broker (process 1 on ") for m in caplog.messages] == [True]
    actor.run(BOUND - REPORT - 2)
    assert (actor.killed, told) == ([], [])
    actor.run(2)
    assert (actor.killed, told) == ([161.0], [161.0])


def test_what_follows_it_has_its_own_time(actor: Actor) -> None:
    Watched(actor, restarts=True).watch("stream broker", BOUND)
    actor.begin()
    actor.run(BOUND + 30)
    assert actor.killed == [161.0]
    actor.run(BOUND, answers=True)
    assert actor.killed == [161.0]


def test_the_time_in_which_it_is_started_again_does_not_count(actor: Actor) -> None:
    Watched(actor, restarts=True).watch("stream broker", 3.0)
    actor.run(STARTS)
    assert actor.killed == []
    actor.begin()
    actor.run(2)
    actor.exists = False  # it has died, and the question waits for its successor
    actor.run(STARTS)
    assert actor.killed == []
    actor.run(10)
    assert actor.killed == [226.0]


def test_one_that_has_died_is_asked_anew(actor: Actor) -> None:
    guard = Watched(actor)
    guard.watch("stream broker", BOUND)
    actor.run(30)
    actor.questions[0].set_exception(RuntimeError("it died"))
    assert guard.seen == float("-inf")
    actor.run(40)
    assert actor.killed == []
    assert len(actor.questions) == 2


def test_time_in_which_who_watches_was_stopped_does_not_count(actor: Actor) -> None:
    Watched(actor).watch("stream broker", BOUND)
    actor.begin()
    actor.run(2)
    actor.stop_both(1000)
    actor.run(BOUND - 1)
    assert actor.killed == []
    actor.run(2)
    assert len(actor.killed) == 1


def test_one_that_is_watched_no_longer_is_left_alone(actor: Actor) -> None:
    Watched(actor).watch("stream broker", BOUND, until=lambda: actor.now >= 130)
    actor.run(1000)
    assert actor.killed == []
    assert actor.due == []


class Late(Future[bytes]):
    """An answer that does not come; each wait for it takes its time."""

    def __init__(self, busy: float = 0.0) -> None:
        super().__init__()
        self.now = 0.0
        self._busy = busy

    def clock(self) -> float:
        return self.now

    def waited(self, pid: int | None) -> float:
        """Say that processes of the machine waited for a CPU for a part of all time."""
        assert pid is None
        return self.now * self._busy

    def result(self, timeout: float | None = None) -> bytes:
        assert timeout is not None and timeout <= 1.0
        self.now += timeout
        raise FutureTimeout


@pytest.mark.parametrize(("busy", "seconds"), [(0.0, 30.0), (0.5, 60.0), (1.0, 120.0)])
def test_an_answer_is_waited_for_longer_where_processes_wait_for_cpus(
    busy: float, seconds: float
) -> None:
    late = Late(busy)
    with pytest.raises(FutureTimeout):
        answer_within(30.0, late, clock=late.clock, waited=late.waited)
    assert seconds <= late.now < seconds + 2


def test_a_broker_does_not_wait_for_a_mirror_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def answer(seconds: float, future: str) -> bytes:
        assert future == "what it has"
        asked.append(seconds)
        raise FutureTimeout

    begins = SimpleNamespace(future=lambda: "what it has")
    stopped = SimpleNamespace(begin=SimpleNamespace(remote=lambda: begins))
    monkeypatch.setattr(mirror, "_found", lambda session: (1, stopped))
    monkeypatch.setattr(mirror, "answer_within", answer)
    with pytest.raises(BrokerLost, match="its mirror is lost"):
        mirror.Mirroring("session", Limits(), lambda: None, lambda call: call())
    assert asked == [30.0]


def test_a_broker_whose_calls_wait_for_its_mirror_gives_signs_of_life() -> None:
    groups = {
        name: getattr(method, "__ray_concurrency_group__", None)
        for name, method in vars(StreamBroker).items()
    }
    assert [name for name, group in groups.items() if group == groups["process"]] == ["process"]


class Watchable:
    """An actor whose method ``watch`` ends when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Future[None]] = []
        self.watch = SimpleNamespace(remote=lambda: SimpleNamespace(future=self.begin))

    def begin(self) -> Future[None]:
        self.calls.append(Future())
        return self.calls[-1]


def test_an_actor_that_is_started_again_is_watched_until_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, actor, lost = Actor(monkeypatch), Watchable(), []
    monkeypatch.setattr(signs_of_life, "ray", SimpleNamespace(is_initialized=lambda: True))
    when_lost(actor, lost.append)
    for number in (1, 2):
        actor.calls[-1].set_exception(ActorUnavailableError("it is started again", b"1" * 16))
        assert len(actor.calls) == number
        (_, watch) = clock.due.pop()
        watch()
    actor.calls[-1].set_exception(ActorDiedError())
    assert lost == [actor.calls[2]] and clock.due == []


def test_the_call_that_watches_a_broker_is_not_repeated_by_ray() -> None:
    """At the end of a session with a mirror, Ray would print that it repeats the call."""
    assert StreamBroker.watch.__ray_max_task_retries__ == 0  # type: ignore[attr-defined]
