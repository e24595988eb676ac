"""What is deleted of a thread's checkpoints, and what others need of them stays."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from distgraph.serve.checkpoints import Checkpoints


def joined(value: list[str], updates: list[list[str]]) -> list[str]:
    return [*value, *(item for update in updates for item in update)]


@pytest.mark.parametrize("frequency", [1, 3, 100])
def test_what_is_kept_of_a_channel_that_saves_additions_is_its_whole_value(frequency: int) -> None:
    channel = DeltaChannel(joined, snapshot_frequency=frequency)
    schema: Any = TypedDict("State", {"items": Annotated[list[str], channel]})

    def add(state: dict[str, Any]) -> dict[str, Any]:
        return {"items": [str(len(state["items"]))]}

    saver = InMemorySaver()
    graph: Any = StateGraph(schema).add_node(add).add_edge(START, "add").compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    for _ in range(4):
        graph.invoke({"items": ["x"]}, config)
    before, length = graph.get_state(config).values, len(list(saver.list(config)))
    asyncio.run(Checkpoints(saver).keep_latest("1"))
    assert graph.get_state(config).values == before
    left = len(list(saver.list(config)))
    assert left == 1 if frequency == 1 else left < length if frequency == 3 else left == length
