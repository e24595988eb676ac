"""What tools stream while they run: custom data, tokens, graphs of their own."""

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from typing_extensions import TypedDict

from tests.prebuilt.support import asks, prebuilt, react, same_stream
from tests.support.models import CallingModel, EchoModel


class Words(TypedDict):
    text: str


def tools_graph(ns, *tools):
    builder = ns.StateGraph(ns.MessagesState).add_node(prebuilt(ns).ToolNode(list(tools)))
    return builder.add_edge(ns.START, "tools")


def start(*names):
    return {"messages": [asks(*[(name, {"text": f"t{i}"}) for i, name in enumerate(names)])]}


def writing(ns, is_async=False):
    def write(text: str) -> str:
        """Write."""
        writer = ns.get_stream_writer()
        for i in range(5):
            writer({"node": text, "i": i})
        return text

    async def awrite(text: str) -> str:
        """Write."""
        return write(text)

    awrite.__name__ = "write"
    return awrite if is_async else write


@pytest.mark.parametrize("is_async", [False, True], ids=["sync tool", "async tool"])
def test_custom_data(differ, is_async):
    same_stream(
        differ,
        lambda ns: tools_graph(ns, writing(ns, is_async)),
        start("write"),
        stream_mode=["custom", "updates"],
        reference_face="async" if is_async else None,
    )


def test_custom_data_of_several_calls_is_in_order_and_before_the_update(engine):
    built = engine.compile(tools_graph(engine, writing(engine)))
    chunks = list(built.stream(start("write", "write"), stream_mode=["custom", "updates"]))
    assert [mode for mode, _ in chunks] == ["custom"] * 10 + ["updates"]
    for text in ("t0", "t1"):
        own = [payload["i"] for _, payload in chunks[:-1] if payload["node"] == text]
        assert own == [0, 1, 2, 3, 4]


def talking(is_async=False, takes_config=False):
    model = EchoModel(tags=["inner"])

    def talk(text: str) -> str:
        """Talk."""
        return model.invoke(f"about {text}").content

    async def atalk(text: str) -> str:
        """Talk."""
        return (await model.ainvoke(f"about {text}")).content

    atalk.__name__ = "talk"
    return atalk if is_async else talk


@pytest.mark.parametrize("is_async", [False, True], ids=["sync tool", "async tool"])
@pytest.mark.parametrize("mode", ["messages", ["messages", "updates"]], ids=str)
def test_tokens_of_a_model_carry_the_metadata_of_the_tools_node(differ, is_async, mode):
    outcome = same_stream(
        differ,
        lambda ns: tools_graph(ns, talking(is_async)),
        start("talk"),
        stream_mode=mode,
        reference_face="async" if is_async else None,
    )
    if mode == "messages":
        *tokens, (answer, _) = outcome.chunks
        assert [m.content for m, _ in tokens if m.content] == ["echo", " ", "about", " ", "t0"]
        assert {metadata["langgraph_node"] for _, metadata in tokens} == {"tools"}
        assert {tuple(metadata["tags"]) for _, metadata in tokens} == {("inner",)}
        assert answer.content == "echo about t0"


def child_graph(ns, model=None):
    def first(state):
        ns.get_stream_writer()({"node": "first", "text": state["text"]})
        said = model.invoke(state["text"]).content if model else state["text"]
        return {"text": said + "!"}

    builder = ns.StateGraph(Words).add_node("first", first)
    builder.add_node("second", lambda state: {"text": state["text"] + "?"})
    return builder.add_edge(ns.START, "first").add_edge("first", "second").compile()


def running(ns, is_async=False, model=None):
    child = child_graph(ns, model)

    def run(text: str) -> str:
        """Run a graph."""
        return child.invoke({"text": text})["text"]

    async def arun(text: str) -> str:
        """Run a graph."""
        return (await child.ainvoke({"text": text}))["text"]

    arun.__name__ = "run"
    return arun if is_async else run


@pytest.mark.parametrize("is_async", [False, True], ids=["sync tool", "async tool"])
@pytest.mark.parametrize("subgraphs", [True, False], ids=["subgraphs", "root alone"])
@pytest.mark.parametrize("with_model", [True, False], ids=["model", "no model"])
def test_a_graph_in_a_tool_streams_under_its_namespace(differ, is_async, subgraphs, with_model):
    same_stream(
        differ,
        lambda ns: tools_graph(ns, running(ns, is_async, EchoModel() if with_model else None)),
        start("run"),
        stream_mode=["updates", "custom", "messages"] if with_model else ["updates", "custom"],
        subgraphs=subgraphs,
        reference_face="async" if is_async else None,
    )


@pytest.mark.parametrize("how", ["one node", "a send each"])
def test_graphs_in_two_calls_are_kept_apart_by_namespace(engine, how):
    def build(ns):
        if how == "one node":
            return tools_graph(ns, running(ns))
        builder = ns.StateGraph(ns.MessagesState)
        builder.add_node(prebuilt(ns).ToolNode([running(ns)]))

        def each(state):
            return [ns.Send("tools", [call]) for call in state["messages"][-1].tool_calls]

        return builder.add_conditional_edges(ns.START, each, ["tools"])

    built = engine.compile(build(engine))
    chunks = list(built.stream(start("run", "run"), stream_mode="updates", subgraphs=True))
    texts = {}
    for ns, payload in chunks:
        if ns:
            assert ns[0].startswith("tools:")
            texts.setdefault(ns, []).extend(u["text"] for u in payload.values())
    assert sorted(texts.values()) == [["t0!", "t0!?"], ["t1!", "t1!?"]]


def agent_in_a_tool(ns):
    inner = prebuilt(ns).create_react_agent(
        CallingModel(calls=[("shout", {"text": "hey"})], prefix="inner: "), [shout]
    )

    @tool
    def ask(text: str) -> str:
        """Ask another agent."""
        return inner.invoke({"messages": [("user", text)]})["messages"][-1].content

    return react(
        ns, CallingModel(calls=[("ask", {"text": "what"})], prefix="outer: "), [ask], version="v1"
    )


@tool
def shout(text: str) -> str:
    """Shout."""
    return text.upper()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("subgraphs", [True, False], ids=["subgraphs", "root alone"])
def test_an_agent_in_a_tool(differ, subgraphs):
    same_stream(
        differ,
        agent_in_a_tool,
        {"messages": [HumanMessage("hi", id="in")]},
        stream_mode=["updates", "messages"],
        subgraphs=subgraphs,
    )
