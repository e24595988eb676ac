"""Chat messages as events: start, deltas, finish; by message, whoever else streams."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from distgraph.serve.event_protocol.conversion import RunEvents
from distgraph.types import AttemptReset
from tests.serve.event_protocol.support import (
    check_types,
    converted,
    data,
    message,
    shown,
    without_ids,
)


def chunk(text: str = "", id: str = "m1", **fields: Any) -> AIMessageChunk:
    return AIMessageChunk(content=text, id=id, **fields)


def call(args: str, *, index: int = 0, id: str | None = None, name: str | None = None) -> Any:
    return {"type": "tool_call_chunk", "id": id, "name": name, "args": args, "index": index}


def test_chunks_of_text_become_a_start_deltas_and_a_finish() -> None:
    events = converted(
        message(chunk("Hel")), message(chunk("lo")), message(chunk("", chunk_position="last"))
    )

    assert without_ids(data(events, "messages")) == [
        {"event": "message-start", "role": "ai", "metadata": {"langgraph_node": "model"}},
        {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}},
        {
            "event": "content-block-delta",
            "index": 0,
            "delta": {"type": "text-delta", "text": "Hel"},
        },
        {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "lo"}},
        {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "Hello"}},
        {"event": "message-finish"},
    ]
    assert {event.node for event in events} == {"model"}
    assert check_types(events) == 6


def test_every_event_of_a_message_has_the_id_under_both_names() -> None:
    events = converted(message(chunk("a")), message(chunk("b", chunk_position="last")))
    assert {(d["id"], d["run_id"]) for d in data(events, "messages")} == {("m1", "m1")}


def test_a_whole_message_has_the_events_of_a_streamed_one() -> None:
    events = converted(message(AIMessage("hi", id="m1")))
    assert [d["event"] for d in data(events, "messages")] == [
        "message-start",
        "content-block-start",
        "content-block-delta",
        "content-block-finish",
        "message-finish",
    ]


def test_roles_of_people_and_the_system_are_kept_and_results_of_tools_left_out() -> None:
    events = converted(
        message(HumanMessage("q", id="h")),
        message(SystemMessage("s", id="s")),
        message(ToolMessage("r", id="t", tool_call_id="c")),
    )
    starts = [d for d in data(events, "messages") if d["event"] == "message-start"]
    assert [(d["id"], d["role"]) for d in starts] == [("h", "human"), ("s", "system")]


def test_parallel_tool_calls_keep_their_blocks_and_are_parsed_at_the_end() -> None:
    events = converted(
        message(chunk("let me see")),
        message(chunk(tool_call_chunks=[call("", index=0, id="c1", name="add")])),
        message(chunk(tool_call_chunks=[call("", index=1, id="c2", name="sub")])),
        message(chunk(tool_call_chunks=[call('{"a": 1', index=0)])),
        message(chunk(tool_call_chunks=[call('{"b": 2}', index=1)])),
        message(chunk(tool_call_chunks=[call("}", index=0)], chunk_position="last")),
    )
    got = without_ids(data(events, "messages"))

    starts = [d for d in got if d["event"] == "content-block-start"]
    assert [(d["index"], d["content"]) for d in starts] == [
        (0, {"type": "text", "text": ""}),
        (1, {"type": "tool_call_chunk", "id": "c1", "name": "add", "args": "", "index": 0}),
        (2, {"type": "tool_call_chunk", "id": "c2", "name": "sub", "args": "", "index": 1}),
    ]
    deltas = [d for d in got if d["event"] == "content-block-delta" and d["index"] > 0]
    assert [(d["index"], d["delta"]["args"]) for d in deltas] == [
        (1, '{"a": 1'),
        (2, '{"b": 2}'),
        (1, "}"),
    ]
    finished = [d["content"] for d in got if d["event"] == "content-block-finish"]
    assert finished == [
        {"type": "text", "text": "let me see"},
        {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}},
        {"type": "tool_call", "id": "c2", "name": "sub", "args": {"b": 2}},
    ]
    assert check_types(events) == len(events)


def test_arguments_that_are_no_json_stay_readable() -> None:
    events = converted(
        message(chunk(tool_call_chunks=[call('{"a', id="c1", name="add")], chunk_position="last"))
    )
    [finish] = [d for d in data(events, "messages") if d["event"] == "content-block-finish"]
    assert finish["content"]["type"] == "invalid_tool_call"
    assert finish["content"]["args"] == '{"a'
    assert check_types(events) == len(events)


def test_reasoning_is_a_block_of_its_own() -> None:
    thought = {"type": "reasoning", "reasoning": "hm", "index": 0}
    events = converted(
        message(AIMessageChunk(content=[thought], id="m1")),
        message(
            AIMessageChunk(
                content=[{"type": "text", "text": "so", "index": 1}],
                id="m1",
                chunk_position="last",
            )
        ),
    )
    got = data(events, "messages")
    assert [d["delta"] for d in got if d["event"] == "content-block-delta"] == [
        {"type": "reasoning-delta", "reasoning": "hm"},
        {"type": "text-delta", "text": "so"},
    ]
    assert [d["content"]["type"] for d in got if d["event"] == "content-block-finish"] == [
        "reasoning",
        "text",
    ]


def test_usage_and_metadata_of_all_chunks_are_in_the_finish() -> None:
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    more = {"input_tokens": 0, "output_tokens": 2, "total_tokens": 2}
    events = converted(
        message(chunk("a", usage_metadata=usage)),
        message(
            chunk(
                "b",
                usage_metadata=more,
                response_metadata={"finish_reason": "stop"},
                chunk_position="last",
            )
        ),
    )
    finish = data(events, "messages")[-1]
    assert finish["usage"] == {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6}
    assert finish["metadata"] == {"finish_reason": "stop"}


def test_two_messages_that_stream_at_once_keep_apart() -> None:
    events = converted(
        message(chunk("a", "m1"), task_id="t1"),
        message(chunk("x", "m2"), task_id="t2"),
        message(chunk("b", "m1", chunk_position="last"), task_id="t1"),
        message(chunk("y", "m2", chunk_position="last"), task_id="t2"),
    )
    texts = {
        d["id"]: d["content"]["text"]
        for d in data(events, "messages")
        if d["event"] == "content-block-finish"
    }
    assert texts == {"m1": "ab", "m2": "xy"}


def test_a_message_that_was_streamed_is_not_repeated_when_a_node_returns_it() -> None:
    events = converted(message(chunk("a", chunk_position="last")), message(AIMessage("a", id="m1")))
    assert [d["event"] for d in data(events, "messages")].count("message-start") == 1


def test_a_message_whose_node_ends_first_ends_with_an_error() -> None:
    task = {"id": "t1", "name": "model", "result": {}, "error": None, "interrupts": []}
    events = converted(message(chunk("a")), ((), "tasks", task))

    assert without_ids(data(events, "messages"))[-1] == {
        "event": "error",
        "message": "the message has no end: the node has ended",
        "code": "aborted",
    }
    assert check_types(events) == 4


def test_a_message_that_is_open_at_the_end_of_the_run_ends_before_it() -> None:
    run = RunEvents("run-1", "graph")
    converted(message(chunk("a")), run=run)
    assert [method for method, _, _ in shown(run.ended(9, "interrupted"))] == [
        "messages",
        "lifecycle",
    ]


def test_another_attempt_streams_a_message_again_from_its_start() -> None:
    lost = AttemptReset("model", "t1", 1, 1, 2, "its process died")
    events = converted(
        message(chunk("half")),
        ((), "reset", lost),
        message(chunk("whole", chunk_position="last")),
    )
    got = data(events, "messages")
    assert [d["event"] for d in got] == [
        "message-start",
        "content-block-start",
        "content-block-delta",
        "error",
        "message-start",
        "content-block-start",
        "content-block-delta",
        "content-block-finish",
        "message-finish",
    ]
    assert got[3]["message"] == "the message has no end: its process died"
    assert got[7]["content"]["text"] == "whole"


def test_messages_without_an_id_get_ids_that_every_reader_gets() -> None:
    chunks = (message(AIMessageChunk(content="a")), message(AIMessage("b")))
    first, second = converted(*chunks), converted(*chunks)
    assert first == second
    assert len({d["id"] for d in data(first, "messages")}) == 2
