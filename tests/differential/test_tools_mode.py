"""Mode ``tools``: how each tool call begins, what it tells, and how it ends."""

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from typing_extensions import TypedDict

from tests.prebuilt.support import asks, prebuilt, react, same_stream
from tests.support.models import CallingModel

pytest.importorskip("langgraph.pregel._tools", reason="LangGraph has this mode since 1.2")


def tools_of(ns):
    ToolRuntime = prebuilt(ns).ToolRuntime

    def spell(text: str, runtime: ToolRuntime) -> str:
        """Spell."""
        for letter in text:
            runtime.emit_output_delta(letter)
        return text.upper()

    async def aspell(text: str, runtime: ToolRuntime) -> str:
        """Spell."""
        for letter in text:
            runtime.emit_output_delta({"letter": letter})
        return text.upper()

    def fails(text: str) -> str:
        """Fail."""
        raise ValueError(f"no {text}")

    @tool(response_format="content_and_artifact")
    def pair(text: str):
        """Return two."""
        return text, {"artifact": text}

    @tool
    def outer(text: str) -> str:
        """Call another tool."""
        return pair.invoke({"text": text})

    @tool
    def asks_back(text: str) -> str:
        """Ask."""
        return ns.module("types").interrupt(text)

    @tool
    def silent(text: str) -> str:
        """Say nothing of it."""
        return text

    hidden = silent.model_copy(update={"tags": ["nostream"]})
    return [spell, aspell, fails, pair, outer, asks_back, hidden]


def graph(ns, **options):
    node = prebuilt(ns).ToolNode(tools_of(ns), **options)
    return ns.StateGraph(ns.MessagesState).add_node("tools", node).add_edge(ns.START, "tools")


def start(*names):
    return {"messages": [asks(*[(name, {"text": f"t{i}"}) for i, name in enumerate(names)])]}


def same(differ, build, input, reference_face=None, **options):
    options.setdefault("stream_mode", "tools")
    return same_stream(differ, build, input, reference_face=reference_face, **options)


@pytest.mark.parametrize("mode", ["tools", ["tools", "updates"], ["tools", "messages"]], ids=str)
@pytest.mark.parametrize("name", ["spell", "fails", "pair", "outer", "silent", "unknown"])
def test_a_call(differ, name, mode):
    same(differ, lambda ns: graph(ns, handle_tool_errors=True), start(name), stream_mode=mode)


def test_an_async_tool(differ):
    build = lambda ns: graph(ns)  # noqa: E731
    same(differ, build, start("aspell"), reference_face="async")


def test_the_events_exactly(engine):
    built = engine.compile(graph(engine))
    events = list(built.stream(start("spell"), stream_mode="tools"))
    output = events[-1].pop("output")
    assert events == [
        {
            "event": "tool-started",
            "tool_call_id": "0",
            "tool_name": "spell",
            "input": {"text": "t0"},
        },
        {"event": "tool-output-delta", "tool_call_id": "0", "delta": "t"},
        {"event": "tool-output-delta", "tool_call_id": "0", "delta": "0"},
        {"event": "tool-finished", "tool_call_id": "0"},
    ]
    assert (output.content, output.tool_call_id, output.name) == ("T0", "0", "spell")


def test_a_failure_that_fails_the_node(differ):
    same(differ, lambda ns: graph(ns, handle_tool_errors=False), start("fails"))


def test_a_call_that_is_interrupted_has_no_end(engine):
    built = engine.compile(graph(engine))
    events = list(built.stream(start("asks_back"), stream_mode="tools"))
    assert [event["event"] for event in events] == ["tool-started"]


def test_several_calls_at_once(engine):
    built = engine.compile(graph(engine))
    events = list(built.stream(start("spell", "pair", "spell"), stream_mode="tools"))
    by_call = {}
    for event in events:
        by_call.setdefault(event["tool_call_id"], []).append(event["event"])
    spelled = ["tool-started", "tool-output-delta", "tool-output-delta", "tool-finished"]
    assert by_call == {"0": spelled, "1": ["tool-started", "tool-finished"], "2": spelled}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_agent(differ, version):
    def build(ns):
        model = CallingModel(calls=[("spell", {"text": "ab"})])
        return react(ns, model, tools_of(ns)[:1], version=version)

    hi = {"messages": [HumanMessage("hi", id="in")]}
    same(differ, build, hi, stream_mode=["tools", "updates"])


@pytest.mark.parametrize("subgraphs", [True, False], ids=["subgraphs", "root alone"])
@pytest.mark.parametrize("how", ["a node", "invoked"])
def test_tools_of_a_subgraph(differ, subgraphs, how):
    def build(ns):
        child = graph(ns).compile()
        parent = ns.StateGraph(ns.MessagesState)
        parent.add_node("child", child if how == "a node" else lambda state: child.invoke(state))
        return parent.add_edge(ns.START, "child")

    same(differ, build, start("spell"), subgraphs=subgraphs)


def test_a_tool_that_a_node_calls_by_itself(differ):
    class Words(TypedDict):
        text: str

    def build(ns):
        pair = tools_of(ns)[3]

        def node(state):
            return {"text": pair.invoke({**asks(("pair", state)).tool_calls[0]}).content}

        return ns.StateGraph(Words).add_node("node", node).add_edge(ns.START, "node")

    same(differ, build, {"text": "a"}, stream_mode=["tools", "values"])


def test_in_version_2(differ):
    same(differ, lambda ns: graph(ns), start("pair"), version="v2")


def test_without_the_mode_nothing_is_told(engine):
    built = engine.compile(graph(engine))
    (chunk,) = built.stream(start("spell"), stream_mode="updates")
    assert [m.content for m in chunk["tools"]["messages"]] == ["T0"]
