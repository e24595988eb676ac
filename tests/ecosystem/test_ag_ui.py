"""``ag-ui-langgraph``: the events that a user interface gets of an agent."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

pytest.importorskip("ag_ui_langgraph", reason="needs ag-ui-langgraph")

from ag_ui.core import RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import interrupt

from distgraph import distribute
from tests.ecosystem.models import Steps
from tests.langgraph_graphs.support import newest
from tests.support.differential import assert_same
from tests.support.normalise import Normaliser

pytestmark = [newest, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@tool
def weather(place: str) -> str:
    """Tell the weather."""
    return f"sunny in {place}"


@tool
def book(place: str) -> str:
    """Book a place, if the user agrees."""
    return f"{place}: {interrupt(f'Book {place}?')}"


def agent(*steps: Any) -> Any:
    model = Steps(steps=list(steps))
    return create_react_agent(model, [weather, book], checkpointer=InMemorySaver(), name="agent")


def nested() -> Any:
    inner = create_react_agent(Steps(steps=[[("weather", {"place": "Rome"})]]), [weather])
    builder = StateGraph(MessagesState).add_node("inner", inner).add_node("last", lambda s: {})
    builder.add_edge(START, "inner").add_edge("inner", "last")
    return builder.compile(checkpointer=InMemorySaver())


def run(graph: Any, *requests: dict[str, Any]) -> list[list[Any]]:
    async def one(number: int, request: dict[str, Any]) -> list[Any]:
        given = RunAgentInput(
            thread_id="thread",
            run_id=str(uuid.UUID(int=number)),
            state={},
            tools=[],
            context=[],
            messages=[UserMessage(id="h", content="go", role="user")],
            forwarded_props=request,
        )
        ui = LangGraphAgent(name="agent", graph=graph)
        found = []
        async for event in ui.run(given):
            # what the raw events hold is in the others; they have the time and the handlers' ids
            shown = event.model_dump(exclude={"timestamp", "raw_event"})
            if shown["type"] != "RAW":
                found.append(shown)
        return found

    async def all_of_them() -> list[list[Any]]:
        return [await one(number, request) for number, request in enumerate(requests)]

    return asyncio.run(all_of_them())


WEATHER = ("weather", {"place": "Rome"})
BOOK = ("book", {"place": "Rome"})


@pytest.mark.parametrize(
    ("build", "requests"),
    [
        (lambda: agent([WEATHER]), [{}]),
        (lambda: agent([BOOK]), [{}, {"command": {"resume": "yes"}}]),
    ],
    ids=["a tool", "an interrupt and its answer"],
)
def test_the_events_of_an_agent_are_those_of_langgraph(
    backend: str, build: Any, requests: list[dict[str, Any]]
) -> None:
    expected = run(build(), *requests)
    got = run(distribute(build(), backend=backend), *requests)
    assert {event["type"] for events in expected for event in events} > {"RUN_STARTED"}
    for number, (wanted, found) in enumerate(zip(expected, got, strict=True)):
        assert_same(f"run {number}", Normaliser()(found), Normaliser()(wanted))


def test_the_events_of_a_subgraph_are_those_of_langgraph(backend: str) -> None:
    """A chunk of the inner graph and the start of its next node come in either order."""
    request = {"stream_subgraphs": True}
    (expected,), (got,) = (
        run(nested(), request),
        run(distribute(nested(), backend=backend), request),
    )
    assert sorted(map(repr, Normaliser()(got))) == sorted(map(repr, Normaliser()(expected)))
