"""``distgraph top``: one picture of a cluster, as lines and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distgraph._internal.settings import setting
from distgraph.cli import codes, main
from distgraph.cli.top import lines, rates
from distgraph.contract.load import (
    BrokerLoad,
    ClusterLoad,
    DriverLoad,
    SessionLoad,
    WorkersLoad,
    workers_load,
)
from distgraph.worker.attempt import HOST
from tests.ray_backend.started_graphs import endless

WORKERS = (
    WorkersLoad("", "requested", "model", 1),
    WorkersLoad("host", "busy", "agent", 1),
    WorkersLoad("host", "busy", "tools", 2),
    WorkersLoad("host", "idle", "agent", 1),
    WorkersLoad("other", "idle", "agent", 3),
)
DRIVER = DriverLoad("host", 7, 2, 5, 3, 1, 4, ("worker 9 has been silent for 6 s",), WORKERS)
BROKER = BrokerLoad("host", 8, 3, 2, 1, 3 << 20, 1024, 500)


def load(*sessions: SessionLoad) -> ClusterLoad:
    return ClusterLoad(2, {"CPU": 8.0, "GPU": 0.0}, {"CPU": 6.0, "GPU": 0.0}, sessions)


def test_a_picture_has_a_row_for_each_session_and_names_who_is_silent() -> None:
    seen = load(SessionLoad("a1", DRIVER, BROKER), SessionLoad("b2", None, None))
    heads, first, second = (" ".join(line.split()) for line in lines(seen, {"a1": 12.4})[1:4])
    assert heads == (
        "session driver runs queued sent busy idle executors pool "
        "broker readers paused events/s buffered unread"
    )
    assert first == "a1 host/7 2 5 3 3 4 1 4 host/8 2 1 12 3.0 MiB 1.0 KiB"
    assert second == "b2" + " -" * 14
    assert lines(seen, {})[0] == "2 machines, 2 of 8 CPUs reserved, 2 sessions"
    assert lines(seen, {})[4:] == [
        "session a1: workers on host: 3 busy (tools 2, agent 1), 1 idle (agent 1)",
        "session a1: workers on other: 3 idle (agent 3)",
        "session a1: workers requested: 1 (model 1)",
        "! session a1: worker 9 has been silent for 6 s",
        "! session b2: its driver is gone or does not answer",
        "! session b2: its broker is gone or does not answer",
    ]


def test_of_many_machines_and_nodes_some_are_shown() -> None:
    nodes = [WorkersLoad("h00", "busy", f"n{number}", 9 - number) for number in range(6)]
    others = [WorkersLoad(f"h{number:02}", "idle", "n0", 1) for number in range(1, 30)]
    driver = DRIVER._replace(workers=(*nodes, *others), silent=())
    shown = lines(load(SessionLoad("a1", driver, BROKER)), {})[3:]
    assert shown[0] == "session a1: workers on h00: 39 busy (n0 9, n1 8, n2 7, n3 6, …)"
    assert shown[18:] == [
        "session a1: workers on h18: 1 idle (n0 1)",
        "session a1: workers on 11 more machines",
    ]


def test_workers_that_do_the_same_are_counted_and_those_of_pools_are_not() -> None:
    def lease(phase: str, node: str, host: str | None = "h", pool: bool = False) -> dict[str, Any]:
        return {"phase": phase, "node": node, "host": host, "pool": pool, "lease": 1, "pid": 7}

    leases = [
        lease("idle", "b"),
        *[lease("busy", "a")] * 3,
        lease("busy", "a", "g"),
        lease("requested", "a", None),
        lease("busy", "c", pool=True),
    ]
    assert workers_load(leases) == (
        WorkersLoad("", "requested", "a", 1),
        WorkersLoad("g", "busy", "a", 1),
        WorkersLoad("h", "busy", "a", 3),
        WorkersLoad("h", "idle", "b", 1),
    )
    assert workers_load([]) == ()


def test_events_a_second_are_those_between_two_looks() -> None:
    before = load(SessionLoad("a1", DRIVER, BROKER))
    now = load(
        SessionLoad("a1", DRIVER, BROKER._replace(events=700)),
        SessionLoad("new", DRIVER, BROKER),
        SessionLoad("lost", DRIVER, None),
    )
    assert rates(before, now, 4.0) == {"a1": 50.0}


@pytest.mark.ray
def test_the_run_of_a_session_is_seen(
    ray_session: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_session.get_runtime_context().gcs_address)
    monkeypatch.setattr("distgraph.status._wanted", None)
    run = endless(backend="ray").start({"items": []}, stream_mode="custom")
    next(run.events())
    assert main(["top", "--once", "--json"]) == codes.OK
    run.cancel(wait=True)
    seen = json.loads(capsys.readouterr().out)
    busy = [s for s in seen["sessions"] if s["driver"] is not None and s["driver"]["runs"]]
    (session,) = busy
    assert (session["driver"]["queued"], session["driver"]["sent"]) == (0, 1)
    workers = [some for some in session["driver"]["workers"] if some["phase"] == "busy"]
    one = {"host": HOST, "phase": "busy", "node": "go_on", "workers": 1}
    assert workers == [one] * setting("DISTGRAPH_LEASES", True)
    assert session["broker"]["events"] > 0
    assert session["events_per_second"] > 0
    assert seen["machines"] == 1
