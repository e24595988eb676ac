"""Agents of ``deepagents``: plans, files, sub-agents, questions to a human, and memories."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

pytest.importorskip("deepagents", reason="needs deepagents")

from deepagents import create_deep_agent
from deepagents.backends import CompositeBackend, StateBackend, StoreBackend
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from distgraph import distribute
from tests.ecosystem.models import Steps
from tests.ecosystem.support import CONFIG, conversation_is_the_same
from tests.langgraph_graphs.support import newest

pytestmark = newest


@tool
def weather(place: str) -> str:
    """Tell the weather."""
    return f"sunny in {place}"


GO: dict[str, Any] = {"messages": [HumanMessage("go", id="h")]}
WEATHER = ("weather", {"place": "Rome"})
WRITE = ("write_file", {"file_path": "/notes.md", "content": "one\ntwo\n"})
APPROVE = {"type": "approve"}
REJECT = {"type": "reject", "message": "not now"}
EDIT = {"type": "edit", "edited_action": {"name": "weather", "args": {"place": "Oslo"}}}


def task(name: str, what: str) -> tuple[str, dict[str, Any]]:
    return "task", {"description": what, "subagent_type": name}


def sub_agent(name: str, *steps: Any, **options: Any) -> Any:
    return {
        "name": name,
        "description": f"does {name}",
        "system_prompt": f"You are {name}.",
        "tools": [weather],
        "model": Steps(steps=list(steps), tag=name),
        **options,
    }


def deep_agent(*steps: Any, **options: Any) -> Any:
    model = Steps(steps=list(steps))
    return lambda: create_deep_agent(
        model, tools=[weather], checkpointer=InMemorySaver(), **options
    )


FACES = pytest.mark.parametrize("face", ["sync", "async"])


@FACES
def test_plans_and_files(backend: str, face: str) -> None:
    todos = [{"content": "write", "status": "in_progress"}]
    build = deep_agent(
        [("write_todos", {"todos": todos})],
        [WRITE],
        [("edit_file", {"file_path": "/notes.md", "old_string": "two", "new_string": "three"})],
        [("read_file", {"file_path": "/notes.md"})],
        [("ls", {"path": "/"})],
        [("glob", {"pattern": "*.md"})],
        [("grep", {"pattern": "three"})],
    )
    (run,) = conversation_is_the_same(backend, build, GO, faces=[face])
    last = [item.payload for item in run if item.mode == "values"][-1]
    assert "/notes.md" in last["messages"][-1].text


@FACES
def test_one_sub_agent(backend: str, face: str) -> None:
    build = deep_agent(
        [task("researcher", "find out")],
        subagents=[sub_agent("researcher", [WEATHER], [WRITE])],
    )
    conversation_is_the_same(backend, build, GO, faces=[face])


@FACES
def test_sub_agents_in_parallel(backend: str, face: str) -> None:
    build = deep_agent(
        [task("one", "first"), task("two", "second")],
        subagents=[sub_agent("one", [WEATHER]), sub_agent("two", [WEATHER], [WEATHER])],
    )
    conversation_is_the_same(backend, build, GO, faces=[face], unordered=True)


@FACES
@pytest.mark.parametrize("decision", [APPROVE, EDIT, REJECT], ids=lambda d: str(d["type"]))
def test_a_human_decides_on_a_tool_call(backend: str, face: str, decision: dict[str, Any]) -> None:
    build = deep_agent([WEATHER], interrupt_on={"weather": True})
    conversation_is_the_same(
        backend, build, GO, Command(resume={"decisions": [decision]}), faces=[face]
    )


@FACES
@pytest.mark.parametrize("decision", [APPROVE, EDIT, REJECT], ids=lambda d: str(d["type"]))
def test_a_human_decides_on_a_tool_call_of_a_sub_agent(
    backend: str, face: str, decision: dict[str, Any]
) -> None:
    asking = sub_agent("careful", [WEATHER], interrupt_on={"weather": True})
    build = deep_agent([task("careful", "look")], subagents=[asking])
    conversation_is_the_same(
        backend, build, GO, Command(resume={"decisions": [decision]}), faces=[face]
    )


@FACES
def test_a_human_decides_on_calls_of_two_sub_agents_one_by_one(backend: str, face: str) -> None:
    agents = [
        sub_agent("one", [WEATHER], interrupt_on={"weather": True}),
        sub_agent("two", [("weather", {"place": "Bonn"})], interrupt_on={"weather": True}),
    ]
    build = deep_agent([task("one", "first"), task("two", "second")], subagents=agents)
    told = []
    for graph in (build(), distribute(build(), backend=backend)):

        def run(input: Any, graph: Any = graph) -> Any:
            if face == "async":
                return asyncio.run(graph.ainvoke(input, CONFIG))
            return graph.invoke(input, CONFIG)

        asked = run(copy.deepcopy(GO))["__interrupt__"]
        place = {i.value["action_requests"][0]["args"]["place"]: i.id for i in asked}
        left = run(Command(resume={place["Rome"]: {"decisions": [APPROVE]}}))["__interrupt__"]
        end = run(Command(resume={"decisions": [REJECT]}))["messages"]
        told.append((sorted(place), [i.id == place["Bonn"] for i in left], [m.text for m in end]))
    assert told[1] == told[0]
    assert told[0][:2] == (["Bonn", "Rome"], [True])


def test_the_events_of_an_agent_with_a_sub_agent(backend: str) -> None:
    build = deep_agent(
        [task("researcher", "find out")], subagents=[sub_agent("researcher", [WEATHER])]
    )

    async def events(graph: Any) -> list[Any]:
        found = graph.astream_events(copy.deepcopy(GO), CONFIG, version="v2")
        return [(e["event"], e["name"], e["tags"], len(e["parent_ids"])) async for e in found]

    expected = asyncio.run(events(build()))
    assert asyncio.run(events(distribute(build(), backend=backend))) == expected


@FACES
def test_memories_in_a_store(backend: str, face: str) -> None:
    def build() -> Any:
        store = InMemoryStore()
        files = CompositeBackend(
            default=StateBackend(),
            routes={"/memories/": StoreBackend(namespace=lambda context: ("notes",))},
        )
        path = "/memories/ann.md"
        steps = [
            [("write_file", {"file_path": path, "content": "likes tea"})],
            [("read_file", {"file_path": path})],
            [("ls", {"path": "/memories/"})],
        ]
        return deep_agent(*steps, backend=files, store=store)()

    conversation_is_the_same(backend, build, GO, faces=[face])
