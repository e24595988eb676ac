"""``GraphCallbackHandler``: it hears of graphs that are interrupted, and of those that go on."""

import asyncio

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

pytest.importorskip("langgraph.callbacks", reason="LangGraph has these handlers since 1.1")


class State(TypedDict, total=False):
    text: str


def recorder(ns):
    class Recorder(ns.module("callbacks").GraphCallbackHandler):
        def __init__(self):
            self.heard = []
            self.runs = {}

        def on_chain_start(self, serialized, inputs, *, run_id, name=None, **kwargs):
            self.runs[run_id] = name

        def note(self, what, event, **more):
            ns = tuple(part.partition(":")[0] for part in event.checkpoint_ns)
            assert event.checkpoint_id
            self.heard.append((what, self.runs[event.run_id], event.status, ns, *more.values()))

        def on_interrupt(self, event):
            self.note("interrupt", event, values=[i.value for i in event.interrupts])

        def on_resume(self, event):
            self.note("resume", event)

    return Recorder()


def asks(ns, **options):
    def ask(state):
        return {"text": ns.module("types").interrupt("sure?")}

    child = ns.StateGraph(State).add_node("ask", ask).add_edge(ns.START, "ask")
    builder = ns.StateGraph(State).add_node("sub", child.compile(name="child"))
    builder.add_edge(ns.START, "sub")
    return ns.compile(builder, checkpointer=InMemorySaver(), **options)


def config(handler):
    return {"callbacks": [handler], "configurable": {"thread_id": "1"}}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_interrupt_is_heard_of_at_the_root_and_the_resumption_of_each_graph(engine, is_async):
    graph, handler = asks(engine), recorder(engine)
    resume = engine.module("types").Command(resume="yes")

    async def both():
        await graph.ainvoke({"text": ""}, config(handler))
        await graph.ainvoke(resume, config(handler))

    if is_async:
        asyncio.run(both())
    else:
        graph.invoke({"text": ""}, config(handler))
        graph.invoke(resume, config(handler))
    assert handler.heard == [
        ("interrupt", "LangGraph", "pending", (), ["sure?"]),
        ("resume", "LangGraph", "pending", ()),
        ("resume", "child", "pending", ("sub",)),
    ]


def test_a_breakpoint_is_an_interrupt_without_values(engine):
    graph, handler = asks(engine, interrupt_before=["sub"]), recorder(engine)
    graph.invoke({"text": ""}, config(handler))
    assert handler.heard == [("interrupt", "LangGraph", "interrupt_before", (), [])]
