"""``config["callbacks"]``: the caller's handlers hear of graph, nodes and models, in order."""

import asyncio
import threading

import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.callbacks.manager import CallbackManager
from langchain_core.messages import HumanMessage
from langchain_core.runnables import (
    Runnable,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.tools import tool

from tests.support.graphs import Items, adds
from tests.support.models import EchoModel

HI = {"messages": [HumanMessage("hi there", id="in")]}


class Recorder(BaseCallbackHandler):
    """Keeps what it hears: in a list, behind a lock, which can be sent nowhere."""

    def __init__(self):
        self.heard = []
        self.lock = threading.Lock()
        self.names = {}

    def note(self, what, *more):
        with self.lock:
            self.heard.append((what, *more))

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.names[run_id] = kwargs["name"]
        self.note("start", kwargs["name"], self.names.get(parent_run_id))

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.note("end", self.names[run_id])

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.note("error", self.names[run_id], type(error), str(error))

    def on_chat_model_start(self, serialized, messages, *, parent_run_id, tags, metadata, **kwargs):
        self.note("model", self.names[parent_run_id], tags, metadata["langgraph_node"])

    def on_llm_new_token(self, token, **kwargs):
        self.note("token", token)

    def on_llm_end(self, response, **kwargs):
        self.note("model end", response.generations[0][0].message.content)


class AsyncRecorder(AsyncCallbackHandler):
    def __init__(self):
        self.tokens = []

    async def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(token)


def talks(ns, is_async=False):
    def call(state):
        return {"messages": [EchoModel().invoke(state["messages"])]}

    async def acall(state):
        return {"messages": [await EchoModel().ainvoke(state["messages"])]}

    builder = ns.StateGraph(ns.MessagesState).add_node("call", acall if is_async else call)
    return ns.compile(builder.add_edge(ns.START, "call"))


@pytest.mark.parametrize("mode", ["values", "messages"])
def test_a_handler_hears_graph_node_and_model_in_order(engine, mode):
    recorder = Recorder()
    list(talks(engine).stream(HI, {"callbacks": [recorder], "tags": ["t"]}, stream_mode=mode))
    tokens = ["echo", " ", "hi", " ", "there", ""] if mode == "messages" else []
    assert recorder.heard == [
        ("start", "LangGraph", None),
        ("start", "call", "LangGraph"),
        ("model", "call", ["seq:step:1", "t"], "call"),
        *(("token", token) for token in tokens),
        ("model end", "echo hi there"),
        ("end", "call"),
        ("end", "LangGraph"),
    ]


def test_invoke_and_a_run_name(engine):
    recorder = Recorder()
    talks(engine).invoke(HI, {"callbacks": CallbackManager([recorder]), "run_name": "mine"})
    assert recorder.heard[0] == ("start", "mine", None)
    assert recorder.heard[-1] == ("end", "mine")


def test_a_failing_node_is_heard_of_with_its_own_exception(engine):
    def boom(state):
        raise LookupError("nothing there")

    builder = engine.StateGraph(engine.MessagesState).add_node("boom", boom)
    graph = engine.compile(builder.add_edge(engine.START, "boom"))
    recorder = Recorder()
    with pytest.raises(LookupError):
        graph.invoke(HI, {"callbacks": [recorder]})
    assert recorder.heard[2:] == [
        ("error", "boom", LookupError, "nothing there"),
        ("error", "LangGraph", LookupError, "nothing there"),
    ]


async def drain(stream):
    return [chunk async for chunk in stream]


@pytest.mark.parametrize("is_async", [False, True])
def test_async_handlers_are_awaited_on_the_callers_loop(engine, is_async):
    recorder = AsyncRecorder()
    graph = talks(engine, is_async)
    stream = graph.astream(HI, {"callbacks": [recorder]}, stream_mode="messages")
    asyncio.run(drain(stream))
    assert recorder.tokens == ["echo", " ", "hi", " ", "there", ""]


def test_a_graph_inside_a_node_is_heard_of_too(ours):
    child = talks(ours)

    def outer(state):
        return {"messages": child.invoke(state)["messages"][-1:]}

    builder = ours.StateGraph(ours.MessagesState).add_node("outer", outer)
    recorder = Recorder()
    ours.compile(builder.add_edge(ours.START, "outer")).invoke(HI, {"callbacks": [recorder]})
    assert [entry for entry in recorder.heard if entry[0] == "model end"] == [
        ("model end", "echo hi there")
    ]


class Tags(BaseCallbackHandler):
    def __init__(self):
        self.heard = []

    def on_chain_start(self, serialized, inputs, *, name, tags=None, **kwargs):
        self.heard.append((name, tags))

    def on_chain_end(self, outputs, *, tags=None, **kwargs):
        self.heard.append(("end", tags))

    def on_chain_error(self, error, *, tags=None, **kwargs):
        self.heard.append(("error", tags))


@pytest.mark.parametrize("config", [{"tags": ["a", "b"]}, {}], ids=str)
def test_starts_and_ends_have_the_same_tags_in_the_same_order(differ, config):
    def heard(ns):
        child = ns.StateGraph(Items).add_node("inner", adds("inner")).add_edge(ns.START, "inner")

        def fails(state):
            raise KeyError("why")

        failing = ns.StateGraph(Items).add_node("fails", fails).add_edge(ns.START, "fails")
        builder = ns.StateGraph(Items).add_node("sub", child.compile(name="child"))
        builder.add_node("bad", failing.compile()).add_edge(ns.START, "sub").add_edge("sub", "bad")
        handler = Tags()
        with pytest.raises(KeyError):
            ns.compile(builder).invoke({"items": []}, {**config, "callbacks": [handler]})
        return handler.heard

    expected = heard(differ.reference)
    assert ("sub", ["graph:step:1", *config.get("tags", [])]) in expected
    assert heard(differ.contender) == expected


def test_a_graph_that_a_node_awaits_shows_what_its_nodes_stream_and_a_called_one_does_not(differ):
    def build(ns):
        made = ns.StateGraph(Items).add_node("inner", adds("inner")).add_edge(ns.START, "inner")
        child = made.compile()

        def call(state):
            return child.invoke({"items": []})

        async def wait(state):
            return await child.ainvoke({"items": []})

        builder = ns.StateGraph(Items).add_node("call", call).add_node("wait", wait)
        return ns.compile(builder.add_edge(ns.START, "call").add_edge("call", "wait"))

    async def shown(ns):
        stream = build(ns).astream_events({"items": []}, version="v2")
        return [(e["event"], e["name"]) async for e in stream if e["name"] in ("call", "inner")]

    expected = asyncio.run(shown(differ.reference))
    assert expected.count(("on_chain_stream", "inner")) == 1
    assert expected.count(("on_chain_end", "inner")) == 2
    assert asyncio.run(shown(differ.contender)) == expected


def steps(ns):
    """A node that is a sequence, whose last step has a config of its own, and its edge too."""

    class Talks(Runnable):
        def invoke(self, input, config=None, **kwargs):
            return input

        def stream(self, input, config=None, **kwargs):
            yield from (input, input)

        async def astream(self, input, config=None, **kwargs):
            for _ in range(2):
                yield input

    last = RunnableLambda(lambda text: {"items": [text]}).with_config(run_name="last", tags=["own"])
    sequence = RunnableLambda(lambda state: str(len(state["items"]))) | Talks() | last
    builder = ns.StateGraph(Items).add_node("steps", sequence).add_node("end", adds("end"))
    path = RunnableLambda(lambda state: "end") | RunnablePassthrough()
    builder.add_edge(ns.START, "steps").add_conditional_edges("steps", path, ["end"])
    return ns.compile(builder)


def test_the_steps_of_a_sequence_are_steps_of_its_node(differ):
    def heard(ns):
        handler = Tags()
        end = steps(ns).invoke({"items": ["in"]}, {"callbacks": [handler]})
        return end, handler.heard

    expected = heard(differ.reference)
    assert ("last", ["seq:step:3", "own"]) in expected[1]
    assert "RunnableSequence" in [name for name, _ in expected[1]]  # the conditional edge
    assert heard(differ.contender) == expected


def test_the_steps_of_a_sequence_show_what_they_stream(differ):
    async def shown(ns):
        found = steps(ns).astream_events({"items": ["in"]}, version="v2")
        return [(e["event"], e["name"], sorted(e["tags"]), e["data"]) async for e in found]

    expected = asyncio.run(shown(differ.reference))
    assert [e for e, name, *_ in expected if name == "last"] == [
        "on_chain_start",
        "on_chain_stream",
        "on_chain_end",
    ]
    assert asyncio.run(shown(differ.contender)) == expected


def test_an_async_generator_is_a_node(differ):
    async def shown(ns):
        async def doubled(states):
            async for state in states:
                for item in state["items"]:
                    yield {"items": [item, item]}

        node = RunnableGenerator(doubled)
        graph = ns.compile(ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n"))
        return await graph.ainvoke({"items": ["a"]})

    expected = asyncio.run(shown(differ.reference))
    assert expected == {"items": ["a", "a", "a"]}
    assert asyncio.run(shown(differ.contender)) == expected


@tool
def announces(text: str) -> str:
    """Say something to whoever listens."""
    dispatch_custom_event("in a tool", text)
    return text


def test_events_of_users_need_no_listener(engine):
    def plain(state):
        dispatch_custom_event("plain", 1)
        return {"items": [announces.invoke({"text": "told"})]}

    async def waiting(state, config):
        await adispatch_custom_event("waiting", 2, config=config)
        return {"items": [config["callbacks"].tags]}

    def path(state):
        dispatch_custom_event("path", 3)
        return "waiting"

    builder = engine.StateGraph(Items).add_node("plain", plain).add_node("waiting", waiting)
    builder.add_edge(engine.START, "plain").add_conditional_edges("plain", path, ["waiting"])
    end = asyncio.run(engine.compile(builder).ainvoke({"items": []}))
    assert end == {"items": ["told", ["seq:step:1"]]}


def test_a_handler_that_a_node_adds_hears_of_the_node(differ):
    def heard(ns):
        def node(state):
            found = []

            class Hears(BaseCallbackHandler):
                def on_chain_start(self, serialized, inputs, **told):
                    metadata = told["metadata"]
                    step, name = metadata["langgraph_step"], metadata["langgraph_node"]
                    found.append((told["tags"], step, name))

            RunnableLambda(str).invoke("x", {"callbacks": [Hears()]})
            return {"items": found}

        builder = ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n")
        return ns.compile(builder).invoke({"items": []}, {"tags": ["mine"]})

    expected = heard(differ.reference)
    assert heard(differ.contender) == expected
    assert expected["items"] == [(["mine"], 1, "n")]


def test_graphs_in_nodes_and_their_nodes_have_the_metadata_of_their_place(differ):
    def heard(ns):
        found = []

        class Hears(BaseCallbackHandler):
            def on_chain_start(self, serialized, inputs, *, name, metadata, **told):
                known = {
                    # a namespace ends with the random id of a task
                    key: value.partition(":")[0] if key.endswith("checkpoint_ns") else value
                    for key, value in metadata.items()
                }
                found.append((name, known))

        inner = ns.StateGraph(Items).add_node("leaf", adds("leaf")).add_edge(ns.START, "leaf")
        middle = ns.StateGraph(Items).add_node("inner", inner.compile())
        middle = middle.add_edge(ns.START, "inner").compile()
        builder = ns.StateGraph(Items).add_node("middle", middle).add_edge(ns.START, "middle")
        ns.compile(builder).invoke({"items": []}, {"callbacks": [Hears()]})
        return found

    expected = heard(differ.reference)
    assert [known.get("checkpoint_ns") for _, known in expected] == [None, None, *["middle"] * 4]
    assert heard(differ.contender) == expected
