"""A program of a user with mistakes: type checkers report each line that ends in ``# wrong``."""

from __future__ import annotations

from typing import TypedDict

import distgraph
from distgraph import (
    START,
    Command,
    RayOptions,
    StateGraph,
    create_agent,
    entrypoint,
    progress,
    task,
)


class State(TypedDict):
    topic: str


def write(state: State) -> dict[str, str]:
    return {"topic": "tea"}


builder = StateGraph(State)
builder.add_node(write, ray_options={"num_cpu": 2})  # wrong
builder.add_node("more", write, ray_options={"placement": "threads"})  # wrong
builder.add_node("again", write, retry_polcy=None)  # wrong
builder.add_node("late", write, timeout="30")  # wrong
builder.add_node("often", write, retry_policy=3)  # wrong
builder.add_edge(START, "write")
options: RayOptions = {"num_gpu": 1}  # wrong
graph = builder.compile(backend="locale")  # wrong
graph.invoke({"topic": "tea"}, stream_mod="values")  # wrong
graph.invoke("tea")  # wrong
graph.invoke({"topic": "tea"}, stream_mode="update")  # wrong
graph.stream({"topic": "tea"}, stream_mode=["updates", "message"])  # wrong
graph.stream({"topic": "tea"}, durability="synch")  # wrong
graph.astream({"topic": "tea"}, subgraph=True)  # wrong
graph.batch([{"topic": "tea"}], version="v3")  # wrong
graph.batch([{"topic": "tea"}], return_exception=True)  # wrong
graph.stream({"topic": "tea"}, output_keys=3)  # wrong
graph.streem({"topic": "tea"})  # wrong
graph.start({"topic": "tea"}, detach=True)  # wrong
graph.start({"topic": "tea"}, stream_mode="update")  # wrong
builder.add_node("number", 3)  # wrong
builder.add_node(write, "name")  # wrong
builder.add_conditional_edges("write", "route")  # wrong
builder.add_sequence(["write"])  # wrong
progress(graph)  # wrong
Command(goto=3)  # wrong
distgraph.errors.WorkerDead  # wrong


async def main() -> None:
    await graph.astart({"topic": "tea"}, detach=True)  # wrong


@task(ray_options={"num_cpus": "two"})  # wrong
def measure(word: str) -> int:
    return len(word)


@entrypoint()
def workflow(words: list[str]) -> int:
    return measure(3).result()  # wrong


create_agent("openai:gpt-4o-mini", [], sytem_prompt="Be brief.")  # wrong
create_agent("openai:gpt-4o-mini", ray_options={"search": {"timeouts": 5}})  # wrong
