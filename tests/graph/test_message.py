from __future__ import annotations

import uuid
from typing import Annotated, Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
)
from typing_extensions import TypedDict

from distgraph.errors import MissingExtraError
from distgraph.graph import START, MessagesState, StateGraph
from distgraph.graph import message as module
from distgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages, push_message


@pytest.fixture
def without_langchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_langchain", lambda: False)


HUMAN = HumanMessage("hi", id="1")
AI = AIMessage("hello", id="2")

SAME: list[tuple[Any, Any]] = [
    ([], []),
    ([HUMAN], [AI]),
    ([HUMAN], AI),
    (HUMAN, AI),
    ([HUMAN, AI], [AIMessage("again", id="2")]),
    ([HUMAN, AI], [RemoveMessage(id="1")]),
    ([HUMAN, AI], [RemoveMessage(id="1"), HumanMessage("back", id="1")]),
    ([HUMAN], [HumanMessage("again", id="1"), RemoveMessage(id="1")]),
    ([HUMAN, AI], [RemoveMessage(id=REMOVE_ALL_MESSAGES)]),
    ([HUMAN], [AI, RemoveMessage(id=REMOVE_ALL_MESSAGES), SystemMessage("s", id="3")]),
    ([HUMAN], [AIMessageChunk("chunk", id="4")]),
    ([HUMAN], [{"role": "assistant", "content": "d", "id": "5"}]),
    ([HUMAN], [AIMessage("a", id="6"), AIMessage("b", id="6")]),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_merging_is_langgraphs(left: Any, right: Any) -> None:
    theirs = pytest.importorskip("langgraph.graph.message")
    assert add_messages(left, right) == theirs.add_messages(left, right)


@pytest.mark.parametrize(
    ("right", "kind", "content"),
    [
        ("hi", HumanMessage, "hi"),
        (("ai", "hi"), AIMessage, "hi"),
        ([("system", "hi")], SystemMessage, "hi"),
        ([{"role": "user", "content": "hi"}], HumanMessage, "hi"),
        (["hi"], HumanMessage, "hi"),
    ],
)
def test_shorthands_become_messages_with_an_id(right: Any, kind: Any, content: str) -> None:
    (message,) = add_messages([], right)
    assert type(message) is kind
    assert message.content == content
    assert str(uuid.UUID(message.id)) == message.id


def test_deleting_by_dict_works_too() -> None:
    assert add_messages([HUMAN, AI], [{"role": "remove", "id": "1"}]) == [AI]


def test_deleting_an_unknown_message_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"ID that doesn't exist \('9'\)"):
        add_messages([HUMAN], [RemoveMessage(id="9")])


def test_the_left_list_is_not_changed() -> None:
    left = [HUMAN]
    add_messages(left, [AI, RemoveMessage(id="1")])
    assert left == [HUMAN]


def test_one_side_alone_is_an_error() -> None:
    for left, right, given in (([], None, "left"), (None, [], "right")):
        with pytest.raises(ValueError, match=f"Only received: '{given}'"):
            add_messages(left, right)


def test_called_with_a_format_alone_it_is_a_reducer() -> None:
    theirs = pytest.importorskip("langgraph.graph.message")
    message = {"role": "user", "id": "1", "content": [{"type": "text", "text": "hi", "x": 1}]}
    merge, reference = (m(format="langchain-openai") for m in (add_messages, theirs.add_messages))
    ours, expected = merge([], [message]), reference([], [message])
    assert [m.content for m in ours] == [m.content for m in expected]
    with pytest.raises(ValueError, match="Unrecognized format='x'"):
        add_messages(format="x")  # type: ignore[arg-type]


def test_the_reducer_with_a_format_is_accepted_by_a_graph() -> None:
    class State(TypedDict):
        messages: Annotated[list, add_messages(format="langchain-openai")]

    assert StateGraph(State).channels["messages"].get() == []


@pytest.mark.usefixtures("without_langchain")
def test_without_langchain_messages_are_dicts() -> None:
    merged = add_messages([], ["hi", ("assistant", "hello"), {"role": "tool", "content": "x"}])
    assert [(m["role"], m["content"]) for m in merged] == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("tool", "x"),
    ]
    assert all(str(uuid.UUID(m["id"])) == m["id"] for m in merged)


@pytest.mark.usefixtures("without_langchain")
def test_without_langchain_ids_replace_and_remove() -> None:
    a, b = {"role": "user", "content": "a", "id": "1"}, {"role": "user", "content": "b", "id": "2"}
    assert add_messages([a, b], {**a, "content": "A"}) == [{**a, "content": "A"}, b]
    assert add_messages([a, b], [{"role": "remove", "id": "1"}]) == [b]
    assert add_messages([a], [{"role": "remove", "id": REMOVE_ALL_MESSAGES}, b]) == [b]
    with pytest.raises(ValueError, match="doesn't exist"):
        add_messages([a], [{"role": "remove", "id": "9"}])


@pytest.mark.usefixtures("without_langchain")
def test_without_langchain_the_callers_dicts_get_no_id() -> None:
    message = {"role": "user", "content": "a"}
    add_messages([], [message])
    assert message == {"role": "user", "content": "a"}


@pytest.mark.usefixtures("without_langchain")
def test_without_langchain_what_needs_it_is_refused_naming_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'distgraph\[langchain\]'"):
        add_messages([], [object()])
    with pytest.raises(MissingExtraError, match=r"format='langchain-openai'"):
        add_messages([], ["hi"], format="langchain-openai")
    with pytest.raises(ValueError, match="needs a 'role'"):
        add_messages([], [{"content": "x"}])


def test_messages_state_can_be_extended() -> None:
    class State(MessagesState):
        documents: list[str]

    builder = StateGraph(State).add_node("a", lambda s: {}).add_edge(START, "a")
    assert list(builder.channels) == ["messages", "documents"]
    assert builder.channels["messages"].get() == []


# --- push_message --------------------------------------------------------------------------------


def pushing(state: Any) -> None:
    push_message(AIMessage("kept", id="m1"))
    push_message({"role": "assistant", "content": "shown", "id": "m2"}, state_key=None)


def test_a_pushed_message_is_streamed_and_written_to_the_state() -> None:
    graph = StateGraph(MessagesState).add_node("n", pushing).add_edge(START, "n")
    compiled = graph.compile(backend="local")
    streamed = [
        (message.id, metadata["langgraph_node"])
        for message, metadata in compiled.stream({"messages": []}, stream_mode="messages")
    ]
    assert streamed == [("m1", "n"), ("m2", "n")]
    assert [m.id for m in compiled.invoke({"messages": []})["messages"]] == ["m1"]


def test_a_pushed_message_needs_an_id() -> None:
    graph = StateGraph(MessagesState).add_node("n", lambda s: push_message(AIMessage("x")))
    with pytest.raises(ValueError, match="Message ID is required"):
        graph.add_edge(START, "n").compile(backend="local").invoke({"messages": []})


def test_pushing_a_message_outside_of_a_run_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="push_message"):
        push_message(HUMAN)
