"""``distgraph runs``, ``watch`` and ``cancel`` on the session's Ray: output and exit codes."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest

from distgraph import RunHandle
from distgraph.cli import codes, main
from distgraph.errors import RunCancelled
from distgraph.graph import START, StateGraph
from tests.ray_backend.started_graphs import endless
from tests.support.graphs import Items


@pytest.fixture
def here(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands look at the session's Ray, and leave no trace in the environment."""
    monkeypatch.setenv("RAY_ADDRESS", ray_session.get_runtime_context().gcs_address)
    monkeypatch.setattr("distgraph.status._wanted", None)


def _write(state: Items, writer: Any) -> Any:
    writer("first")
    writer({"second", 2}.__class__)
    return {"items": ["a"]}


def _fail(state: Items) -> Any:
    raise ValueError("no such topic")


def _started(node: Any, **options: Any) -> RunHandle:
    graph = StateGraph(Items).add_node("n", node).add_edge(START, "n").compile(backend="ray")
    return graph.start({"items": []}, stream_mode=["custom", "updates"], **options)


@pytest.mark.ray
def test_watch_shows_the_chunks_and_ends_with_the_run(
    here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _started(_write)
    assert main(["watch", run.run_id]) == codes.OK
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "1  ('custom', 'first')",
        "2  ('custom', <class 'set'>)",
        "3  ('updates', {'n': {'items': ['a']}})",
    ]
    assert shown.err == f"run {run.run_id} has ended: success\n"
    assert main(["watch", run.run_id, "--after", "1", "--json"]) == codes.OK
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"seq": 2, "chunk": ["custom", "<class 'set'>"]},
        {"seq": 3, "chunk": ["updates", {"n": {"items": ["a"]}}]},
    ]


@pytest.mark.ray
def test_watch_shows_the_live_view_of_a_run(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = _started(_write, progress=True)
    assert main(["watch", run.run_id, "--live"]) == codes.OK
    shown = capsys.readouterr()
    assert "n: 1 of 1 done" in shown.out
    assert shown.err == f"run {run.run_id} has ended: success\n"


@pytest.mark.ray
def test_watch_ends_with_1_where_the_run_failed(
    here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _started(_fail)
    assert main(["watch", run.run_id]) == codes.FAILED
    assert f"run {run.run_id}: ValueError: no such topic" in capsys.readouterr().err


@pytest.mark.ray
def test_runs_are_listed_and_a_run_is_cancelled(
    here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = endless(backend="ray", name="endless").start({"items": []}, stream_mode="custom")
    next(run.events())
    assert main(["runs", "--status", "running"]) == codes.OK
    (row,) = [line for line in capsys.readouterr().out.splitlines() if run.run_id in line]
    assert row.split()[1:3] == ["running", "endless"]
    assert main(["cancel", run.run_id, "--wait"]) == codes.OK
    assert capsys.readouterr().out == f"run {run.run_id} has ended: cancelled\n"
    with pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert main(["cancel", run.run_id]) == codes.OK
    assert capsys.readouterr().out == f"run {run.run_id} has ended already: cancelled\n"
    assert main(["watch", run.run_id, "--new"]) == codes.FAILED
    assert main(["runs", "--json"]) == codes.OK
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["status"] for entry in listed if entry["run_id"] == run.run_id] == ["cancelled"]


@pytest.mark.ray
@pytest.mark.parametrize("command", ["watch", "cancel"])
def test_an_unknown_run_ends_with_3(
    here: None, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run_id = str(uuid.uuid4())
    assert main([command, run_id]) == codes.NOT_FOUND
    assert f"distgraph {command}: no run {run_id} is known in the Ray cluster" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serv"], r"invalid choice: 'serv' .*\. Did you mean 'serve'\?\n"),
        (["runs", "--jsn"], r"runs: error: unrecognized arguments: --jsn\. Did you mean '--json'"),
        (["doctor", "--adress=x:1"], r"doctor: .*: --adress=x:1\. Did you mean '--address'\?"),
        (["top", "now"], r"distgraph top: error: unrecognized arguments: now\n"),
    ],
)
def test_a_misspelt_argument_is_named_by_the_command_with_the_one_that_was_meant(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_cluster_that_is_not_there_ends_with_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors import started_runs
    from distgraph.errors import UnsupportedClusterError

    def refuse() -> None:
        raise UnsupportedClusterError("there is no Ray cluster at RAY_ADDRESS=x:1")

    monkeypatch.setattr(started_runs, "connected", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setattr("distgraph.status._wanted", None)
    assert main(["runs", "--address", "x:1"]) == codes.NOT_FOUND
    assert capsys.readouterr().err == (
        "distgraph runs: there is no Ray cluster at RAY_ADDRESS=x:1\n"
    )
