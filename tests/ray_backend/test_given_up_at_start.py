"""Driver or broker that Ray gives up before it runs: others start, a few times."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from ray import NodeID
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import session, sessions
from actors.cluster import remote
from distgraph import START, StateGraph
from distgraph.driver import startup
from distgraph.errors import UnsupportedClusterError
from tests.support.engines import Engine
from tests.support.graphs import Items

pytestmark = pytest.mark.ray


class Ends:
    """An actor whose process ends while it is created, as when memory runs out."""

    def __init__(self, *args: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def process(self) -> int:
        raise AssertionError("it never runs")

    def ping(self) -> str:
        raise AssertionError("it never runs")


EndsActor: Any = remote(num_cpus=0, max_restarts=0)(Ends)


class AtFirst:
    """Stands for an actor class; the first actors are of another one."""

    def __init__(self, others: list[Any], real: Any) -> None:
        self.others, self.real = others, real

    def options(self, **options: Any) -> Any:
        found = self.others.pop() if self.others else self.real
        return found.options(**options)


@pytest.fixture
def without_session(on_ray: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions.end()
    monkeypatch.setattr(startup, "PAUSES", (0.0, 0.0))


def items() -> list[str]:
    builder = StateGraph(Items).add_node("a", lambda state: {"items": ["a"]}).add_edge(START, "a")
    found: list[str] = builder.compile(backend="ray").invoke({"items": []})["items"]
    return found


def at_unknown_machines(times: int) -> Callable[..., NodeAffinitySchedulingStrategy]:
    """Return a strategy that names a machine which the cluster does not have, a few times."""
    left = [NodeID.from_random().hex() for _ in range(times)]

    def strategy(node: str, soft: bool) -> NodeAffinitySchedulingStrategy:
        return NodeAffinitySchedulingStrategy(left.pop() if left else node, soft)

    return strategy


@pytest.mark.usefixtures("without_session")
def test_an_actor_whose_process_ends_while_it_starts_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = AtFirst([EndsActor], session.SuperstepDriverActor)
    monkeypatch.setattr(session, "SuperstepDriverActor", driver)
    with caplog.at_level(logging.WARNING, "distgraph"):
        assert items() == ["a"]
    (warning,) = [r.getMessage() for r in caplog.records if "started again" in r.getMessage()]
    assert "The actor never ran" in warning


@pytest.mark.usefixtures("without_session")
def test_a_machine_that_the_cluster_does_not_know_yet_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "NodeAffinitySchedulingStrategy", at_unknown_machines(2))
    assert items() == ["a"]


@pytest.mark.usefixtures("without_session")
def test_the_tries_end_with_an_error_that_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    # all of them: a broker that is lost early is replaced without a try
    with monkeypatch.context() as patched:
        patched.setattr(session, "NodeAffinitySchedulingStrategy", at_unknown_machines(100))
        with pytest.raises(UnsupportedClusterError) as caught:
            items()
    told = str(caught.value)
    assert told.startswith("the cluster did not start the actors of this process's runs (stream br")
    assert "when `ray status` lists this machine" in told
    assert items() == ["a"]  # the next run tries again
