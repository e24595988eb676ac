"""A program of a user, as type checkers see it: no line is an error."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

import distgraph
from distgraph import (
    END,
    START,
    CachePolicy,
    Command,
    Durability,
    MessagesState,
    RayOptions,
    RetryPolicy,
    RunControl,
    Runtime,
    Send,
    StateGraph,
    StreamMode,
    add_messages,
    create_agent,
    entrypoint,
    get_stream_writer,
    interrupt,
    task,
)


class State(TypedDict):
    topic: str
    found: Annotated[list[str], operator.add]


@dataclass
class Context:
    user: str


def spread(state: State) -> list[Send]:
    return [Send("search", {"topic": state["topic"]})]


def search(state: State, runtime: Runtime[Context]) -> dict[str, list[str]]:
    get_stream_writer()("searching")
    return {"found": [runtime.context.user]}


async def judge(state: State) -> Command[Literal["search", "__end__"]]:
    answer: str = interrupt({"ask": state["topic"]})
    return Command(update={"topic": answer}, goto=END)


gpu: RayOptions = {"num_gpus": 0.5, "runtime_env": {"pip": ["torch"]}}

builder = StateGraph(State, Context)
builder.add_node(search, ray_options=gpu, retry_policy=RetryPolicy(max_attempts=2), timeout=30)
builder.add_node("judge", judge, ray_options={"placement": "async"}, cache_policy=CachePolicy())
builder.add_conditional_edges(START, spread, ["search"])
builder.add_edge("search", "judge")
graph = builder.compile(backend="local", name="example")

modes: list[StreamMode] = ["updates", "custom"]
durability: Durability = "exit"
config = {"configurable": {"thread_id": "1"}, "recursion_limit": 5}
for chunk in graph.stream({"topic": "tea"}, config, stream_mode=modes, durability=durability):
    print(chunk)
result = graph.invoke({"topic": "tea", "found": []}, context=Context("ada"), control=RunControl())
print(result["found"])
graph.invoke(Command(resume="yes"), config, context={"user": "ada"}, version="v2")
outputs: list[object] = graph.batch([{"topic": "tea"}, {"topic": "rain"}], stream_mode="values")


async def main() -> None:
    async for mode, part in graph.astream({"topic": "tea"}, stream_mode=["messages", "tools"]):
        print(mode, part)
    await graph.ainvoke(None, interrupt_before="*", interrupt_after=["judge"], subgraphs=True)


@task(retry_policy=RetryPolicy(), ray_options={"num_cpus": 2})
def measure(word: str) -> int:
    return len(word)


@task(timeout=3)
async def ask(word: str) -> int:
    return len(word)


@entrypoint()
async def waits(words: list[str]) -> int:
    return await ask(words[0])


@entrypoint()
def workflow(words: list[str]) -> int:
    return sum(future.result() for future in [measure(word) for word in words])


def chunks() -> Iterator[object]:
    return workflow.stream(["one"], stream_mode="custom")


agent = create_agent("openai:gpt-4o-mini", [], ray_options={"search": {"timeout": 5}})
chat = StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent").compile()
merged = add_messages([], [])

with closing(graph.stream({"topic": "tea"})) as stream:
    print(next(stream))
try:
    with distgraph.progress(graph.stream({"topic": "tea"}), view="lines") as run:
        print(list(run), run.timeline().svg())
except distgraph.errors.GraphRecursionError as error:
    print(error)
handle = graph.start({"topic": "tea"}, progress=True, stream_mode=["updates"])
if handle.status == "success":
    print(handle.result())


class Loaded:
    def __call__(self, state: State) -> dict[str, str]:
        return {"topic": "tea"}


parts = StateGraph(State).add_node("loaded", Loaded, ray_options={"concurrency": 2})
parts.add_sequence([search, ("again", search)]).add_node("graph", graph).add_node("chat", chat)
parts.add_conditional_edges("loaded", lambda state: "again", {"again": "again"})
