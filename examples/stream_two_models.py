"""Two models in one async node: their tokens are told apart by the tags of the models."""

from __future__ import annotations

import asyncio
from typing import TypedDict

from langchain_core.runnables import RunnableConfig

from distgraph.graph import START, StateGraph
from extractive import ExtractiveChatModel

TEXT = """Cats sleep for most of the day. A cat hunts at dawn and at dusk, and sleeps in between.
Some cats are afraid of cucumbers. Nobody has asked the cucumbers."""

headline_model = ExtractiveChatModel(sentences=1, notice=False, tags=["headline"])
summary_model = ExtractiveChatModel(sentences=2, tags=["summary"])


class State(TypedDict, total=False):
    """The state of the run."""

    text: str
    headline: str
    summary: str


async def call_models(state: State, config: RunnableConfig) -> State:
    """Call both models; on Python 3.10, ``config`` has to be passed on to them by hand."""
    prompt = [{"role": "user", "content": f"Shorten this text:\n{state['text']}"}]
    headline = await headline_model.ainvoke(prompt, config)
    summary = await summary_model.ainvoke(prompt, config)
    return {"headline": str(headline.content), "summary": str(summary.content)}


graph = StateGraph(State).add_node(call_models).add_edge(START, "call_models").compile()


async def main() -> None:
    """Print the tokens of both models with their tags, then those of one only."""
    async for token, metadata in graph.astream({"text": TEXT}, stream_mode="messages"):
        if token.content:
            print(f"{metadata['tags']} {token.content!r}")

    print("\nonly the headline:")
    async for token, metadata in graph.astream({"text": TEXT}, stream_mode="messages"):
        if token.content and "headline" in metadata["tags"]:
            print(token.content, end="|", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main())
