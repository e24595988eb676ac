"""Mode ``debug``: every task as it starts and as it ends, with its input and its result."""

from __future__ import annotations

from typing import TypedDict

from distgraph.graph import START, StateGraph


class State(TypedDict, total=False):
    """The state of the run."""

    topic: str
    joke: str


def refine_topic(state: State) -> State:
    """First step."""
    return {"topic": state["topic"] + " and cats"}


def generate_joke(state: State) -> State:
    """Second step."""
    return {"joke": f"This is a joke about {state['topic']}"}


graph = (
    StateGraph(State)
    .add_node(refine_topic)
    .add_node(generate_joke)
    .add_edge(START, "refine_topic")
    .add_edge("refine_topic", "generate_joke")
    .compile()
)

if __name__ == "__main__":
    for chunk in graph.stream({"topic": "ice cream"}, stream_mode="debug"):
        payload = chunk["payload"]
        print(f"step {chunk['step']} {chunk['type']} {payload['name']}")
        print(f"    {payload}")
