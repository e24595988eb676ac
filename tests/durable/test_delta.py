"""``DeltaChannel``: what is saved of it is what LangGraph saves, and each reads the other's."""

import json
import re
from typing import Annotated

import pytest
from typing_extensions import TypedDict

from tests.support.differential import run
from tests.support.engines import DISTRIBUTED, REFERENCE, Engine

CONFIG = {"configurable": {"thread_id": "t"}}


def extended(state, writes):
    return [*state, *(item for write in writes for item in write)]


def builder_of(engine):
    """A cycle of two steps with parallel writers, an ``Overwrite``, and a question at the end."""

    class State(TypedDict):
        log: Annotated[list, engine.DeltaChannel(extended, snapshot_frequency=3)]
        n: int

    def first(state):
        return {"log": [f"first {len(state['log'])}"], "n": state.get("n", 0) + 1}

    def second(state):
        return {"log": [f"second {len(state['log'])}"]}

    def check(state):
        return {"log": engine.Overwrite(["new"])} if state["n"] == 2 else {}

    def ask(state):
        return {"log": [engine.interrupt("?")]}

    builder = engine.StateGraph(State)
    for node in (first, second, check, ask):
        builder.add_node(node.__name__, node)
    builder.add_edge(engine.START, "first")
    builder.add_edge(engine.START, "second")
    builder.add_edge("first", "check")
    builder.add_conditional_edges("check", lambda s: "first" if s["n"] % 4 else "ask")
    return builder


def graph_of(engine, saver):
    return engine.compile(builder_of(engine), checkpointer=saver)


def kept(saver):
    """Everything that a saver has of the thread, ids replaced by numbers in order."""
    told = []
    for found in reversed(list(saver.list(CONFIG))):
        parent = (found.parent_config or {"configurable": {}})["configurable"].get("checkpoint_id")
        checkpoint = found.checkpoint
        versions = {c: str(v).split(".")[0] for c, v in checkpoint["channel_versions"].items()}
        seen = {
            node: {c: str(v).split(".")[0] for c, v in by.items()}
            for node, by in checkpoint["versions_seen"].items()
        }
        values = {c: repr(v) for c, v in checkpoint["channel_values"].items()}
        writes = [(t, c, repr(v)) for t, c, v in found.pending_writes]
        branches = sorted(w[1:] for w in writes if w[1].startswith("branch:"))
        others = [w for w in writes if not w[1].startswith("branch:")]
        told.append(
            [checkpoint["id"], parent, found.metadata, values, versions, seen, others, branches]
        )
    text = json.dumps(told, sort_keys=True)
    known: dict[str, str] = {}
    pattern = r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}"
    return json.loads(re.sub(pattern, lambda m: known.setdefault(m[0], f"#{len(known)}"), text))


def play(engine, saver, durability):
    """Two runs, an answer, a run from the past and an update: what each of them gave."""
    graph = graph_of(engine, saver)
    told = [
        run(graph, value, config=CONFIG, stream_mode="values", durability=durability).chunks
        for value in ({"log": ["in"]}, engine.Command(resume="yes"), {"log": ["again"], "n": 3})
    ]
    past = list(graph.get_state_history(CONFIG))
    told.append([(s.values, s.next) for s in past])
    graph.invoke(None, past[len(past) // 2].config, durability=durability)
    graph.update_state(CONFIG, {"log": ["update"]}, as_node="first")
    told.append(graph.get_state(CONFIG).values)
    return told


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_what_is_saved_is_what_langgraph_saves(durability):
    from langgraph.checkpoint.memory import InMemorySaver

    ours, theirs = InMemorySaver(), InMemorySaver()
    expected = play(Engine(REFERENCE), theirs, durability)
    assert _plain(play(Engine("local"), ours, durability)) == _plain(expected)
    assert kept(ours) == kept(theirs)


def _plain(told):
    return re.sub(r"id='[0-9a-f]+'", "id", repr(told))


@pytest.mark.parametrize("name", ["local", DISTRIBUTED])
@pytest.mark.parametrize("durability", ["async", "exit"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_each_continues_a_thread_of_the_other(saver, name, durability, ours_first):
    ours, theirs = Engine(name), Engine(REFERENCE)
    one, other = (ours, theirs) if ours_first else (theirs, ours)
    graph_of(one, saver).invoke({"log": ["in"]}, CONFIG, durability=durability)
    ended = graph_of(other, saver).invoke(
        other.Command(resume="yes"), CONFIG, durability=durability
    )
    assert ended["log"] == ["new", "first 1", "first 2", "yes"]
    assert graph_of(one, saver).get_state(CONFIG).values["log"] == ended["log"]
    again = graph_of(one, saver).invoke({"log": ["again"], "n": 3}, CONFIG, durability=durability)
    seen = ["new", "first 1", "first 2", "yes", "again", "first 5", "second 5"]
    assert again["log"] == seen
    assert graph_of(other, saver).get_state(CONFIG).values["log"] == seen


def test_a_long_value_is_saved_once_in_a_while():
    from langgraph.checkpoint.memory import InMemorySaver

    saver = InMemorySaver()
    graph = graph_of(Engine("local"), saver)
    graph.invoke({"log": ["in"]}, CONFIG)
    stored = [found.checkpoint["channel_values"].get("log") for found in saver.list(CONFIG)]
    assert len(stored) > 2 * sum(value is not None for value in stored) > 0


@pytest.mark.parametrize("door", ["distribute", "own builder"])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_class_derived_from_it_is_saved_as_langgraph_saves_it(door, durability):
    from langgraph.channels import DeltaChannel
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, StateGraph

    from distgraph import distribute
    from distgraph.graph import StateGraph as OwnStateGraph

    class Loud(DeltaChannel):
        def update(self, values):
            return super().update([[str(item).upper() for item in v] for v in values])

        def replay_writes(self, writes):
            super().replay_writes(
                [(t, c, [str(item).upper() for item in value]) for t, c, value in writes]
            )

    def built(builder):
        class State(TypedDict):
            log: Annotated[list, Loud(extended, snapshot_frequency=2)]

        graph = builder(State)
        for name in ("a", "b", "c"):
            graph.add_node(name, lambda state, name=name: {"log": [f"{name}{len(state['log'])}"]})
        return graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")

    def turns(graph, saver):
        ended = [graph.invoke({"log": ["in"]}, CONFIG, durability=durability) for _ in range(2)]
        return ended, graph.get_state(CONFIG).values, kept(saver)

    theirs, saver = InMemorySaver(), InMemorySaver()
    expected = turns(built(StateGraph).compile(checkpointer=theirs), theirs)
    if door == "distribute":
        graph = distribute(built(StateGraph).compile(checkpointer=saver), backend="local")
    else:
        graph = built(OwnStateGraph).compile(checkpointer=saver, backend="local")
    assert turns(graph, saver) == expected
    assert expected[1]["log"] == ["IN", "A1", "B2", "C3", "IN", "A5", "B6", "C7"]
