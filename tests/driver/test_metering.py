"""Metrics of a driver: what is counted of runs, and what a meter hands out."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from distgraph import metrics
from distgraph.contract.events import Woken
from distgraph.contract.stream import Journal
from distgraph.driver.metering import DriverMeter
from distgraph.graph import START, StateGraph
from distgraph.loss_policy import LossPolicy
from distgraph.metrics import METRICS, Meter, interval_from_environment
from distgraph.types import RetryPolicy
from tests.driver.fake import FakeRun
from tests.driver.test_takeover import Relay
from tests.support.graphs import Items


def counts(meter: Meter) -> dict[str, dict[tuple[str, ...], Any]]:
    """Return the counters and the numbers of observed values since the last call."""
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for metric, labels, values in meter.take():
        value = len(values) if metric.kind == "histogram" else values[0]
        found.setdefault(metric.name.removeprefix("distgraph_"), {})[labels] = value
    return found


def graph(**options: Any) -> Any:
    def fail(state: Items) -> Any:
        raise ValueError("no")

    builder = StateGraph(Items).add_node("a", lambda state: {"items": ["a"]})
    builder.add_node("b", fail, retry_policy=RetryPolicy(max_attempts=2, retry_on=ValueError))
    return builder.add_edge(START, "a").add_edge("a", "b").compile(name="g")


class Metered(FakeRun):
    """A run whose driver counts."""

    def __init__(self, of: Any) -> None:
        self.meter = Meter()
        self.driver_meter = DriverMeter(self.meter)
        super().__init__(of, meter=self.driver_meter.run(of.name, lambda: 0.0))


def test_steps_attempts_retries_and_the_end_are_counted() -> None:
    run = Metered(graph())
    run.start({"items": []})
    assert counts(run.meter) == {
        "runs_started": {("g",): 1},
        "steps": {("g",): 1},
        "runs": {(): 1},
        "attempts_queued": {(): 0},
        "attempts_sent": {(): 1},
    }
    for _ in range(2):
        (start,) = run.running.values()
        run.end(start)
    seen = counts(run.meter)
    assert seen["attempts"] == {("g", "a", "ok"): 1, ("g", "b", "error"): 1}
    assert seen["steps"] == {("g",): 1}
    assert seen["attempt_seconds"] == {("g", "a"): 1, ("g", "b"): 1}
    assert "retries" not in seen
    (key,) = run.backend.wakes
    run.post(Woken(key))
    (start,) = run.running.values()
    run.end(start)
    seen = counts(run.meter)
    assert seen["retries"] == {("g", "b"): 1}
    assert seen["runs_ended"] == {("g", "error"): 1}
    assert (seen["runs"], seen["attempts_sent"]) == ({(): 0}, {(): 0})


def test_a_run_that_is_cancelled_leaves_nothing_open() -> None:
    run = Metered(graph())
    run.start({"items": []})
    run.cancel()
    seen = counts(run.meter)
    assert seen["attempts"] == {("g", "a", "cancelled"): 1}
    assert (seen["attempts_queued"], seen["attempts_sent"]) == ({(): 0}, {(): 0})


class MeteredRelay(Relay):
    """A run whose drivers count, each in a process of its own, and whose journal loses nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.meters: list[Meter] = []

    def driver(self, journal: Journal | None) -> FakeRun:
        self.meters.append(Meter())
        of_driver = DriverMeter(self.meters[-1])
        self.settings["meter"] = of_driver.run("g", lambda: 0.0, again=journal is not None)
        return super().driver(journal)

    def kill(self, run: FakeRun) -> FakeRun:
        while self.under_way:
            self.arrive(run)
        return run if self.log.ended else super().kill(run)


def in_a_row() -> Any:
    builder = StateGraph(Items)
    for name in "abc":
        builder.add_node(name, lambda state, name=name: {"items": [name]})
    return builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c").compile(name="g")


@pytest.mark.parametrize("seed", range(6))
def test_drivers_that_follow_each_other_count_a_run_once(seed: int) -> None:
    policy = LossPolicy(9, "buffer")
    relay = MeteredRelay(random.Random(seed), in_a_row(), {"items": []}, policy)
    relay.go()
    assert len(relay.meters) == 3
    *_, last = each = [counts(meter) for meter in relay.meters]
    counted: Counter[Any] = Counter()
    for seen in each:
        for name, values in seen.items():
            counted.update({(name, *labels): value for labels, value in values.items()})
    assert counted["runs_started", "g"] == 1
    assert counted["runs_ended", "g", "done"] == 1
    assert counted["steps", "g"] == 3
    assert [counted["attempts", "g", node, "ok"] for node in "abc"] == [1, 1, 1]
    lost = [counted["attempts", "g", node, "lost"] for node in "abc"]
    assert [counted["retries", "g", node] for node in "abc"] == lost
    assert [counted["attempt_seconds", "g", node] for node in "abc"] == [1, 1, 1]
    assert (last["runs"], last["attempts_queued"], last["attempts_sent"]) == (({(): 0},) * 3)


def test_a_watched_counter_gives_what_was_added_since() -> None:
    meter, totals = Meter(), iter([5.0, 5.0, 7.0])
    meter.watch(lambda: [(metrics.EVENTS, next(totals))])
    assert [counts(meter) for _ in range(3)] == [
        {"stream_events": {(): 5.0}},
        {},
        {"stream_events": {(): 2.0}},
    ]


def test_values_of_a_histogram_are_bounded() -> None:
    meter = Meter()
    for _ in range(10_001):
        meter.note((metrics.ATTEMPTS, ("g", "n", "ok")), [((metrics.WAIT, ("g", "n")), 1.0)])
    counted, waits = meter.take()
    assert counted == (metrics.ATTEMPTS, ("g", "n", "ok"), (10_001.0,))
    assert len(waits.values) == 10_000


def test_names_are_unique_and_labels_are_few() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert {label for metric in METRICS for label in metric.labels} == {"graph", "node", "status"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 5.0), ("off", None), ("OFF", None), ("0.5", 0.5)]
)
def test_the_interval_is_a_setting(
    text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_METRICS", text)
    assert interval_from_environment() == seconds


@pytest.mark.parametrize("text", ["on", "0", "-1", "nan"])
def test_a_wrong_interval_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_METRICS", text)
    with pytest.raises(ValueError, match="DISTGRAPH_METRICS must be"):
        interval_from_environment()
