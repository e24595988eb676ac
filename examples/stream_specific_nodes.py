"""Tokens of one node only: two nodes call the same model at once, the metadata names the node."""

from __future__ import annotations

from typing import TypedDict

from distgraph.graph import START, StateGraph
from extractive import ExtractiveChatModel

CATS = "Cats sleep for most of the day. A cat hunts at dawn and at dusk, and sleeps in between."
DOGS = "Dogs bark at what they know. A dog that knows nothing barks all day."

model = ExtractiveChatModel(sentences=1)


class State(TypedDict, total=False):
    """The state of the run."""

    about_cats: str
    about_dogs: str


def write_about_cats(state: State) -> State:
    """Runs at the same time as the other."""
    return {"about_cats": str(model.invoke(f"Shorten this text:\n{CATS}").content)}


def write_about_dogs(state: State) -> State:
    """Runs at the same time as the other."""
    return {"about_dogs": str(model.invoke(f"Shorten this text:\n{DOGS}").content)}


graph = (
    StateGraph(State)
    .add_node(write_about_cats)
    .add_node(write_about_dogs)
    .add_edge(START, "write_about_cats")
    .add_edge(START, "write_about_dogs")
    .compile()
)

if __name__ == "__main__":
    for token, metadata in graph.stream({}, stream_mode="messages"):
        if token.content and metadata["langgraph_node"] == "write_about_dogs":
            print(token.content, end="|", flush=True)
    print()
