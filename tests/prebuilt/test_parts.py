"""Tool calls as units of distribution: what they carry, where they run, how long they may."""

import asyncio
import functools
import os
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Annotated

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from distgraph._internal.missing import MISSING
from distgraph.graph import START, MessagesState, StateGraph
from distgraph.prebuilt import InjectedState, ToolNode, ToolRuntime, create_react_agent, placed
from distgraph.prebuilt.options import OPTIONS_KEY
from distgraph.serde.pickling import dumps_code, dumps_data, loads
from tests.prebuilt import tools as t
from tests.prebuilt.support import asks
from tests.support.cluster import meet
from tests.support.models import CallingModel


@tool
def looks(x: int, state: Annotated[dict, InjectedState]) -> str:
    """Look at the state."""
    return f"{x} {len(state['messages'])}"


@tool
def around(x: int, runtime: ToolRuntime) -> str:
    """Look around."""
    return str(x)


def graph(*tools, **options):
    builder = StateGraph(MessagesState).add_node(ToolNode(list(tools), **options))
    return builder.add_edge(START, "tools")


class TestSplit:
    state = {"messages": [asks(("add", {"a": 1, "b": 2}), ("looks", {"x": 1}), ("nope", {}))]}

    def parts(self, *tools, **options):
        split = ToolNode([t.add, looks, around, *tools], **options).distgraph_split()
        return split, split.parts(self.state)

    def test_a_part_for_each_known_call_with_its_call_alone(self):
        _, parts = self.parts()
        assert [(p.key, p.input.call["id"], p.reads_state) for p in parts] == [
            ("add", "0", False),
            ("looks", "1", True),
        ]
        assert all(p.input.state is MISSING for p in parts)

    def test_a_large_state_does_not_travel_with_a_call(self):
        large = {"messages": [HumanMessage("x" * 1_000_000), *self.state["messages"]]}
        parts = ToolNode([t.add]).distgraph_split().parts(large)
        assert len(dumps_data(parts[0].input)) < 1000

    def test_tools_that_take_the_runtime_read_the_state(self):
        assert ToolNode([around]).distgraph_split().stateful == {"around"}

    def test_with_a_wrapper_every_call_reads_the_state_and_unknown_ones_are_parts(self):
        _, parts = self.parts(wrap_tool_call=lambda request, execute: execute(request))
        assert [(p.key, p.reads_state) for p in parts] == [
            ("add", True),
            ("looks", True),
            ("nope", True),
        ]

    def test_a_state_that_was_sent_goes_with_the_calls_that_ask_for_it(self):
        split, _ = self.parts()
        parts = split.sent_parts(self.state)
        assert [(p.input.state is MISSING, p.reads_state) for p in parts] == [
            (True, False),
            (False, False),
        ]
        assert parts[1].input.state == self.state

    def test_answers_are_joined_in_the_order_of_the_calls(self):
        split, parts = self.parts()
        joined = split.join(self.state, parts, ["first", "second"])["messages"]
        assert joined[:2] == ["first", "second"]
        assert joined[2].status == "error"
        assert "nope is not a valid tool, try one of [add, looks, around]" in joined[2].content

    @pytest.mark.parametrize(
        "value",
        [{"messages": []}, {"messages": [AIMessage("hi")]}, {"messages": [asks(("nope", {}))]}, 5],
    )
    def test_without_a_call_of_its_tools_the_node_runs_whole(self, value):
        assert ToolNode([t.add]).distgraph_split().parts(value) is None

    def test_it_is_small_and_holds_no_tool(self):
        split, _ = self.parts()
        blob = dumps_data(split)
        assert len(blob) < 2000
        assert b"langchain" not in blob
        assert loads(blob).names == ("add", "looks", "around")

    def test_sync_tools_compute_and_async_tools_wait(self):
        split = ToolNode([t.add, t.aadd, t.ByClass(), t.OnlySync()]).distgraph_split()
        assert {name: split.options(name).is_async for name in split.names} == {
            "add": False,
            "aadd": True,
            "by_class": True,
            "only_sync": True,
        }

    def test_a_sync_tool_in_an_async_wrapper_keeps_a_core_of_its_own(self):
        async def wrap(request, execute):
            return await execute(request)

        split = ToolNode([t.add, t.aadd], awrap_tool_call=wrap).distgraph_split()
        add, aadd = split.options("add"), split.options("aadd")
        assert (add.is_async, add.ray_options) == (True, {"placement": "task"})
        assert (aadd.is_async, aadd.ray_options) == (True, {})


class TestOptions:
    def test_of_the_node_by_tool_name(self):
        node = ToolNode(
            [t.add, t.aadd],
            ray_options={
                "add": {"num_gpus": 1, "timeout": timedelta(seconds=30), "max_concurrency": 2}
            },
        )
        add, aadd = (node.distgraph_split().options(name) for name in ("add", "aadd"))
        assert (add.ray_options, add.timeout, add.max_concurrency) == ({"num_gpus": 1}, 30.0, 2)
        assert (aadd.ray_options, aadd.timeout, aadd.max_concurrency) == ({}, None, None)

    def test_of_the_tool_itself_and_the_node_on_top(self):
        carrying = placed(t.add, num_cpus=2, timeout=5)
        assert carrying.metadata == {OPTIONS_KEY: {"num_cpus": 2, "timeout": 5}}
        assert t.add.metadata is None
        assert carrying.invoke({"a": 1, "b": 2}) == 3
        node = ToolNode([carrying], ray_options={"add": {"timeout": 9}})
        how = node.distgraph_split().options("add")
        assert (how.ray_options, how.timeout) == ({"num_cpus": 2}, 9.0)

    def test_as_a_decorator_of_a_function(self):
        @placed(placement="thread")
        def waits(x: int) -> str:
            """Wait."""
            return str(x)

        assert waits.name == "waits"
        how = ToolNode([waits]).distgraph_split().options("waits")
        assert (how.ray_options, how.is_async) == ({"placement": "thread"}, False)

    def test_a_tool_of_both_kinds_in_a_thread_is_called_in_place(self):
        node = ToolNode([t.ByClass()], ray_options={"by_class": {"placement": "thread"}})
        assert node.distgraph_split().options("by_class").is_async is False

    BAD = (
        ({"ad": {}}, r"unknown tool 'ad'. Did you mean 'add'\?"),
        ({"add": {"num_cpu": 1}}, r"unknown ray_options key 'num_cpu'. Did you mean 'num_cpus'\?"),
        ({"add": {"timeouts": 1}}, r"'timeouts'. Did you mean 'timeout'\?"),
        ({"add": {"max_concurency": 1}}, "Did you mean 'max_concurrency'"),
        ({"add": {"timeout": 0}}, "timeout must be a number of seconds above 0"),
        ({"add": {"timeout": "1s"}}, "timeout must be a number of seconds above 0"),
        ({"add": {"max_concurrency": 0}}, "max_concurrency must be at least 1"),
        ({"add": {"concurrency": 2}}, "is for a class"),
        ({"add": {"placement": "async"}}, "needs an `async def` node"),
        ({"add": {"placement": "thread", "num_cpus": 2}}, "cannot be combined with it"),
        ({"aadd": {"placement": "thread"}}, "is for sync nodes"),
    )

    @pytest.mark.parametrize(("options", "told"), BAD)
    def test_bad_ones_are_refused_at_once(self, options, told):
        with pytest.raises(ValueError, match=told):
            ToolNode([t.add, t.aadd], ray_options=options)

    def test_of_the_graphs_node_hold_for_tools_without_their_own(self):
        builder = StateGraph(MessagesState)
        node = ToolNode([t.add, t.plain], ray_options={"add": {"num_cpus": 3}})
        builder.add_node(node, ray_options={"num_cpus": 2, "num_gpus": 1}).add_edge(START, "tools")
        split = builder.compile(backend="local").spec.nodes["tools"].split
        assert split.options("add").ray_options == {"num_cpus": 3, "num_gpus": 1}
        assert split.options("plain").ray_options == {"num_cpus": 2, "num_gpus": 1}

    def test_of_the_graphs_node_that_a_tool_cannot_have_are_refused(self):
        builder = StateGraph(MessagesState)
        builder.add_node(ToolNode([t.aadd]), ray_options={"placement": "thread"})
        builder.add_edge(START, "tools")
        with pytest.raises(ValueError, match=r"tools\.aadd.*is for sync nodes"):
            builder.compile(backend="local")

    def test_bad_ones_of_a_tool_are_refused_at_once(self):
        with pytest.raises(ValueError, match="Tool `add`.*Did you mean 'timeout'"):
            placed(t.add, timeot=1)


def test_calls_run_at_once_in_other_processes(ours, tmp_path):
    @tool
    def where(x: int) -> str:
        """Tell where it runs."""
        if ours.name == "ray":
            meet(tmp_path)
        return str(os.getpid())

    calls = asks(*[("where", {"x": i}) for i in range(2)])
    built = ours.compile(graph(where))
    answers = [m.content for m in built.invoke({"messages": [calls]})["messages"][1:]]
    if ours.name == "ray":
        assert len(set(answers)) == 2
        assert str(os.getpid()) not in answers
    else:
        assert set(answers) == {str(os.getpid())}


def test_a_tool_that_never_returns_is_ended_and_the_others_are_kept(ours):
    async def asleep(x: int) -> str:
        """Sleep."""
        await asyncio.sleep(600)
        return "late"

    def stuck(x: int) -> str:
        """Wait."""
        threading.Event().wait(600)
        return "late"

    limits = {"stuck": {"timeout": 1}, "asleep": {"timeout": 1}}
    built = ours.compile(graph(t.add, placed(stuck), asleep, ray_options=limits))
    built.invoke({"messages": [asks(("add", {"a": 0, "b": 0}))]})
    calls = [("stuck", {"x": 1}), ("add", {"a": 1, "b": 2}), ("asleep", {"x": 1})]
    (chunk,) = built.stream({"messages": [asks(*calls)]})
    assert [(m.status, m.content) for m in chunk["tools"]["messages"]] == [
        ("error", "Error: tool 'stuck' took longer than 1 s and was stopped."),
        ("success", "3"),
        ("error", "Error: tool 'asleep' took longer than 1 s and was stopped."),
    ]


def test_a_time_limit_makes_the_agent_go_on(ours):
    async def asleep(x: int) -> str:
        """Sleep."""
        await asyncio.sleep(600)
        return "late"

    model = CallingModel(calls=[("asleep", {"x": 1})])
    agent = create_react_agent(
        model, [asleep], ray_options={"asleep": {"timeout": 0.3}}, backend=ours.name
    )
    last = agent.invoke({"messages": "hi"})["messages"][-1]
    assert last.content == "answer: Error: tool 'asleep' took longer than 0.3 s and was stopped."


def test_max_concurrency_bounds_the_calls_of_one_tool(ours, tmp_path):
    @tool
    async def counted(x: int) -> str:
        """Tell how many run at once."""
        mine = tmp_path / str(x)
        mine.touch()
        count = len(list(tmp_path.iterdir()))
        await asyncio.sleep(0.05)
        mine.unlink()
        return str(count)

    built = ours.compile(graph(counted, ray_options={"counted": {"max_concurrency": 2}}))
    calls = asks(*[("counted", {"x": i}) for i in range(6)])
    answers = built.invoke({"messages": [calls]})["messages"][1:]
    assert max(int(m.content) for m in answers) <= 2


class Loader:
    """Costly to make."""

    def __init__(self, base: int = 100) -> None:
        self.base = base
        self.calls = 0

    def __call__(self, x: int, messages: Annotated[list, InjectedState("messages")]) -> str:
        """Look something up."""
        self.calls += 1
        return f"{os.getpid()} {self.calls} {self.base + x} {len(messages)}"


class AsyncLoader(Loader):
    async def __call__(self, x: int) -> str:
        """Look something up."""
        return super().__call__(x, [])


@pytest.mark.parametrize("cls", [Loader, AsyncLoader])
def test_a_class_is_constructed_once_per_worker(ours, cls):
    factory = functools.partial(cls, base=7)
    built = ours.compile(graph(factory, ray_options={cls.__name__: {"concurrency": 1}}))
    served = []
    for _ in range(2):
        calls = asks(*[(cls.__name__, {"x": i}) for i in range(3)])
        answers = built.invoke({"messages": [calls]})["messages"][1:]
        served += [m.content.split() for m in answers]
    assert len({pid for pid, *_ in served}) == 1
    assert sorted(int(count) for _, count, *_ in served) == [1, 2, 3, 4, 5, 6]
    assert [value for _, _, value, _ in served] == ["7", "8", "9"] * 2


def test_a_class_as_a_tool_has_the_schema_of_its_call():
    node = ToolNode([placed(Loader, concurrency=(1, 2))])
    made = node.tools_by_name["Loader"]
    assert made.description == "Look something up."
    assert list(made.tool_call_schema.model_json_schema()["properties"]) == ["x"]
    split = node.distgraph_split()
    assert split.options("Loader").ray_options == {"concurrency": (1, 2)}
    assert split.stateful == {"Loader"}


def test_a_class_without_a_call_is_refused():
    with pytest.raises(TypeError, match="no __call__"):
        ToolNode([type("Empty", (), {})])


def test_a_tool_node_travels():
    node = loads(dumps_code(ToolNode([t.add, t.aadd, looks], handle_tool_errors=True)))
    assert [m.content for m in node.invoke([asks(("add", {"a": 1, "b": 2}))])] == ["3"]


WITHOUT = """
import sys
{before}
try:
    from distgraph.prebuilt import ToolNode
except ImportError as error:
    print(type(error).__name__, error)
else:
    print("ray" in sys.modules, "langgraph" in sys.modules)
"""


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("", "False False"),
        (
            "import importlib.abc\n"
            "class Missing(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, path, target=None):\n"
            "        if name.split('.')[0] == 'langchain_core':\n"
            "            raise ModuleNotFoundError(name)\n"
            "import importlib.util\n"
            "found = importlib.util.find_spec\n"
            "def without(n, p=None):\n"
            "    return None if 'langchain' in n else found(n, p)\n"
            "importlib.util.find_spec = without",
            "MissingExtraError",
        ),
    ],
    ids=["with langchain-core", "without"],
)
def test_what_importing_it_costs(before, told):
    code = WITHOUT.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(told), done.stdout + done.stderr
    if told == "MissingExtraError":
        assert "distgraph[langchain]" in done.stdout
