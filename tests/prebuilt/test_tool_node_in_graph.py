"""``ToolNode`` as a node: LangGraph's streams, with each tool call a task of its own."""

import operator
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.prebuilt import tools as t
from tests.prebuilt.support import asks, prebuilt, same_stream
from tests.support.engines import DISTRIBUTED, REFERENCE, Engine

MODES = ["updates", "values", "custom", "messages"]


def foo_state(ns):
    class State(TypedDict):
        messages: Annotated[list[AnyMessage], ns.add_messages]
        foo: str
        gone: Annotated[list[str], operator.add]

    return State


def graph(ns, tools, state=None, **options):
    builder = ns.StateGraph(state or foo_state(ns))
    builder.add_node(prebuilt(ns).ToolNode(tools, **options))
    builder.add_node("other", lambda state: {"gone": ["other"]})
    return builder.add_edge(ns.START, "tools")


def start(*calls, **more):
    return {"messages": [asks(*calls)], **more}


THREE = [("add", {"a": 1, "b": 2}), ("aadd", {"a": 3, "b": 4}), ("chart", {"n": 2})]


@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_several_calls_are_one_update_in_their_order(differ, mode):
    tools = [t.add, t.aadd, t.chart]
    same_stream(
        differ,
        lambda ns: graph(ns, tools),
        start(*THREE),
        reference_face="async",
        stream_mode=mode,
    )


def test_the_update_exactly(engine):
    built = engine.compile(graph(engine, [t.add, t.plain]))
    calls = [("plain", {}), ("add", {"a": 1, "b": 2}), ("nope", {})]
    (chunk,) = built.stream(start(*calls))
    assert [(m.name, m.content, m.tool_call_id, m.status) for m in chunk["tools"]["messages"]] == [
        ("plain", "plain 3", "0", "success"),
        ("add", "3", "1", "success"),
        ("nope", "Error: nope is not a valid tool, try one of [add, plain].", "2", "error"),
    ]


def test_the_state_is_injected(differ):
    calls = [(name, {"x": 1}) for name in ("whole", "key", "messages", "optional")]
    same_stream(differ, lambda ns: graph(ns, t.with_state(ns)), start(*calls, foo="bar"))


def test_a_pydantic_state_is_injected(differ):
    def build(ns):
        class State(BaseModel):
            messages: Annotated[list[Any], ns.add_messages]
            foo: str = "default"

        builder = ns.StateGraph(State).add_node(prebuilt(ns).ToolNode(t.with_state(ns)))
        return builder.add_edge(ns.START, "tools")

    calls = [(name, {"x": 1}) for name in ("whole", "key", "messages")]
    same_stream(differ, build, start(*calls))


def test_a_list_state_is_injected(differ):
    def build(ns):
        builder = ns.StateGraph(Annotated[list, ns.add_messages])
        builder.add_node(prebuilt(ns).ToolNode(t.with_state(ns)))
        return builder.add_edge(ns.START, "tools")

    same_stream(differ, build, [asks(("whole", {"x": 1}), ("messages", {"x": 1}))])


def test_the_run_is_injected(differ):
    calls = [("around", {"x": 1}), ("writes", {"x": 2})]
    same_stream(
        differ,
        lambda ns: graph(ns, t.with_runtime(ns)[:2]),
        start(*calls),
        faces=("async",),
        stream_mode=["custom", "updates"],
    )


def test_the_context_is_injected(engine):
    class Context(TypedDict):
        user: str

    builder = engine.StateGraph(foo_state(engine), Context)
    builder.add_node(prebuilt(engine).ToolNode(t.with_runtime(engine)[:1]))
    built = engine.compile(builder.add_edge(engine.START, "tools"))
    (chunk,) = built.stream(start(("around", {"x": 1})), context={"user": "ada"})
    (message,) = chunk["tools"]["messages"]
    assert message.content == "1 0 ['gone', 'messages'] {'user': 'ada'} ['around']"


def test_the_store_is_injected(engine):
    builder = graph(engine, t.with_runtime(engine)[2:])
    built = engine.compile(builder, store={"y": "from the store"})
    (chunk,) = built.stream(start(("stored", {"x": 1})))
    assert [m.content for m in chunk["tools"]["messages"]] == ["1 from the store"]


def test_the_config_of_a_tool_s_runtime(differ):
    def build(ns):
        def looks(x: int, runtime: prebuilt(ns).ToolRuntime) -> str:
            """Tell the config."""
            found = runtime.config
            return f"{sorted(found)} {found['recursion_limit']} {found['tags']}"

        return graph(ns, [tool(looks)])

    config = {"tags": ["run"], "configurable": {"thread_id": "1"}}
    outcome = same_stream(differ, build, start(("looks", {"x": 1})), config=config)
    assert "recursion_limit" in outcome.chunks[0]["tools"]["messages"][0].content


@pytest.mark.parametrize("name", ["update", "silent", "several", "too_many", "goes", "pair"])
@pytest.mark.parametrize("mode", ["updates", "values"])
def test_commands(differ, name, mode):
    tools = lambda ns: [t.add, *t.with_commands(ns)]  # noqa: E731
    if name == "silent" and differ.contender.name == DISTRIBUTED:
        pytest.skip("its error suggests a list there: test_a_command_without_its_message")
    calls = [("add", {"a": 1, "b": 1}), (name, {"x": 5})]
    same_stream(differ, lambda ns: graph(ns, tools(ns)), start(*calls), stream_mode=mode)


def test_a_command_without_its_message():
    remedies = {}
    for name in (REFERENCE, DISTRIBUTED):
        engine = Engine(name)
        tools = [t.add, *t.with_commands(engine)]
        built = engine.compile(graph(engine, tools, handle_tool_errors=True))
        calls = [("add", {"a": 1, "b": 1}), ("silent", {"x": 5})]
        chunks = list(built.stream(start(*calls)))
        message = chunks[0]["tools"]["messages"][1]
        said, _, remedy = message.content.partition("`Command(update=")
        assert said.startswith("Error: ValueError('Expected to have a matching ToolMessage in ")
        remedies[name] = remedy.partition(", ...)`")[0]
    given = 'ToolMessage("Success", tool_call_id=tool_call_id), ...]'
    assert remedies == {REFERENCE: '{"messages": [' + given + "}", DISTRIBUTED: "[" + given}


def test_commands_to_the_parent_graph(differ):
    def build(ns):
        child = graph(ns, [t.add, *t.with_commands(ns)]).compile()
        builder = ns.StateGraph(foo_state(ns)).add_node("child", child)
        builder.add_node("other", lambda state: {"gone": [f"other {state['x']}"]})
        return builder.add_edge(ns.START, "child")

    calls = [("hands_over", {"x": 1}), ("hands_over", {"x": 2})]
    same_stream(differ, build, start(*calls), parallel=True)


def test_an_error_fails_the_node(differ):
    calls = [("fails", {"reason": "gone"})]
    same_stream(differ, lambda ns: graph(ns, [t.add, t.fails]), start(*calls))


def test_an_error_becomes_an_answer_and_the_others_are_kept(differ):
    calls = [("add", {"a": 1, "b": 1}), ("fails", {"reason": "gone"}), ("add", {"a": "?"})]
    build = lambda ns: graph(ns, [t.add, t.fails], handle_tool_errors=True)  # noqa: E731
    same_stream(differ, build, start(*calls), stream_mode=["updates", "values"])


@pytest.mark.parametrize("calls", [[], [("nope", {})], [("nope", {}), ("neither", {})]], ids=len)
def test_no_call_of_a_known_tool(differ, calls):
    input = start(*calls) if calls else {"messages": [AIMessage("done", id="ai")]}
    same_stream(differ, lambda ns: graph(ns, [t.add]), input)


def test_no_message_is_an_error(engine):
    with pytest.raises(ValueError, match="No message found in input"):
        engine.compile(graph(engine, [t.add])).invoke({"messages": []})


SENDS = {
    "calls": lambda ns, state: [
        ns.Send("tools", [call]) for call in state["messages"][-1].tool_calls
    ],
    "with context": lambda ns, state: [
        ns.Send(
            "tools",
            {"__type": "tool_call_with_context", "tool_call": call, "state": {"foo": "sent"}},
        )
        for call in state["messages"][-1].tool_calls
    ],
    "a state": lambda ns, state: [
        ns.Send("tools", {"messages": state["messages"], "foo": "of the send"})
    ],
}


@pytest.mark.parametrize("how", SENDS)
def test_sends(differ, how):
    def build(ns):
        def path(state):
            return SENDS[how](ns, state)

        builder = ns.StateGraph(foo_state(ns))
        tools = [t.add, *t.with_state(ns)[1:2]]
        builder.add_node(prebuilt(ns).ToolNode(tools))
        return builder.add_conditional_edges(ns.START, path, ["tools"])

    calls = [("add", {"a": 1, "b": 2}), ("key", {"x": 1})]
    same_stream(differ, build, start(*calls, foo="bar"), parallel=True)


def wrap(request, execute):
    answer = execute(request)
    return answer.model_copy(update={"content": f"{answer.content} of {request.state['foo']}"})


async def awrap(request, execute):
    answer = await execute(request)
    return answer.model_copy(update={"content": f"{answer.content} of {request.state['foo']}"})


def test_a_wrapper_sees_the_state(differ):
    build = lambda ns: graph(ns, [t.add], wrap_tool_call=wrap)  # noqa: E731
    same_stream(differ, build, start(("add", {"a": 1, "b": 2}), ("add", {"a": 0, "b": 0}), foo="x"))


def test_an_async_wrapper_sees_the_state(differ):
    build = lambda ns: graph(ns, [t.add, t.aadd], awrap_tool_call=awrap)  # noqa: E731
    calls = [("add", {"a": 1, "b": 2}), ("aadd", {"a": 0, "b": 0})]
    same_stream(differ, build, start(*calls, foo="x"), reference_face="async")


def test_a_conditional_edge_behind_the_tools(differ):
    def build(ns):
        builder = graph(ns, [t.add])

        def path(state):
            return "other" if state["messages"][-1].content == "3" else ns.END

        return builder.add_conditional_edges("tools", path, ["other", ns.END])

    same_stream(differ, build, start(("add", {"a": 1, "b": 2})))


def reaching_out(ns):
    """A graph whose tool runs a graph that addresses the one around it."""

    class Inner(TypedDict):
        foo: str

    def up(state):
        answer = ToolMessage("from inside", tool_call_id="0")
        update = {"messages": [answer], "foo": state["foo"] + "!"}
        return ns.Command(graph=ns.Command.PARENT, update=update, goto="other")

    inner = ns.StateGraph(Inner).add_node("up", up).add_edge(ns.START, "up").compile()

    def goes_in(text: str) -> str:
        """Go into a graph."""
        return str(inner.invoke({"foo": text}))

    return graph(ns, [goes_in, t.add])


GOES_IN = ("goes_in", {"text": "foo"})


def test_a_graph_in_a_tool_that_addresses_its_parent(differ):
    same_stream(differ, reaching_out, start(GOES_IN), stream_mode=["updates", "values"])


def test_a_graph_in_a_tool_that_addresses_its_parent_loses_no_other_answer(ours):
    # LangGraph does
    result = ours.compile(reaching_out(ours)).invoke(start(GOES_IN, ("add", {"a": 1, "b": 2})))
    assert [m.content for m in result["messages"][1:]] == ["from inside", "3"]
    assert (result["foo"], result["gone"]) == ("foo!", ["other"])


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_resume_value_that_does_not_fit_is_no_error_of_the_tool(engine, wrapped):
    from langgraph.checkpoint.memory import InMemorySaver
    from pydantic import BaseModel, ValidationError

    class Approval(BaseModel):
        approved: bool

    @tool
    def ask() -> str:
        """Ask."""
        return str(engine.interrupt("ok?", response_schema=Approval).approved)

    node = prebuilt(engine).ToolNode(
        [ask],
        handle_tool_errors=True,
        wrap_tool_call=(lambda request, execute: execute(request)) if wrapped else None,
    )
    builder = engine.StateGraph(engine.MessagesState).add_node("tools", node)
    graph = engine.compile(builder.add_edge(engine.START, "tools"), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    calls = [{"name": "ask", "args": {}, "id": "1"}]
    graph.invoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
    with pytest.raises(ValidationError, match="approved"):
        graph.invoke(engine.Command(resume={"approved": "perhaps"}), config)
    assert [asked.value for asked in graph.get_state(config).interrupts] == ["ok?"]
    end = graph.invoke(engine.Command(resume={"approved": True}), config)
    assert end["messages"][-1].content == "True"
