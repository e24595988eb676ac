"""Agents that hand over to each other: ``langgraph-supervisor`` and ``langgraph-swarm``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from distgraph import distribute
from tests.ecosystem.models import Steps
from tests.ecosystem.support import MODES, conversation_is_the_same
from tests.langgraph_graphs.support import newest

pytestmark = [newest, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FACES = pytest.mark.parametrize("face", ["sync", "async"])


@tool
def weather(place: str) -> str:
    """Tell the weather."""
    return f"sunny in {place}"


WEATHER = ("weather", {"place": "Rome"})


def go(text: str, id: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text, id=id)]}


@FACES
@pytest.mark.parametrize("mode", ["full_history", "last_message"])
def test_a_supervisor_and_its_agents(backend: str, face: str, mode: Any) -> None:
    supervisors = pytest.importorskip("langgraph_supervisor", reason="needs langgraph-supervisor")
    from langgraph.prebuilt import create_react_agent

    def build() -> Any:
        agents = [
            create_react_agent(Steps(steps=[[WEATHER]], tag=name), [weather], name=name)
            for name in ("one", "two")
        ]
        model = Steps(steps=[[("transfer_to_one", {})], [("transfer_to_two", {})]], tag="chief")
        graph = supervisors.create_supervisor(agents, model=model, output_mode=mode)
        return graph.compile(checkpointer=InMemorySaver())

    # With the full history the supervisor appends to the list that an agent's last `values` chunk
    # holds: LangGraph's readers may see it in a chunk that they have already.
    modes = MODES if mode == "last_message" else ["updates", "custom"]
    inputs = go("go", "1"), go("again", "2")
    conversation_is_the_same(backend, build, *inputs, faces=[face], modes=modes)


def test_a_chunk_of_a_full_history_stays_on_ray_as_it_was(backend: str) -> None:
    supervisors = pytest.importorskip("langgraph_supervisor", reason="needs langgraph-supervisor")
    from langgraph.prebuilt import create_react_agent

    def lengths(run: Callable[[Any], Any]) -> list[tuple[str, int]]:
        agent = create_react_agent(Steps(steps=[[WEATHER]], tag="one"), [weather], name="one")
        model = Steps(steps=[[("transfer_to_one", {})]], tag="chief")
        graph = supervisors.create_supervisor([agent], model=model, output_mode="full_history")
        ran = run(graph.compile())
        values = list(ran.stream(go("go", "1"), subgraphs=True, stream_mode="values"))
        return [(ns[0].split(":")[0] if ns else "", len(v["messages"])) for ns, v in values]

    expected = lengths(lambda graph: graph)
    got = lengths(lambda graph: distribute(graph, backend=backend))
    changed = expected.index(("one", 6))  # four messages, and two that the supervisor appended
    assert expected.count(("one", 6)) == 1
    if backend == "ray":
        expected[changed] = ("one", 4)
    assert got == expected


@FACES
def test_a_swarm_remembers_the_active_agent(backend: str, face: str) -> None:
    swarms = pytest.importorskip("langgraph_swarm", reason="needs langgraph-swarm")
    from langgraph.prebuilt import create_react_agent

    def build() -> Any:
        ann = create_react_agent(
            Steps(steps=[[("transfer_to_bob", {})]], tag="ann"),
            [weather, swarms.create_handoff_tool(agent_name="bob")],
            name="ann",
        )
        bob = create_react_agent(Steps(steps=[[WEATHER]], tag="bob"), [weather], name="bob")
        swarm = swarms.create_swarm([ann, bob], default_active_agent="ann")
        return swarm.compile(checkpointer=InMemorySaver())

    conversation_is_the_same(backend, build, go("go", "1"), go("again", "2"), faces=[face])
