"""From a run's events to what a view shows, without a run."""

from __future__ import annotations

from typing import Any

from distgraph.contract.progress import (
    AttemptEnded,
    AttemptQueued,
    AttemptStarted,
    RetryScheduled,
    TaskCached,
)
from distgraph.contract.stream import GENERATION
from distgraph.views.layout import ranks
from distgraph.views.model import LEFT, NodeRow, RunModel, WorkerRow


def queued(task: str, at: float, path: str = "work", attempt: int = 1, **more: Any) -> Any:
    fields = {"part": "", "kind": "node", "step": 1, "resources": {"CPU": 1}, **more}
    return AttemptQueued(task, attempt, tuple(path.split("/")), at=at, **fields)


def started(task: str, at: float, pid: int = 7, attempt: int = 1, host: str = "a") -> Any:
    return AttemptStarted(task, attempt, host, pid, at)


def ended(
    task: str, started_at: float, duration: float, status: str = "ok", pid: int = 7, **more: Any
) -> Any:
    at = started_at + duration
    number = more.pop("attempt", 1)
    host = more.pop("host", "a")
    return AttemptEnded(task, number, status, at, host, pid, started_at, duration, **more)


def test_attempts_of_a_run_that_was_taken_over_are_numbered_from_1() -> None:
    number = GENERATION + 2
    run = model(queued("t", 0.0, attempt=number), started("t", 1.0, attempt=number))
    (attempt,) = run.attempts
    assert (attempt.number, attempt.started_at) == (2, 1.0)


def model(*events: Any) -> RunModel:
    run = RunModel(100.0)
    for event in events:
        run.take(event)
    return run


def test_a_bar_has_rate_and_time_left() -> None:
    run = model(
        *(queued(task, 100.0) for task in "abcd"),
        started("a", 101.0),
        started("b", 101.0, pid=8),
        ended("a", 101.0, 2.0, cpu=1.5),
        started("c", 103.0),
    )
    (row,) = run.snapshot(103.0).nodes
    assert row == NodeRow(
        label="work",
        node="work",
        state="running",
        total=4,
        done=1,
        running=2,
        waiting=1,
        failed=0,
        retries=0,
        rate=0.5,
        eta=6.0,
        seconds=2.0,
        reason="a free CPU",
    )


def test_processes_have_what_runs_what_ran_and_for_how_long() -> None:
    run = model(
        *(queued(task, 100.0) for task in "ab"),
        queued("c", 100.0, "other"),
        started("a", 101.0),
        started("b", 101.0, pid=8),
        ended("a", 101.0, 2.0, cpu=1.5),
        started("c", 103.0),
    )
    now = run.snapshot(104.0)
    assert now.workers == (
        WorkerRow("a", 7, ("other",), (("work", 1, 2.0),), 3.0, 1.5),
        WorkerRow("a", 8, ("work",), (), 3.0, 0.0),
    )
    assert (now.machines, now.work, now.cpu) == (1, 6.0, 1.5)


def test_a_retry_is_a_wait_with_its_reason_and_then_one_task_again() -> None:
    failed = ended("a", 100.0, 1.0, "error", error="ValueError: no")
    run = model(queued("a", 100.0), started("a", 100.0), failed)
    run.take(RetryScheduled("a", ("work",), 2.0, 101.0))
    waits = run.snapshot(101.5)
    assert waits.waits == ("work: retries in 1.5 s after ValueError: no",)
    (row,) = waits.nodes
    assert (row.total, row.done, row.waiting, row.failed, row.retries) == (1, 0, 1, 0, 1)
    run.take(queued("a", 103.0, attempt=2))
    run.take(started("a", 103.5, attempt=2))
    run.take(ended("a", 103.5, 0.5, attempt=2))
    (row,) = (end := run.snapshot(104.0)).nodes
    assert (row.state, row.total, row.done, row.failed, row.retries) == ("done", 1, 1, 0, 1)
    assert (end.waits, end.retries) == ((), 1)


def test_what_tasks_wait_for_is_named() -> None:
    def reason(*events: Any) -> tuple[str, ...]:
        return model(*events).snapshot(101.0).waits

    assert reason(queued("a", 100.0)) == ("work: 1 waits for a free CPU",)
    gpus = {"CPU": 1, "GPU": 2.0}
    assert reason(queued("a", 100.0, resources=gpus), queued("b", 100.0, resources=gpus)) == (
        "work: 2 wait for a free CPU, GPU 2",
    )
    assert reason(queued("a", 100.0, resources={})) == ("work: 1 waits for a worker",)
    bound = {"part": "search", "kind": "part", "max_concurrency": 1}
    both = [queued(task, 100.0, "tools", **bound) for task in "ab"]
    assert reason(*both, started("a", 100.0)) == (
        "tools/search: 1 waits for its max_concurrency of 1",
    )


def test_edges_and_the_input_are_no_nodes() -> None:
    run = model(
        queued("s", 100.0, "__start__"),
        queued("t", 100.0, "tools", part="search", kind="part"),
        queued("t", 101.0, "tools", kind="writers"),
    )
    assert [row.label for row in run.snapshot(102.0).nodes] == ["tools/search"]
    assert len(run.attempts) == 3


def test_a_lost_attempt_and_a_failed_task_count_as_failed() -> None:
    run = model(
        queued("a", 100.0),
        queued("b", 100.0),
        started("a", 100.0),
        AttemptEnded("a", 1, "lost", 102.0),
        started("b", 100.0, pid=8),
        ended("b", 100.0, 1.0, "error", pid=8, error="ValueError: no"),
    )
    (row,) = run.snapshot(103.0).nodes
    assert (row.state, row.done, row.failed, row.eta) == ("failed", 0, 2, None)
    assert [a.seconds(103.0) for a in run.attempts] == [2.0, 1.0]


def test_an_interrupted_and_a_cancelled_task_are_not_done() -> None:
    run = model(
        *(queued(task, 100.0) for task in "abc"),
        started("a", 100.0),
        ended("a", 100.0, 1.0, "interrupt"),
        started("b", 100.0, pid=8),
        AttemptEnded("b", 1, "cancelled", 101.0),
        started("c", 100.0, pid=9),
        ended("c", 100.0, 1.0),
    )
    (row,) = run.snapshot(103.0).nodes
    assert (row.state, row.total, row.done, row.interrupted, row.cancelled) == (
        "interrupted",
        *(3, 1, 1, 1),
    )


def test_what_had_not_ended_with_its_run_was_cancelled() -> None:
    run = model(queued("a", 100.0), started("a", 100.0), queued("b", 100.0))
    run.finish("cancelled", 102.0)
    now = run.snapshot(200.0)
    (row,) = now.nodes
    assert (row.state, row.running, row.waiting, row.cancelled) == ("cancelled", 0, 0, 2)
    assert [(w.running, w.busy) for w in now.workers] == [((), 2.0)]
    assert [(a.status, a.ended_at) for a in run.attempts] == [("cancelled", 102.0)] * 2


def test_what_runs_goes_on_where_only_the_view_was_left() -> None:
    run = model(queued("a", 100.0), started("a", 100.0))
    run.finish(LEFT, 102.0)
    (row,) = run.snapshot(200.0).nodes
    assert (row.state, row.running, row.cancelled) == ("running", 1, 0)


def test_an_attempt_whose_start_was_not_reported_is_known_from_its_end() -> None:
    run = model(queued("a", 100.0), ended("a", 101.0, 1.0))
    (attempt,) = run.attempts
    assert (attempt.started_at, attempt.ended_at, attempt.pid) == (101.0, 102.0, 7)


def test_an_attempt_never_starts_before_it_was_queued_though_clocks_differ() -> None:
    run = model(queued("a", 100.0), started("a", 90.0), ended("a", 90.0, 3.0))
    (attempt,) = run.attempts
    assert (attempt.started_at, attempt.ended_at) == (100.0, 103.0)


def test_a_cached_task_is_done() -> None:
    run = model(TaskCached("a", ("work",), 1, 100.0))
    (row,) = run.snapshot(101.0).nodes
    assert (row.label, row.state, row.total, row.done) == ("work", "done", 1, 1)


def test_nodes_of_subgraphs_light_up_the_node_around_them() -> None:
    run = model(
        queued("a", 100.0, "child/inner"), started("a", 100.0), queued("b", 100.0, "child/other")
    )
    now = run.snapshot(101.0)
    assert [row.label for row in now.nodes] == ["child/inner", "child/other"]
    assert now.states() == {"child": "running"}


def test_tokens_have_a_rate_and_their_text_is_kept_by_message() -> None:
    run = RunModel(100.0)
    assert run.token("agent", "1", "Hello ", 101.0) == "Hello "
    assert run.token("agent", "1", "world", 101.5) == "world"
    assert run.token("agent", "2", "Bye", 102.0) == "\nBye"
    assert run.token("agent", "2", "", 103.0) == ""
    now = run.snapshot(110.0)
    assert (now.tokens, now.token_rate, now.text) == (4, 1.5, "Hello world\nBye")


def test_time_stands_still_after_the_end() -> None:
    run = model(queued("a", 100.0), started("a", 100.0))
    run.finish("cancelled", 103.0)
    run.finish("done", 104.0)
    now = run.snapshot(200.0)
    assert (now.status, now.elapsed, now.waits, now.ended) == ("cancelled", 3.0, (), True)


def test_events_of_unknown_attempts_and_of_other_kinds_are_ignored() -> None:
    run = model(started("x", 100.0), ended("x", 100.0, 1.0), "something else")
    assert run.snapshot(101.0).nodes == ()


# --- the order of the nodes -----------------------------------------------------------------------


def test_nodes_stand_behind_all_that_lead_to_them() -> None:
    edges = [
        ("__start__", "a"),
        ("__start__", "c"),
        ("a", "b"),
        ("b", "c"),
        ("c", "a"),  # a loop
        ("c", "__end__"),
    ]
    assert ranks(["__start__", "c", "a", "b", "__end__"], edges) == (("a",), ("b",), ("c",))


def test_parallel_nodes_share_a_rank_and_nodes_without_edges_are_in_the_first() -> None:
    edges = [("__start__", "a"), ("__start__", "b"), ("a", "z"), ("b", "z")]
    assert ranks(["a", "b", "z", "alone"], edges) == (("a", "b", "alone"), ("z",))


def test_the_seconds_of_a_node_are_those_in_which_it_ran() -> None:
    run = model(
        *(queued(task, 100.0) for task in "abc"),
        started("a", 100.0),
        ended("a", 100.0, 2.0),
        started("b", 101.0, pid=8),
        ended("b", 101.0, 2.0, pid=8),
        started("c", 110.0),
    )
    (row,) = run.snapshot(111.0).nodes
    assert (row.seconds, row.rate, row.eta) == (4.0, 0.5, 2.0)
