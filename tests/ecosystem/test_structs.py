"""Structs of msgspec whose classes a script defines."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from distgraph import distribute

SCRIPT = """
from typing import Optional
import msgspec

class Note(msgspec.Struct, frozen=True, tag="note"):
    text: str
    tags: list[str] = []
    more: dict[str, int] = msgspec.field(default_factory=dict, name="More")

    def long(self):
        return len(self.text) > 3

class Reply(Note, frozen=True, kw_only=True):
    to: Optional[Note] = None
    stars: int

def node(state):
    note = state["notes"][-1]
    reply = Reply("thanks", to=note, stars=3)
    read = msgspec.json.decode(msgspec.json.encode(reply), type=Reply)
    return {"notes": [reply], "seen": [note.long(), isinstance(note, Note), read == reply]}
"""


class Found(TypedDict, total=False):
    notes: Annotated[list[Any], operator.add]
    seen: Annotated[list[bool], operator.add]


def test_structs_of_a_script_travel_with_their_fields(backend: str) -> None:
    msgspec = pytest.importorskip("msgspec", reason="needs msgspec")
    script: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(SCRIPT, "<script>", "exec", dont_inherit=True), script)
    note, reply = script["Note"], script["Reply"]
    graph = StateGraph(Found).add_node("node", script["node"]).add_edge(START, "node").compile()
    end = distribute(graph, backend=backend).invoke({"notes": [note("hello", ["a"])]})
    assert end["notes"] == [note("hello", ["a"]), reply("thanks", to=note("hello", ["a"]), stars=3)]
    assert end["seen"] == [True, True, True]
    assert type(end["notes"][1]) is reply
    assert msgspec.json.encode(end["notes"][0]) == (
        b'{"type":"note","text":"hello","tags":["a"],"More":{}}'
    )
