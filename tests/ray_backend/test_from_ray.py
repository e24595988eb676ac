"""A process for which Ray does not bring a value ends: another one gets it. No Ray runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from actors import from_ray

WHAT = "Ray has not brought a value for 0 s"


class Answer:
    """A reference whose value comes when the test says so."""

    def __init__(self) -> None:
        self.result: Future[Any] = Future()

    def future(self) -> Future[Any]:
        return self.result

    def __await__(self) -> Iterator[Any]:
        return asyncio.wrap_future(self.result).__await__()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_ray, "PATIENCE", 0.0)


def test_an_actor_that_does_not_answer_ends_the_process() -> None:
    ends: list[str] = []
    with pytest.raises(FutureTimeout):
        from_ray.answered(Answer(), "a value", ends.append)
    assert ends == [WHAT]


def test_a_value_that_does_not_come_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(reference: object, timeout: float) -> None:
        assert (reference, timeout) == ("reference", 0.0)
        raise GetTimeoutError

    monkeypatch.setattr(from_ray, "ray", SimpleNamespace(get=get))
    ends: list[str] = []
    with pytest.raises(GetTimeoutError):
        from_ray.value_of("reference", "a value", ends.append)
    assert ends == [WHAT]


def test_a_value_that_does_not_come_ends_the_process_of_an_executor() -> None:
    ends: list[str] = []
    with pytest.raises(TimeoutError, match=WHAT):
        asyncio.run(from_ray.awaited(Answer(), "a value", ends.append))
    assert ends == [WHAT]


@pytest.mark.parametrize("outcome", [1, TimeoutError("of the actor's own")])
def test_what_comes_in_time_is_passed_on(monkeypatch: pytest.MonkeyPatch, outcome: object) -> None:
    monkeypatch.setattr(from_ray, "PATIENCE", 10.0)
    answer, ends = Answer(), list[str]()
    if isinstance(outcome, Exception):
        answer.result.set_exception(outcome)
    else:
        answer.result.set_result(outcome)
    calls = [
        lambda: from_ray.answered(answer, "a value", ends.append),
        lambda: asyncio.run(from_ray.awaited(answer, "a value", ends.append)),
    ]
    for call in calls:
        if isinstance(outcome, Exception):
            with pytest.raises(TimeoutError, match="of the actor's own"):
                call()
        else:
            assert call() == outcome
    assert ends == []
