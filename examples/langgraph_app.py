"""An application of LangGraph: it reviews documents. Nothing in this file knows of distgraph.

A ``Send`` for each document, a subgraph whose nodes choose with ``Command`` and a conditional edge,
custom progress, and the tokens of a chat model. ``distribute_langgraph.py`` runs it on a cluster.
"""

from __future__ import annotations

import operator
import os
import re
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

MOST_WORDS = 25


class Document(TypedDict):
    """A document, and what is found in it."""

    name: str
    text: str


class Reading(TypedDict):
    """How long a document is to read."""

    name: str
    words: int
    minutes: float


class State(TypedDict, total=False):
    """The state of the whole graph."""

    documents: list[Document]
    readings: Annotated[list[Reading], operator.add]
    text: str
    draft: str
    shortened: bool


class ReviewState(TypedDict, total=False):
    """The state of the subgraph."""

    readings: list[Reading]
    text: str
    draft: str
    shortened: bool


def tell(what: str, about: str) -> None:
    """Write which process does what."""
    get_stream_writer()({"what": what, "about": about, "pid": os.getpid()})


def each(state: State) -> list[Send]:
    """Send each document to a task of its own."""
    return [Send("read", document) for document in state["documents"]]


def read(state: Document) -> State:
    """Count the words of one document."""
    tell("read", state["name"])
    words = len(re.findall(r"\w+", state["text"]))
    reading = Reading(name=state["name"], words=words, minutes=round(words / 230, 1))
    return {"readings": [reading]}


def enough(state: State) -> str:
    """Review only what has words."""
    return "review" if any(reading["words"] for reading in state["readings"]) else END


def build(model: BaseChatModel) -> Any:
    """Build and compile the graph; ``model`` writes the review."""

    def collect(state: ReviewState) -> ReviewState:
        """Write down the facts."""
        tell("collect", f"{len(state['readings'])} readings")
        facts = [
            f"The document {r['name']} has {r['words']} words, {r['minutes']} minutes to read."
            for r in state["readings"]
        ]
        return {"text": "\n".join(facts)}

    def write(state: ReviewState) -> Command[str]:
        """Let the model write, and say where to go on."""
        tell("write", "draft")
        prompt = "Which of these documents matter, in a few sentences:\n"
        draft = str(model.invoke(prompt + state["text"]).content)
        return Command(
            goto="shorten" if len(draft.split()) > MOST_WORDS else END, update={"draft": draft}
        )

    def shorten(state: ReviewState) -> ReviewState:
        """Keep the beginning of a draft that is too long."""
        tell("shorten", "draft")
        return {"draft": " ".join(state["draft"].split()[:MOST_WORDS]) + " …", "shortened": True}

    review = StateGraph(ReviewState).add_node(collect).add_node(shorten)
    review.add_node("write", write, destinations=("shorten", END))
    review.add_edge(START, "collect").add_edge("collect", "write")

    builder = StateGraph(State).add_node(read).add_node("review", review.compile())
    builder.add_conditional_edges(START, each, ["read"])
    builder.add_conditional_edges("read", enough, ["review", END])
    return builder.compile()
