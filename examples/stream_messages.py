"""Mode ``messages``: the tokens of a chat model that a node calls, with metadata about the node.

The model is the extractive one of this folder; any LangChain chat model works the same way.
"""

from __future__ import annotations

from typing import TypedDict

from distgraph.graph import START, StateGraph
from extractive import ExtractiveChatModel

TEXT = """Cats sleep for most of the day. A cat hunts at dawn and at dusk, and sleeps in between.
Some cats are afraid of cucumbers. Nobody has asked the cucumbers."""

model = ExtractiveChatModel()


class State(TypedDict, total=False):
    """The state of the run."""

    text: str
    summary: str


def summarize(state: State) -> State:
    """Call the model; its tokens are streamed while it runs."""
    answer = model.invoke([{"role": "user", "content": f"Summarize this text:\n{state['text']}"}])
    return {"summary": str(answer.content)}


graph = StateGraph(State).add_node(summarize).add_edge(START, "summarize").compile()

if __name__ == "__main__":
    chunks = graph.stream({"text": TEXT}, stream_mode="messages")
    for number, (token, metadata) in enumerate(chunks):
        if number == 0:
            print(f"node {metadata['langgraph_node']}, step {metadata['langgraph_step']}:")
        if token.content:
            print(token.content, end="|", flush=True)
    print()
