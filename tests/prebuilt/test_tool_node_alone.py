"""``ToolNode`` outside of a graph answers as LangGraph's does."""

import asyncio
import threading
import time

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from pydantic import BaseModel

from distgraph.prebuilt import ToolNode, tools_condition
from tests.prebuilt import tools as t
from tests.prebuilt.support import LANGGRAPH, OURS, asks, called, prebuilt
from tests.support.differential import assert_same

FACES = ["sync", "async"]
FIVE = [asks(("add", {"a": 2, "b": 3}))]


def same(face, make_tools, input, config=None, **options):
    """Compare one call of both nodes. Returns ours."""
    results = []
    for ns in (OURS, LANGGRAPH):
        given = make_tools(ns) if callable(make_tools) else make_tools
        own = {key: v(ns) if key.endswith("tool_call") else v for key, v in options.items()}
        node = prebuilt(ns).ToolNode(given, **own)
        results.append(called(ns, node, input, face, config))
    ours, theirs = results
    if "__error__" in ours and "__error__" in theirs and ours != theirs:
        # our sentences go on, with what to do about it
        assert ours["message"].startswith(theirs["message"])
        ours = {**ours, "message": theirs["message"]}
    assert_same(f"results of the {face} face", ours, theirs)
    return ours


INPUTS = {
    "state": {"messages": [HumanMessage("2+3?"), *FIVE]},
    "messages": FIVE,
    "calls": [{"name": "add", "args": {"a": 2, "b": 3}, "id": "0", "type": "tool_call"}],
    "call with context": {
        "__type": "tool_call_with_context",
        "tool_call": {"name": "add", "args": {"a": 2, "b": 3}, "id": "0", "type": "tool_call"},
        "state": {"messages": []},
    },
    "an older message": {"messages": [*FIVE, HumanMessage("and?")]},
    "several": {"messages": [asks(*[("add", {"a": i, "b": i}) for i in range(5)])]},
    "none": {"messages": [AIMessage("hello")]},
    "unknown": {"messages": [asks(("nope", {}), ("add", {"a": 1, "b": 1}))]},
    "no messages": {"messages": []},
    "no model's message": {"messages": [HumanMessage("hello")]},
    "no key": {"other": 1},
    "bad arguments": {"messages": [asks(("add", {"a": "x"}))]},
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("what", INPUTS)
def test_inputs(face, what):
    same(face, [t.add], INPUTS[what])


def test_a_call_is_answered():
    answer = ToolNode([t.add]).invoke({"messages": FIVE})
    expected = ToolMessage("5", name="add", tool_call_id="0")
    assert answer == {"messages": [expected]}


@pytest.mark.parametrize("face", FACES)
def test_a_state_that_is_an_object(face):
    class State(BaseModel):
        messages: list

    same(face, [t.add], State(messages=FIVE))


@pytest.mark.parametrize("face", FACES)
def test_another_messages_key(face):
    same(face, [t.add], {"chat": FIVE}, messages_key="chat")


OUTPUTS = {
    "blocks": ("blocks", {"n": 2}),
    "json": ("table", {"n": 2}),
    "artifact": ("chart", {"n": 2}),
    "function": ("plain", {"x": 1}),
    "function with its default": ("plain", {}),
    "class": ("by_class", {"x": 4}),
    "schema": ("search", {"text": "cats", "limit": 2}),
    "schema broken": ("search", {"text": "c", "limit": 7}),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("what", OUTPUTS)
def test_outputs(face, what):
    tools = [t.blocks, t.table, t.chart, t.plain, t.ByClass(), t.search]
    same(face, tools, {"messages": [asks(OUTPUTS[what])]})


def on_value(e: ValueError) -> str:
    return f"value: {e}"


def on_lookup(e: LookupError | ValueError) -> str:
    return f"lookup: {e}"


def on_any(e):
    return f"any: {e}"


def on_text(e: str) -> str:
    return e


class Handler:
    def on(self, e: KeyError) -> str:
        return "never"


HANDLERS = {
    "default": {},
    "all": {"handle_tool_errors": True},
    "none": {"handle_tool_errors": False},
    "text": {"handle_tool_errors": "it broke"},
    "type": {"handle_tool_errors": LookupError},
    "another type": {"handle_tool_errors": ValueError},
    "types": {"handle_tool_errors": (ValueError, LookupError)},
    "other types": {"handle_tool_errors": (ValueError, TypeError)},
    "handler of another": {"handle_tool_errors": on_value},
    "handler of several": {"handle_tool_errors": on_lookup},
    "handler of any": {"handle_tool_errors": on_any},
    "method": {"handle_tool_errors": Handler().on},
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("what", HANDLERS)
@pytest.mark.parametrize("call", [("fails", {"reason": "gone"}), ("fails", {}), ("nope", {})])
def test_errors(face, what, call):
    same(face, [t.fails], {"messages": [asks(call)]}, **HANDLERS[what])


def test_a_handler_of_what_is_no_exception_is_refused():
    node = ToolNode([t.fails], handle_tool_errors=on_text)
    with pytest.raises(ValueError, match="annotate the handler's parameter with an Exception"):
        node.invoke([asks(("fails", {"reason": "gone"}))])


@pytest.mark.parametrize("face", FACES)
def test_an_error_that_the_tool_handles_itself(face):
    def strict(x: int) -> str:
        """Refuse."""
        raise ToolException("refused")

    strict = tool(strict)
    strict.handle_tool_error = True
    same(face, [strict], [asks(("strict", {"x": 1}))])


@pytest.mark.parametrize("face", FACES)
def test_one_failing_tool_does_not_lose_the_others(face):
    calls = asks(("add", {"a": 1, "b": 1}), ("fails", {"reason": "no"}), ("add", {"a": 2, "b": 2}))
    same(face, [t.add, t.fails], {"messages": [calls]}, handle_tool_errors=True)


STATES = {
    "dict": {"messages": [asks(*[(n, {"x": 1}) for n in ("whole", "key", "messages", "optional")])],
             "foo": "bar"},
    "list": [asks(("whole", {"x": 1}), ("messages", {"x": 1}))],
    "list, but a key is asked for": [asks(("key", {"x": 1}))],
    "a key is missing": {"messages": [asks(("key", {"x": 1}))]},
    "forged": {"messages": [asks(("key", {"x": 1, "foo": "forged"}))], "foo": "real"},
    "with context": {
        "__type": "tool_call_with_context",
        "tool_call": {"name": "key", "args": {"x": 1}, "id": "0", "type": "tool_call"},
        "state": {"foo": "inner", "messages": []},
    },
}  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("what", STATES)
def test_the_state_is_injected(face, what):
    same(face, t.with_state, STATES[what])


@pytest.mark.parametrize("face", FACES)
def test_errors_show_the_model_its_own_arguments_alone(face):
    input = {"messages": [asks(("key", {"x": "no number"}))], "foo": "secret"}
    assert "secret" not in str(same(face, t.with_state, input))


@pytest.mark.parametrize("face", FACES)
def test_the_run_is_injected(face):
    calls = asks(("around", {"x": 1}), ("around", {"x": 2}))
    same(face, t.with_runtime, {"messages": [calls], "foo": 1})


@pytest.mark.parametrize("face", FACES)
def test_a_store_that_is_not_there(face):
    same(face, t.with_runtime, {"messages": [asks(("stored", {"x": 1}))]})


COMMANDS = {
    name: {"messages": [asks((name, {"x": 1}))]}
    for name in ("update", "silent", "as_list", "several", "too_many", "goes", "hands_over", "pair")
} | {
    "two handovers": {"messages": [asks(*[("hands_over", {"x": i}) for i in range(2)])]},
    "among others": {"messages": [asks(("add", {"a": 1, "b": 1}), ("update", {"x": 2}))]},
    "list state": [asks(("as_list", {"x": 1}))],
    "dict for a list state": [asks(("update", {"x": 1}))],
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("what", COMMANDS)
def test_commands(face, what):
    same(face, lambda ns: [t.add, *t.with_commands(ns)], COMMANDS[what])


def test_langgraphs_own_markers_and_commands_work():
    tools = [*t.with_state(LANGGRAPH), *t.with_runtime(LANGGRAPH), *t.with_commands(LANGGRAPH)]
    names = ("key", "around", "update")
    state = {"messages": [asks(*[(name, {"x": 1}) for name in names])], "foo": "bar"}
    ours = called(OURS, ToolNode(tools), state, "sync")
    ours[2]["goto"] = tuple(ours[2]["goto"])
    assert ours == called(LANGGRAPH, prebuilt(LANGGRAPH).ToolNode(tools), state, "sync")


def wrapper(ns):
    def wrap(request, execute):
        if request.tool is None:
            return ToolMessage("made up", tool_call_id=request.tool_call["id"])
        call = request.tool_call
        if call["name"] == "fails":
            raise RuntimeError("wrapper")
        doubled = {**call, "args": {key: 2 * v for key, v in call["args"].items()}}
        return execute(request.override(tool_call=doubled))

    return wrap


def awrapper(ns):
    async def wrap(request, execute):
        if request.tool is None:
            return ToolMessage("made up", tool_call_id=request.tool_call["id"])
        first = await execute(request)
        return await execute(
            request.override(tool_call={**request.tool_call, "args": {"a": 1, "b": first.content}})
        )

    return wrap


WRAPPED = [("add", {"a": 1, "b": 2}), ("nope", {}), ("aadd", {"a": 1, "b": 2})]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("handles", [True, False])
def test_a_wrapper_changes_repeats_and_answers(face, handles):
    calls = WRAPPED[:2]
    options = {"wrap_tool_call": wrapper, "handle_tool_errors": handles}
    same(face, [t.add, t.fails], {"messages": [asks(*calls)]}, **options)
    same(face, [t.add, t.fails], {"messages": [asks(("fails", {"reason": "x"}))]}, **options)


def test_an_async_wrapper():
    same("async", [t.add, t.aadd], {"messages": [asks(*WRAPPED)]}, awrap_tool_call=awrapper)


def test_an_async_wrapper_is_never_left_out():
    node = ToolNode([t.add, t.aadd], awrap_tool_call=awrapper(OURS))
    answers = node.invoke({"messages": [asks(*WRAPPED)]})["messages"]
    assert [m.content for m in answers] == ["4", "made up", "4"]


def test_assigning_to_a_request_warns():
    def wrap(request, execute):
        request.tool_call = {**request.tool_call, "args": {"a": 5, "b": 5}}
        return execute(request)

    with pytest.warns(DeprecationWarning, match="override"):
        answer = ToolNode([t.add], wrap_tool_call=wrap).invoke(FIVE)
    assert [m.content for m in answer] == ["10"]


@pytest.mark.parametrize("face", FACES)
def test_async_tools_work_under_both_faces(face):
    node = ToolNode([t.aadd, t.OnlySync()])
    input = [asks(("aadd", {"a": 1, "b": 2}), ("only_sync", {"x": 3}))]
    got = called(OURS, node, input, face)
    assert [m["content"] for m in got] == ["3", "9"]


def test_an_async_tool_under_sync_invoke_inside_of_a_running_loop():
    async def main():
        return ToolNode([t.aadd]).invoke([asks(("aadd", {"a": 1, "b": 2}))])

    assert [m.content for m in asyncio.run(main())] == ["3"]


@pytest.mark.parametrize("face", FACES)
def test_a_tool_over_its_time_becomes_an_error_and_the_others_are_kept(face):
    over = threading.Event()

    def slow(x: int) -> str:
        """Wait for something that never comes."""
        over.wait(600)
        return "late"

    async def aslow(x: int) -> str:
        """Wait for something that never comes."""
        await asyncio.sleep(600)
        return "late"

    node = ToolNode(
        [slow, aslow, t.add], ray_options={"slow": {"timeout": 0.2}, "aslow": {"timeout": 0.2}}
    )
    calls = asks(("slow", {"x": 1}), ("add", {"a": 1, "b": 2}), ("aslow", {"x": 1}))
    try:
        answers = called(OURS, node, [calls], face)
    finally:
        over.set()
    assert [(m["status"], m["content"]) for m in answers] == [
        ("error", "Error: tool 'slow' took longer than 0.2 s and was stopped."),
        ("success", "3"),
        ("error", "Error: tool 'aslow' took longer than 0.2 s and was stopped."),
    ]


@pytest.mark.parametrize("face", FACES)
def test_max_concurrency_of_a_tool(face):
    lock, now, most, two = threading.Lock(), [0], [0], threading.Event()

    def counted(x: int) -> str:
        """Count how many run at once."""
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == 2:
                two.set()
        assert two.wait(60)
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return str(x)

    node = ToolNode([counted], ray_options={"counted": {"max_concurrency": 2}})
    answers = called(OURS, node, [asks(*[("counted", {"x": i}) for i in range(6)])], face)
    assert [m["content"] for m in answers] == [str(i) for i in range(6)]
    assert most[0] == 2


class TestToolsCondition:
    def test_by_the_last_message(self):
        for shape in (lambda m: m, lambda m: {"messages": m}):
            assert tools_condition(shape(FIVE)) == "tools"
            assert tools_condition(shape([*FIVE, AIMessage("done")])) == "__end__"
        assert tools_condition({"chat": FIVE}, messages_key="chat") == "tools"

    def test_without_messages(self):
        with pytest.raises(ValueError, match="No messages found in input state"):
            tools_condition({"messages": []})
