"""A broker with a mirror is killed: every stream goes on, and its readers notice nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import actors
from distgraph import START, StateGraph, attach
from distgraph.errors import BrokerLost
from tests.chaos import steps
from tests.chaos.faults import Figures, graph, run_once
from tests.ray_backend.started_graphs import EVENTS as LATER
from tests.ray_backend.test_attach import lines, process
from tests.support.cluster import (
    eventually,
    pid_of_actor,
    pids_of_actors,
    wait_for_no_session,
)
from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(600)]

EVENTS = 100


@pytest.fixture(autouse=True)
def mirrored(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    actors.end_session()
    wait_for_no_session()
    monkeypatch.setenv("DISTGRAPH_MIRROR", "1")
    monkeypatch.setenv("DISTGRAPH_SILENCE", "3")
    yield
    actors.end_session()


def hit(actor: str, number: int = signal.SIGKILL) -> None:
    os.kill(pid_of_actor(actor), number)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that a node waits for behind half of its events: the run goes on until then."""
    return tmp_path / "gate"


def counted(gate: Path) -> Any:
    def counting(state: Any, writer: Any) -> Any:
        for i in range(EVENTS):
            writer(i)
            time.sleep(0.01)
            while i == EVENTS // 2 and not gate.exists():
                time.sleep(0.01)
        return {"items": [EVENTS]}

    builder = StateGraph(Items).add_node("count", counting).add_edge(START, "count")
    return builder.compile(backend="ray")


def read(stream: Any, at: dict[int, list[tuple[Any, ...]]], gate: Path | None = None) -> list[Any]:
    """Read a stream to its end, and hit what ``at`` names behind its events. Then open the gate."""
    seen = []
    for chunk in stream:
        seen.append(chunk)
        for given in at.get(len(seen), ()):
            hit(*given)
        if len(seen) == max(at) and gate is not None:
            gate.touch()
    return seen


def test_a_stream_goes_on_when_its_broker_is_killed_again_and_again():
    figures, seen = Figures(), 0

    def after(pid: int) -> None:
        nonlocal seen
        seen += 1
        if seen in (20, 100, 200):
            hit("StreamBroker")

    run_once(graph(), figures, after)
    assert (figures.exact, figures.violations, figures.typed_errors) == (1, [], {})


def test_a_broker_that_is_stopped_is_ended_and_goes_on(gate):
    stream = counted(gate).stream({"items": []}, stream_mode="custom")
    assert read(stream, {10: [("StreamBroker", signal.SIGSTOP)]}, gate) == list(range(EVENTS))


def test_references_in_a_stream_are_kept():
    def refers(state: Any, writer: Any) -> Any:
        for i in range(20):
            writer(ray.put(i))
            time.sleep(0.02)
        return {"items": [ray.put("end")]}

    builder = StateGraph(Items).add_node("refers", refers).add_edge(START, "refers")
    stream = builder.compile(backend="ray").stream({"items": []}, stream_mode=["custom", "values"])
    seen = read(stream, {5: [("StreamBroker",)], 15: [("StreamBroker",)]})
    custom = [payload for mode, payload in seen if mode == "custom"]
    assert ray.get(custom) == list(range(20))
    assert ray.get(seen[-1][1]["items"]) == ["end"]


def test_a_started_run_is_read_again_from_its_first_event(gate):
    handle = counted(gate).start({"items": []}, stream_mode="custom")
    first = read(handle.events(), {10: [("StreamBroker",)]}, gate)
    hit("StreamBroker")
    again = read(handle.events(after=0), {10: [("StreamBroker",)]})
    assert again == first
    assert len(first) == EVENTS
    assert handle.result() == {"items": [EVENTS]}
    assert handle.status == "success"


def test_broker_and_driver_die_together_and_a_saved_run_goes_on():
    def both(step: int, chunks: Any) -> str | None:
        if step not in (2, 4):
            return None
        hit("StreamBroker")
        hit("SuperstepDriver")
        return "both"

    undisturbed, disturbed = steps.run(6), steps.run(6, both)
    assert disturbed.killed == {"both": 2}
    assert disturbed.stream == undisturbed.stream
    assert disturbed.state == undisturbed.state


def actors_named(prefix: str) -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [str(actor["name"]) for actor in named if actor["name"].startswith(prefix)]


def other_mirror() -> str:
    """Wait until a mirror that follows a lost one is complete. Return its name."""

    def complete() -> str | None:
        for name in actors_named("distgraph-mirror-"):
            mirror = ray.get_actor(name, "distgraph")
            if not name.endswith(".0") and ray.get(mirror.is_complete.remote()):
                return name
        return None

    return str(eventually(complete, "another mirror is complete"))


def test_a_lost_mirror_is_replaced_and_the_stream_then_survives_its_broker(gate):
    seen = []
    for chunk in counted(gate).stream({"items": []}, stream_mode="custom"):
        seen.append(chunk)
        if len(seen) == 10:
            hit("BrokerMirror")
            other_mirror()
            hit("StreamBroker")
            gate.touch()
    assert seen == list(range(EVENTS))
    mirror = other_mirror()
    actors.end_session()
    eventually(lambda: not pids_of_actors("BrokerMirror"), f"{mirror} ends with its broker")


def test_a_broker_that_dies_with_its_mirror_ends_its_streams(gate):
    both = {10: [("BrokerMirror",), ("StreamBroker",)]}
    with pytest.raises(BrokerLost):
        read(counted(gate).stream({"items": []}, stream_mode="custom"), both, gate)
    assert counted(gate).invoke({"items": []}) == {"items": [EVENTS]}


def test_a_stream_goes_on_beside_a_mirror_that_is_stopped(gate):
    stream = counted(gate).stream({"items": []}, stream_mode="custom")
    assert read(stream, {10: [("BrokerMirror", signal.SIGSTOP)]}, gate) == list(range(EVENTS))
    other_mirror()


def test_a_detached_run_survives_its_caller_its_brokers_and_its_mirror(tmp_path):
    idle = {"DISTGRAPH_DETACHED_IDLE": "1", "DISTGRAPH_MIRROR": "1"}
    caller = process("detach", tmp_path / "threads.sqlite", **idle)
    (run_id,) = next(lines(caller))
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait(10)
    run, seen = attach(run_id), []
    for item in run.events():
        seen.append(tuple(item))
        if len(seen) == 10:
            hit("StreamBroker")
        elif len(seen) == 20:
            hit("BrokerMirror")
            other_mirror()
            hit("StreamBroker")
    assert seen == [(number, number - 1) for number in range(1, LATER + 1)]
    assert run.result(timeout=60) == {"items": [LATER]}
    eventually(lambda: not actors_named("distgraph-"), "the actors end when they are idle")
