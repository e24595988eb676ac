"""Metadata whose keys are those of a task's position: ids stay the task's own."""

import asyncio

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from tests.support.graphs import Items

KEYS = (
    "langgraph_checkpoint_ns",
    "langgraph_step",
    "langgraph_node",
    "langgraph_triggers",
    "langgraph_path",
    "checkpoint_ns",
    "checkpoint_id",
    "thread_id",
    "run_id",
    "graph_id",
    "langgraph_team",
)
GROUPS = [
    ("node", ("langgraph_checkpoint_ns",)),
    ("node", tuple(key for key in KEYS if key != "langgraph_checkpoint_ns")),
    ("metadata", KEYS),
    ("configurable", KEYS),
]
MODES = ["custom", "updates", "tasks", "messages"]


def ns_of(config):
    return config["configurable"]["checkpoint_ns"]


def looking(ns, own):
    """A graph whose nodes, and those of graphs within, return what they see of their config."""

    def look(state, config):
        GenericFakeChatModel(messages=iter([AIMessage("hi", id="m")])).invoke("?")
        ns.get_stream_writer()("written")
        hidden = ("__pregel_", "checkpoint_")
        given = {k: v for k, v in config["configurable"].items() if not k.startswith(hidden)}
        return {
            "items": [(dict(config["metadata"]), given, config["configurable"]["checkpoint_ns"])]
        }

    def graph():
        made = ns.StateGraph(Items).add_node("look", look, metadata=own)
        return made.add_edge(ns.START, "look")

    called = graph().compile()
    made = ns.StateGraph(Items).add_node("look", look, metadata=own)
    made.add_node("within", graph().compile(), metadata=own)
    made.add_node("calls", lambda state: called.invoke({"items": []}), metadata=own)
    made.add_edge(ns.START, "look").add_edge("look", "within").add_edge("within", "calls")
    return made


@pytest.mark.parametrize(("place", "keys"), GROUPS)
def test_keys_of_the_position_stream_as_on_langgraph(differ, place, keys):
    given = dict.fromkeys(keys, "mine")
    config = {} if place == "node" else {place: given}
    differ.stream(
        lambda ns: looking(ns, given if place == "node" else None),
        {"items": []},
        faces=("sync",),
        stream_mode=MODES,
        subgraphs=True,
        config=config,
    )


def asking(ns, own):
    def ask(name):
        return lambda state: {"items": [(name, ns.interrupt(name), ns.interrupt(name))]}

    inner = ns.StateGraph(Items).add_node("ask", ask("inner"), metadata=own)
    inner.add_edge(ns.START, "ask")
    made = ns.StateGraph(Items).add_node("a", ask("a"), metadata=own)
    made.add_node("b", ask("b"), metadata=own).add_node("c", inner.compile(), metadata=own)
    return made.add_edge(ns.START, "a").add_edge(ns.START, "b").add_edge(ns.START, "c")


@pytest.mark.parametrize("own", [{"langgraph_checkpoint_ns": "x"}, dict.fromkeys(KEYS, "x")])
def test_parallel_interrupts_have_ids_and_answers_of_their_own(differ, own):
    def answers(ns):
        app = asking(ns, own).compile(checkpointer=InMemorySaver())
        config, given = {"configurable": {"thread_id": "1"}, "metadata": own}, []
        reply = app.invoke({"items": []}, config)
        while "__interrupt__" in reply:
            ids = {i.value: i.id for i in reply["__interrupt__"]}
            given.append(sorted(ids))
            assert len(set(ids.values())) == len(ids)
            resume = {ids[name]: f"{name}{len(given)}" for name in ids}
            reply = app.invoke(ns.Command(resume=resume), config)
        return given, reply["items"]

    expected = answers(differ.reference)
    assert expected[1] == [("a", "a1", "a2"), ("b", "b1", "b2"), ("inner", "inner1", "inner2")]
    assert answers(differ.contender) == expected


def test_a_node_that_starts_from_a_checkpoint_is_not_told_its_id(differ):
    def build(ns):
        def look(state, config):
            return {"items": [config["configurable"].get("checkpoint_id", "absent")]}

        return ns.StateGraph(Items).add_node("look", look).add_edge(ns.START, "look")

    def seen(ns):
        app = build(ns).compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        app.invoke({"items": []}, config)
        before = next(s for s in app.get_state_history(config) if s.next == ("look",))
        return app.invoke(None, before.config)

    assert seen(differ.contender) == seen(differ.reference) == {"items": [None]}


def test_a_node_that_hides_its_name_shows_its_output_to_astream_events(differ):
    def build(ns):
        made = ns.StateGraph(Items)
        made.add_node("a", lambda state: {"items": [1]}, metadata={"langgraph_node": "x"})
        return made.add_edge(ns.START, "a").compile()

    async def shown(ns):
        events = build(ns).astream_events({"items": []}, version="v2")
        return [(e["event"], e["data"]) async for e in events if e["name"] == "a"]

    expected = asyncio.run(shown(differ.reference))
    assert [event for event, _ in expected] == [
        "on_chain_start",
        "on_chain_stream",
        "on_chain_end",
    ]
    assert asyncio.run(shown(differ.contender)) == expected
