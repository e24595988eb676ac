"""Lost attempts of Sends, in subgraphs, of nodes that call a graph, and of chat models."""

from __future__ import annotations

import os
import pathlib
import signal
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from distgraph.graph import START, StateGraph
from distgraph.types import AttemptReset, Send
from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.faults]

MANY = 5


def die_once(state: Any) -> None:
    mark = pathlib.Path(state["items"][0])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def writes(state: Any, writer: Any) -> Any:
    for number in range(MANY):
        writer(number)
    die_once(state)
    return {"items": ["done"]}


def sends() -> Any:
    def quiet(state: Any) -> Any:
        return {"items": ["quiet"]}

    builder = StateGraph(Items).add_node(writes).add_node(quiet)
    choose: Any = lambda state: [Send("writes", state), Send("quiet", state)]  # noqa: E731
    return builder.add_conditional_edges(START, choose, ["writes", "quiet"])


def subgraph() -> Any:
    inner = StateGraph(Items).add_node(writes).add_edge(START, "writes").compile()
    return StateGraph(Items).add_node("sub", inner).add_edge(START, "sub")


def called() -> Any:
    def within(state: Any, writer: Any) -> Any:
        for number in range(MANY - 1):
            writer(number)

    inner = StateGraph(Items).add_node(within).add_edge(START, "within").compile()

    def outer(state: Any, writer: Any) -> Any:
        inner.invoke({"items": []})
        writer(MANY - 1)
        die_once(state)

    return StateGraph(Items).add_node(outer).add_edge(START, "outer")


def messages() -> Any:
    def asks(state: Any) -> Any:
        tokens = " ".join(map(str, range(MANY)))
        GenericFakeChatModel(messages=iter([AIMessage(tokens)])).invoke("question")
        die_once(state)

    return StateGraph(Items).add_node(asks).add_edge(START, "asks")


def seen(chunks: list[Any]) -> list[int]:
    """Return the numbers of chunks."""
    found = [c["data"] if c["type"] == "custom" else c["data"][0].content for c in chunks]
    return [int(number) for number in found if str(number).strip()]


def attempts(chunks: list[Any]) -> set[int | None]:
    """Return the attempts that chunks and the metadata of messages name."""
    named = {chunk.get("attempt") for chunk in chunks}
    return named | {c["data"][1].get("attempt") for c in chunks if c["type"] == "messages"}


def run(tmp_path: pathlib.Path, builder: Any, policy: str) -> list[Any]:
    graph = builder().compile(backend="ray")
    return list(
        graph.stream(
            {"items": [str(tmp_path / "died")]},
            {"on_lost_attempt": policy, "max_attempts": 2},
            stream_mode=["custom", "messages"],
            subgraphs=True,
            version="v2",
        )
    )


@pytest.mark.parametrize("builder", [sends, subgraph, called, messages])
def test_a_reset_lies_between_two_attempts_and_counts_the_first(
    ray_session: Any, tmp_path: pathlib.Path, builder: Any
) -> None:
    chunks = run(tmp_path, builder, "reset")
    (at,) = [number for number, chunk in enumerate(chunks) if chunk["type"] == "reset"]
    before, reset, after = chunks[:at], chunks[at]["data"], chunks[at + 1 :]
    assert isinstance(reset, AttemptReset)
    assert (reset.attempt, reset.events) == (1, len(before))
    assert seen(before) == list(range(len(seen(before))))
    assert seen(after) == list(range(MANY))
    assert attempts(before) <= {1}
    assert attempts(after) == {2}


@pytest.mark.parametrize("builder", [sends, subgraph, called, messages])
def test_a_buffered_attempt_that_was_lost_is_not_seen(
    ray_session: Any, tmp_path: pathlib.Path, builder: Any
) -> None:
    chunks = run(tmp_path, builder, "buffer")
    assert seen(chunks) == list(range(MANY))
    assert {chunk["type"] for chunk in chunks} <= {"custom", "messages"}
