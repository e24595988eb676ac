"""Graphs and schemas that more than one file of tests uses.

Nodes carry few annotations on purpose: an annotation of the first parameter is an input schema, and
those of injected parameters are looked at by the engines.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any

from typing_extensions import TypedDict


class JokeState(TypedDict, total=False):
    topic: str
    joke: str


class Items(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]


class Numbers(TypedDict, total=False):
    n: int
    items: Annotated[list[Any], operator.add]


def joke(ns: Any) -> Any:
    """Two nodes in sequence; the first writes to the custom stream."""

    def refine_topic(state, writer):
        writer({"node": "refine_topic"})
        return {"topic": state["topic"] + " and cats"}

    def generate_joke(state):
        return {"joke": f"J:{state['topic']}"}

    return (
        ns.StateGraph(JokeState)
        .add_node("refine_topic", refine_topic)
        .add_node("generate_joke", generate_joke)
        .add_edge(ns.START, "refine_topic")
        .add_edge("refine_topic", "generate_joke")
    )


def one(ns: Any, node: Any, schema: Any = Items, name: str = "n") -> Any:
    """A graph of one node."""
    return ns.StateGraph(schema).add_node(name, node).add_edge(ns.START, name)


def adds(name: str, events: int = 0) -> Any:
    """A node that adds its name to ``items``, after ``events`` custom events."""

    def node(state, writer):
        for i in range(events):
            writer({"node": name, "i": i})
        return {"items": [name]}

    return node
