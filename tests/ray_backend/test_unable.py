"""An actor that cannot work on its machine is made all the same, and says why when it is asked."""

from __future__ import annotations

import inspect
import os
from typing import Any

import pytest

from actors import unable
from actors.unable import check_able, says_if_unable
from distgraph.errors import UnsupportedClusterError


class Actor:
    @says_if_unable
    def __init__(self, port: int) -> None:
        if port < 1024:
            raise UnsupportedClusterError(f"port {port} is not free")
        self.port = port

    def ping(self) -> str:
        check_able(self)
        return "fine"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is due later."""
    calls: list[Any] = []

    class Timers:
        def after(self, seconds: float, call: Any) -> None:
            calls.append(call)

    monkeypatch.setattr(unable, "timers", Timers)
    return calls


def test_it_says_why_and_its_process_ends(later: list[Any]) -> None:
    actor = Actor(80)
    with pytest.raises(UnsupportedClusterError, match="port 80 is not free"):
        actor.ping()
    assert [(call.func, call.args) for call in later] == [(os._exit, (1,))]


def test_one_that_can_work_works(later: list[Any]) -> None:
    actor = Actor(20000)
    assert (actor.ping(), actor.port, later) == ("fine", 20000, [])


def test_other_errors_are_raised_as_they_are() -> None:
    with pytest.raises(TypeError):
        Actor("80")  # type: ignore[arg-type]


def test_ray_sees_the_arguments() -> None:
    assert list(inspect.signature(Actor).parameters) == ["port"]
