"""Checkpoints of LangGraph before 0.3: channels get their present names, as in LangGraph."""

from __future__ import annotations

import copy
import operator
from typing import Annotated, Any

import pytest
from langgraph.graph import StateGraph as TheirStateGraph
from typing_extensions import TypedDict

from distgraph import distribute
from distgraph.engine.old_checkpoints import migrated
from distgraph.graph import END, START, StateGraph


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def says(name: str) -> Any:
    return lambda state: {"log": [name]}


def built(builder: Any) -> Any:
    for name in ("a", "b", "c", "d"):
        builder.add_node(name, says(name))
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge("c", "d")
    builder.add_edge("d", END)
    return builder.add_conditional_edges("b", lambda state: "x", {"x": "d"})


def old(**changed: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "id": "1ef4f797-8335-6428-8001-8a1503f9b875",
        "ts": "2024-07-31T20:14:19+00:00",
        "channel_values": {"log": ["a"], "a": "a"},
        "channel_versions": {"__start__": 2, "log": 3, "start:a": 3, "a": 3},
        "versions_seen": {"__input__": {}, "__start__": {"__start__": 1}, "a": {"start:a": 2}},
        **changed,
    }


CHECKPOINTS = {
    "behind an edge": old(),
    "behind a conditional edge": old(
        channel_values={"log": ["a", "b"], "branch:b:lambda:d": "b"},
        channel_versions={"__start__": 2, "log": 4, "a": 3, "b": 4, "branch:b:lambda:d": 4},
        versions_seen={"b": {"a": 3}, "d": {"branch:b:lambda:d": 1}, "c": {}},
    ),
    "with versions that were seen by interrupts": old(
        channel_versions={"log": 3, "start:a": 3, "c": 3, "branch:to:d": 5},
        versions_seen={"__interrupt__": {"start:a": 2, "c": 3, "log": 3}, "d": {"c": 2}},
    ),
    "with channels of nodes that are gone": old(
        channel_versions={"log": 3, "start:gone": 3, "branch:b:f:gone": 2, "gone": 1}
    ),
    "of the present layout": old(v=4, channel_versions={"log": 2, "branch:to:b": 3}),
    "empty": old(channel_versions={}, channel_values={}, versions_seen={}),
}


@pytest.mark.parametrize("which", CHECKPOINTS)
@pytest.mark.parametrize("door", ["own", "distribute"])
def test_channels_are_renamed_as_langgraph_renames_them(which: str, door: str) -> None:
    theirs = built(TheirStateGraph(State)).compile()
    expected = copy.deepcopy(CHECKPOINTS[which])
    theirs._migrate_checkpoint(expected)
    graph = (
        built(StateGraph(State)).compile(backend="local")
        if door == "own"
        else distribute(theirs, backend="local")
    )
    before = copy.deepcopy(CHECKPOINTS[which])
    assert migrated(CHECKPOINTS[which], graph.spec) == expected
    assert CHECKPOINTS[which] == before


@pytest.mark.parametrize("which", ["behind an edge", "behind a conditional edge"])
def test_a_thread_goes_on_from_an_old_checkpoint(which: str) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    config: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    ended = []
    for builder, options in ((TheirStateGraph, {}), (StateGraph, {"backend": "local"})):
        saver = InMemorySaver()
        checkpoint: Any = copy.deepcopy(CHECKPOINTS[which])
        versions = {name: str(version) for name, version in checkpoint["channel_versions"].items()}
        checkpoint["channel_versions"] = versions
        seen = checkpoint["versions_seen"]
        for noted in seen.values():
            noted.update({name: str(version) for name, version in noted.items()})
        saver.put(config, checkpoint, {"source": "loop", "step": 1, "parents": {}}, versions)
        graph = built(builder(State)).compile(checkpointer=saver, **options)
        ended.append((graph.get_state(config).next, graph.invoke(None, config)))
    assert ended[1] == ended[0]
    assert ended[0][0] != ()
