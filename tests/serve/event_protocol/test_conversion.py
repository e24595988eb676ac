"""Chunks of a run as events of the nine channels, with numbers that every reader gets."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph.serve.event_protocol.conversion import (
    EVENTS_PER_CHUNK,
    RunEvents,
    chunk_number,
    event_number,
    last_number,
)
from distgraph.types import Interrupt
from tests.serve.event_protocol.support import check_types, converted, data, shown

SUB = ("sub:t1",)


def task_end(task_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": task_id, "name": "n", "error": None, "result": {}, "interrupts": [], **fields}


def checkpoint(id: str, parent: str | None = None, step: int = 0) -> dict[str, Any]:
    def config(of: str | None) -> Any:
        return None if of is None else {"configurable": {"checkpoint_id": of}}

    return {
        "config": config(id),
        "parent_config": config(parent),
        "metadata": {"source": "loop", "step": step},
        "values": {},
    }


# --- start and end --------------------------------------------------------------------------------


def test_a_run_starts_with_running_and_ends_with_its_end() -> None:
    run = RunEvents("run-1", "chat")
    assert shown(run.started(1)) == [("lifecycle", (), {"event": "running", "graph_name": "chat"})]
    assert shown(run.ended(1, "completed")) == [
        ("lifecycle", (), {"event": "completed", "graph_name": "chat"})
    ]


def test_a_run_that_failed_says_why() -> None:
    [event] = RunEvents("run-1", "chat").ended(1, "failed", "ValueError: boom")
    assert event.data == {"event": "failed", "graph_name": "chat", "error": "ValueError: boom"}
    assert check_types([event]) == 1


def test_a_run_that_answers_says_so_first() -> None:
    events = RunEvents("run-1", "chat", answers=("i1", "i2")).started(0)
    assert [(event.method, event.data) for event in events] == [
        ("input.answered", {"interrupt_ids": ["i1", "i2"]}),
        ("lifecycle", {"event": "running", "graph_name": "chat"}),
    ]


def test_lifecycle_events_name_their_run_in_the_event_id() -> None:
    [event] = RunEvents("run-1", "chat").started(4)
    assert event.event_id == f"synth:run-1:{event.seq}"


# --- channels -------------------------------------------------------------------------------------


def test_updates_are_one_event_for_each_node() -> None:
    events = converted(((), "updates", {"a": {"x": 1}, "b": {"x": 2}}))
    assert shown(events) == [
        ("updates", (), {"node": "a", "values": {"x": 1}}),
        ("updates", (), {"node": "b", "values": {"x": 2}}),
    ]
    assert check_types(events) == 2


def test_custom_data_is_the_payload_and_a_named_event_keeps_its_name() -> None:
    events = converted(
        ((), "custom", {"progress": 1}),
        ((), "custom", {"name": "a2a", "payload": [1]}),
        ((), "custom", "text"),
    )
    assert data(events, "custom") == [
        {"payload": {"progress": 1}},
        {"name": "a2a", "payload": [1]},
        {"payload": "text"},
    ]
    assert check_types(events) == 3


def test_a_checkpoint_comes_before_the_values_of_its_step() -> None:
    events = converted(
        ((), "values", {"n": 1}),
        ((), "checkpoints", checkpoint("c2", "c1", step=1)),
        ((), "values", {"n": 2}),
        ((), "tasks", {"id": "t", "name": "n", "input": {}, "triggers": []}),
    )
    assert [(method, shown_data) for method, _, shown_data in shown(events)][:3] == [
        ("checkpoints", {"id": "c2", "parent_id": "c1", "step": 1, "source": "loop"}),
        ("values", {"n": 1}),
        ("values", {"n": 2}),
    ]
    assert [event.seq for event in events] == sorted({event.seq for event in events})


def test_values_of_parallel_graphs_wait_for_their_own_checkpoints() -> None:
    events = converted(
        (("a:1",), "values", {"n": 1}),
        (("b:2",), "values", {"n": 2}),
        (("b:2",), "checkpoints", checkpoint("cb")),
        (("a:1",), "checkpoints", checkpoint("ca")),
    )
    kept = [(e.method, e.namespace) for e in events if e.method in ("values", "checkpoints")]
    assert kept == [
        ("checkpoints", ("b:2",)),
        ("values", ("b:2",)),
        ("checkpoints", ("a:1",)),
        ("values", ("a:1",)),
    ]


def test_the_last_values_come_before_the_end_of_the_run() -> None:
    run = RunEvents("run-1", "graph")
    converted(((), "values", {"n": 1}), run=run)
    assert [event.method for event in run.ended(1, "completed")] == ["values", "lifecycle"]


def test_tasks_are_shown_as_they_are_and_errors_as_text() -> None:
    started = {"id": "t", "name": "n", "input": {"x": 1}, "triggers": ["x"]}
    events = converted(
        ((), "tasks", started), ((), "tasks", task_end("t", error=ValueError("boom")))
    )
    assert data(events, "tasks") == [started, task_end("t", error="boom")]


def test_tools_are_shown_as_they_are() -> None:
    started = {"event": "tool-started", "tool_call_id": "c", "tool_name": "add", "input": {"a": 1}}
    finished = {"event": "tool-finished", "tool_call_id": "c", "output": 2}
    events = converted(((), "tools", started), ((), "tools", finished))
    assert data(events, "tools") == [started, finished]
    assert check_types(events) == 2


def test_a_tool_that_has_no_end_ends_with_the_run() -> None:
    run = RunEvents("run-1", "graph")
    converted(
        ((), "tools", {"event": "tool-started", "tool_call_id": "c", "tool_name": "add"}), run=run
    )
    [event, _] = run.ended(1, "failed", "boom")
    assert event.data == {
        "event": "tool-error",
        "tool_call_id": "c",
        "code": "aborted",
        "message": "the call has no end: the run has ended",
    }
    assert check_types([event]) == 1


def test_a_tool_that_asks_stays_open() -> None:
    run = RunEvents("run-1", "graph")
    converted(
        ((), "tools", {"event": "tool-started", "tool_call_id": "c", "tool_name": "add"}), run=run
    )
    assert [event.method for event in run.ended(1, "interrupted")] == ["lifecycle"]


# --- interrupts -----------------------------------------------------------------------------------


def test_an_interrupt_is_requested_once_with_both_names_of_its_value() -> None:
    question = Interrupt(value={"ok": "?"}, id="i1")
    events = converted(
        ((), "updates", {"__interrupt__": (question,)}),
        ((), "values", {"n": 1, "__interrupt__": (question,)}),
        ((), "tasks", task_end("t", interrupts=[{"id": "i1", "value": {"ok": "?"}}])),
    )
    assert shown(events)[:2] == [
        (
            "input.requested",
            (),
            {"interrupt_id": "i1", "payload": {"ok": "?"}, "value": {"ok": "?"}},
        ),
        ("values", (), {"n": 1}),
    ]
    assert len(data(events, "input.requested")) == 1


def test_an_interrupt_of_a_subgraph_has_the_subgraphs_namespace() -> None:
    question = Interrupt(value="?", id="i1")
    events = converted(
        (SUB, "updates", {"__interrupt__": (question,)}),
        ((), "updates", {"__interrupt__": (question,)}),
    )
    assert [e.namespace for e in events if e.method == "input.requested"] == [SUB]


def test_a_breakpoint_asks_nothing() -> None:
    assert converted(((), "updates", {"__interrupt__": ()})) == []


@pytest.mark.parametrize(
    "interrupts", [(), (Interrupt(value="?", id="i1"),)], ids=["breakpoint", "question"]
)
def test_a_run_that_waits_is_interrupted(interrupts: tuple[Any, ...]) -> None:
    run = RunEvents("run-1", "graph")
    converted(((), "updates", {"__interrupt__": interrupts}), run=run)
    assert [event.data["event"] for event in run.ended(2, "completed")] == ["interrupted"]


# --- subgraphs ------------------------------------------------------------------------------------


def test_a_subgraph_starts_before_its_first_event_and_completes_with_its_task() -> None:
    events = converted((SUB, "custom", 1), (SUB, "custom", 2), ((), "tasks", task_end("t1")))
    about = {"namespace": ["sub:t1"], "graph_name": "sub", "trigger_call_id": "t1"}
    assert shown(events) == [
        ("lifecycle", SUB, {"event": "started", **about}),
        ("custom", SUB, {"payload": 1}),
        ("custom", SUB, {"payload": 2}),
        ("lifecycle", SUB, {"event": "completed", **about}),
        ("tasks", (), task_end("t1")),
    ]


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"error": ValueError("boom")}, {"event": "failed", "error": "boom"}),
        ({"interrupts": [{"id": "i", "value": 1}]}, {"event": "interrupted"}),
    ],
    ids=["failed", "interrupted"],
)
def test_a_subgraph_ends_as_its_task_ends(fields: dict[str, Any], end: dict[str, Any]) -> None:
    events = converted((SUB, "custom", 1), ((), "tasks", task_end("t1", **fields)))
    last = data(events, "lifecycle")[-1]
    assert {key: last[key] for key in end} == end


def test_graphs_around_start_first_and_end_last() -> None:
    deep = (*SUB, "inner:t2")
    events = converted((deep, "custom", 1), ((), "tasks", task_end("t1")))
    assert [(e.namespace, e.data["event"]) for e in events if e.method == "lifecycle"] == [
        (SUB, "started"),
        (deep, "started"),
        (deep, "completed"),
        (SUB, "completed"),
    ]


def test_subgraphs_that_are_open_end_as_the_run_ends() -> None:
    run = RunEvents("run-1", "graph")
    converted((SUB, "custom", 1), run=run)
    ends = [(event.namespace, event.data["event"]) for event in run.ended(1, "failed", "boom")]
    assert ends == [(SUB, "failed"), ((), "failed")]


# --- numbers --------------------------------------------------------------------------------------


def test_numbers_increase_and_say_to_which_chunk_an_event_belongs() -> None:
    run = RunEvents("run-1", "graph")
    events = [
        *run.started(10),
        *run.chunk(11, ((), "updates", {"a": 1, "b": 2})),
        *run.chunk(12, ((), "custom", 1)),
        *run.ended(13, "completed"),
    ]
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    assert [chunk_number(number) for number in numbers] == [10, 11, 11, 12, 13]


def test_a_reader_that_has_all_of_a_chunk_begins_with_the_next() -> None:
    assert event_number(1, 0) == 1
    assert chunk_number(0) == 1
    assert last_number(5) < event_number(6, 0)
    assert [chunk_number(event_number(5, position)) for position in (0, 1, 4000)] == [5, 5, 5]


def test_a_chunk_with_too_many_events_is_an_error() -> None:
    with pytest.raises(OverflowError, match="a chunk of the stream makes more than 4096 events"):
        event_number(1, EVENTS_PER_CHUNK)


def test_a_frame_is_what_clients_read() -> None:
    [event] = converted(((), "custom", 1))
    assert event.frame(1000, event.data) == {
        "type": "event",
        "event_id": "run:run-1:1",
        "seq": 1,
        "method": "custom",
        "params": {"namespace": [], "timestamp": 1000, "data": {"payload": 1}},
    }
