"""Every name of LangGraph's that may stand in a graph of ours: it does there what it does at home.

Each program is built by both libraries' ``StateGraph``; all else that it names is LangGraph's. The
names of a program are those that the table of the page LangGraph coverage lists.
"""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import langgraph.graph
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_store, get_stream_writer
from langgraph.errors import (
    EmptyInputError,
    GraphInterrupt,
    GraphRecursionError,
    InvalidUpdateError,
    NodeError,
    NodeInterrupt,
    NodeTimeoutError,
)
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, add_messages
from langgraph.graph.message import REMOVE_ALL_MESSAGES, push_message
from langgraph.graph.ui import AnyUIMessage, delete_ui_message, push_ui_message, ui_message_reducer
from langgraph.prebuilt import (
    InjectedState,
    InjectedStore,
    ToolNode,
    ToolRuntime,
    ValidationNode,
    tools_condition,
)
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.pregel.remote import RemoteGraph
from langgraph.runtime import Runtime, get_runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import (
    CachePolicy,
    Command,
    Interrupt,
    Overwrite,
    RetryPolicy,
    Send,
    StateUpdate,
    StreamWriter,
    TimeoutPolicy,
    TracePolicy,
    interrupt,
)
from pydantic import BaseModel
from typing_extensions import TypedDict

import distgraph.func
import distgraph.graph
import distgraph.prebuilt

Graph = Any
Program = Callable[[Any], Any]
PROGRAMS: dict[tuple[str, ...], Program] = {}
QUICK = {"initial_interval": 0.01, "jitter": False}
THREAD: Any = {"configurable": {"thread_id": "1"}}


class Items(TypedDict):
    items: Annotated[list, operator.add]


def extend(state: Any, writes: Any) -> Any:
    return [*state, *(item for write in writes for item in write)]


class Deltas(TypedDict):
    items: Annotated[list, DeltaChannel(extend)]


class Pair(TypedDict):
    a: int
    b: int


def program(*names: str) -> Callable[[Program], Program]:
    def add(made: Program) -> Program:
        PROGRAMS[names] = made
        return made

    return add


def chain(lib: Any, *nodes: Any, schema: Any = Items, **options: Any) -> Any:
    """Return the builder of a graph in which nodes follow each other: n0, n1, …"""
    names = [f"n{number}" for number in range(len(nodes))]
    builder = lib.StateGraph(schema)
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node, **options)
    for before, after in zip([START, *names], names, strict=False):
        builder.add_edge(before, after)
    return builder


def adds(*items: Any) -> Any:
    return lambda state: {"items": list(items)}


@program("START", "END")
def _(lib: Any) -> Any:
    builder = chain(lib, adds("x")).add_edge("n0", END)
    return builder.add_conditional_edges(START, lambda s: END).compile().invoke({"items": []})


@program("Send", "Command")
def _(lib: Any) -> Any:
    goto = [Send("m", {"v": 1}), Send("m", {"v": 2})]
    builder = chain(lib, lambda s: Command(update={"items": ["x"]}, goto=goto))
    builder.add_node("m", lambda s: {"items": [s["v"]]}).add_node("last", adds("end"))
    builder.add_conditional_edges("m", lambda s: Send("last", {}) if len(s["items"]) < 4 else END)
    return builder.compile().invoke({"items": []})


@program("Command.PARENT")
def _(lib: Any) -> Any:
    up = Command(graph=Command.PARENT, update={"items": ["up"]}, goto="m")
    builder = chain(lib, chain(lib, lambda s: up).compile(), destinations=("m",))
    return builder.add_node("m", adds("m")).compile().invoke({"items": []})


@program("interrupt", "Command(resume=)", "Interrupt")
def _(lib: Any) -> Any:
    def asks(state: Any) -> Any:
        return {"items": [interrupt("one"), interrupt("two"), Interrupt("kept", id="i").value]}

    graph = chain(lib, asks).compile(checkpointer=InMemorySaver())
    first = graph.invoke({"items": []}, THREAD)["__interrupt__"][0]
    second = graph.invoke(Command(resume={first.id: "A"}), THREAD)["__interrupt__"][0]
    return first.value, second.value, graph.invoke(Command(resume="B"), THREAD)


@program("Command(update=, goto=) as input", "StateUpdate")
def _(lib: Any) -> Any:
    graph = chain(lib, adds("x")).add_node("m", adds("m")).compile(checkpointer=InMemorySaver())
    given = graph.invoke(Command(update={"items": ["in"]}, goto="m"), THREAD)
    graph.bulk_update_state(THREAD, [[StateUpdate({"items": ["u"]}, "n0")]])
    graph.update_state(THREAD, Command(update={"items": ["v"]}), as_node="n0")
    return given, graph.get_state(THREAD).values


@program("Overwrite")
def _(lib: Any) -> Any:
    graph = chain(lib, lambda s: {"items": Overwrite(["new"])}).compile(
        checkpointer=InMemorySaver()
    )
    given = graph.invoke({"items": ["old"]}, THREAD)
    graph.update_state(THREAD, {"items": Overwrite(["written"])})
    return given, graph.get_state(THREAD).values


@program("RetryPolicy")
def _(lib: Any) -> Any:
    def flaky() -> Any:
        tries: list[int] = []

        def node(state: Any) -> Any:
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("once more")
            return {"items": [len(tries)]}

        return node

    one = chain(lib, flaky(), retry_policy=[RetryPolicy(**QUICK)])
    default = chain(lib, flaky()).set_node_defaults(retry_policy=RetryPolicy(**QUICK))
    return [builder.compile().invoke({"items": []}) for builder in (one, default)]


@program("CachePolicy", "InMemoryCache")
def _(lib: Any) -> Any:
    calls: list[int] = []

    def node(state: Any) -> Any:
        calls.append(1)
        return {"items": [len(calls)]}

    graph = chain(lib, node, cache_policy=CachePolicy(ttl=60)).compile(cache=InMemoryCache())
    return [graph.invoke({"items": []}) for _ in range(2)], len(calls)


@program("TimeoutPolicy", "NodeTimeoutError", "Send(timeout=)")
def _(lib: Any) -> Any:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(30)

    limited = chain(lib, slow, timeout=TimeoutPolicy(run_timeout=0.05))
    sent = lib.StateGraph(Items).add_node("slow", slow)
    sent.add_conditional_edges(START, lambda s: [Send("slow", {}, timeout=0.05)])
    told = []
    for builder in (limited, sent):
        with pytest.raises(NodeTimeoutError) as caught:
            asyncio.run(builder.compile().ainvoke({"items": []}))
        told.append(caught.value.node)
    return told


@program("TracePolicy")
def _(lib: Any) -> Any:
    policy = TracePolicy(process_inputs=lambda value: "hidden")
    return chain(lib, adds("x"), trace_policy=policy).compile().invoke({"items": []})


@program("NodeError")
def _(lib: Any) -> Any:
    def fails(state: Any) -> Any:
        raise ValueError("boom")

    def handler(state: Any, error: NodeError) -> Any:
        return {"items": [error.node, str(error.error)]}

    return chain(lib, fails, error_handler=handler).compile().invoke({"items": []})


@program("InvalidUpdateError", "GraphRecursionError", "EmptyInputError")
def _(lib: Any) -> Any:
    with pytest.raises(InvalidUpdateError):
        chain(lib, lambda s: 3).compile().invoke({"items": []})
    with pytest.raises(GraphRecursionError):
        chain(lib, adds()).add_edge("n0", "n0").compile().invoke(
            {"items": []}, {"recursion_limit": 2}
        )
    with pytest.raises(EmptyInputError):
        chain(lib, adds()).compile().invoke(None)
    with pytest.raises(InvalidUpdateError):
        chain(lib, adds()).compile(checkpointer=InMemorySaver()).update_state(THREAD, {}, "none")


@program("GraphInterrupt", "NodeInterrupt")
def _(lib: Any) -> Any:
    def old(state: Any) -> Any:
        raise NodeInterrupt("why")

    def new(state: Any) -> Any:
        raise GraphInterrupt((Interrupt("what", id="1" * 32),))

    graphs = [chain(lib, node).compile(checkpointer=InMemorySaver()) for node in (old, new)]
    return [graph.invoke({"items": []}, THREAD)["__interrupt__"][0].value for graph in graphs]


@dataclass
class User:
    name: str


@program(
    "get_stream_writer", "get_config", "get_store", "get_runtime", "Runtime", "StreamWriter",
    "InMemoryStore",
)  # fmt: skip
def _(lib: Any) -> Any:
    def node(state: Any, runtime: Runtime[User], writer: StreamWriter) -> Any:
        get_stream_writer()("one")
        runtime.stream_writer("two")
        writer("three")
        get_store().put(("n",), "k", {"v": 1})
        name = get_runtime(User).context.name
        return {"items": [get_config()["configurable"]["x"], runtime.context.name, name]}

    def path(state: Any, runtime: Runtime[User]) -> str:
        return "m" if runtime.context.name == "ada" else END

    store = InMemoryStore()
    builder = lib.StateGraph(Items, User).add_node("n", node).add_node("m", adds("m"))
    builder.add_edge(START, "n").add_conditional_edges("n", path, ["m", END])
    chunks = builder.compile(store=store).stream(
        {"items": []},
        {"configurable": {"x": 5}},
        context=User("ada"),
        stream_mode=["custom", "values"],
    )
    found = store.get(("n",), "k")
    return list(chunks), found and found.value


def calls_tool(state: Any) -> Any:
    if isinstance(state["messages"][-1], ToolMessage):
        return {"messages": [AIMessage("done", id="2")]}
    call = {"name": "look", "args": {"x": 3}, "id": "c1", "type": "tool_call"}
    return {"messages": [AIMessage("", id="1", tool_calls=[call])]}


class Talk(MessagesState):
    extra: str


def with_tool(lib: Any, tools: Any, condition: Any, made: Any) -> list[Any]:
    builder = lib.StateGraph(Talk).add_node("model", calls_tool).add_node("tools", tools([made]))
    builder.add_edge(START, "model").add_edge("tools", "model")
    graph = builder.add_conditional_edges("model", condition).compile(store=InMemoryStore())
    state = graph.invoke({"messages": [HumanMessage("q", id="0")], "extra": "E"})
    return [*(message.content for message in state["messages"]), state["extra"]]


@tool
def look(
    x: int,
    state: Annotated[dict, InjectedState],
    extra: Annotated[str, InjectedState("extra")],
    store: Annotated[Any, InjectedStore()],
    runtime: ToolRuntime,
) -> str:
    """Look."""
    store.put(("a",), "b", {"x": x})
    runtime.stream_writer("looked")
    return f"{x} {state['extra']} {extra} {runtime.state['extra']} {runtime.tool_call_id}"


@program(
    "ToolNode", "tools_condition", "InjectedState", "InjectedStore", "ToolRuntime", "MessagesState"
)
def _(lib: Any) -> Any:
    own = lib is distgraph.graph
    tools = [ToolNode, distgraph.prebuilt.ToolNode if own else ToolNode]
    conditions = [tools_condition, distgraph.prebuilt.tools_condition if own else tools_condition]
    return [with_tool(lib, t, c, look) for t, c in zip(tools, conditions, strict=True)]


@program("Command from a tool")
def _(lib: Any) -> Any:
    @tool("look")
    def writes(x: int, runtime: ToolRuntime) -> Any:
        """Write."""
        answer = ToolMessage("written", tool_call_id=runtime.tool_call_id)
        return Command(update={"extra": "new", "messages": [answer]})

    own = distgraph.prebuilt.ToolNode if lib is distgraph.graph else ToolNode
    return [with_tool(lib, tools, tools_condition, writes) for tools in (ToolNode, own)]


@program("ValidationNode")
def _(lib: Any) -> Any:
    class Look(BaseModel):
        x: int

    calls = [{"name": "Look", "args": {"x": x}, "id": str(x)} for x in (3, "three")]
    builder = lib.StateGraph(MessagesState).add_node("v", ValidationNode([Look]))
    state = (
        builder.add_edge(START, "v")
        .compile()
        .invoke({"messages": [AIMessage("", tool_calls=calls)]})
    )
    return [message.content for message in state["messages"]]


@program("add_messages", "REMOVE_ALL_MESSAGES", "push_message")
def _(lib: Any) -> Any:
    from langchain_core.messages import RemoveMessage

    class State(TypedDict):
        messages: Annotated[list, add_messages(format="langchain-openai")]

    def pushes(state: Any) -> Any:
        push_message(AIMessage([{"type": "text", "text": "hi"}], id="1"))
        return {}

    graph = chain(lib, pushes, schema=State).compile()
    streamed = [
        chunk[0].content for chunk in graph.stream({"messages": []}, stream_mode="messages")
    ]
    emptied = chain(
        lib, lambda s: {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES)]}, schema=State
    ).compile()
    return streamed, graph.invoke({"messages": []}), emptied.invoke({"messages": ["x"]})


@program("push_ui_message", "delete_ui_message", "ui_message_reducer", "AnyUIMessage")
def _(lib: Any) -> Any:
    class State(TypedDict):
        ui: Annotated[list[AnyUIMessage], ui_message_reducer]

    def shows(state: Any) -> Any:
        push_ui_message("card", {"x": 1}, id="u1")
        push_ui_message("card", {"y": 1}, id="u2")
        return {}

    def hides(state: Any) -> Any:
        delete_ui_message("u2")
        return {}

    graph = chain(lib, shows, hides, schema=State).compile()
    config: Any = {"tags": ["t"]}
    streamed = list(graph.stream({"ui": []}, config, stream_mode="custom"))
    plain = re.sub(r"'run_id': [^,]*", "", f"{streamed} {graph.invoke({'ui': []}, config)}")
    return plain


@program("a compiled graph", "DeltaChannel", "get_state(subgraphs=True)")
def _(lib: Any) -> Any:
    asks = chain(langgraph.graph, lambda s: {"items": [interrupt("q")]}, schema=Deltas)
    graph = chain(lib, asks.compile(), schema=Deltas).compile(checkpointer=InMemorySaver())
    graph.invoke({"items": ["in"]}, THREAD)
    waiting = graph.get_state(THREAD, subgraphs=True).tasks[0].state.next
    return waiting, graph.invoke(Command(resume="A"), THREAD)


@program("a Pregel made by NodeBuilder")
def _(lib: Any) -> Any:
    from langgraph.channels import EphemeralValue

    class State(TypedDict):
        a: str
        b: str

    node = NodeBuilder().subscribe_only("a").do(lambda x: x + x).write_to("b")
    inner = Pregel(
        nodes={"n": node},
        channels={"a": EphemeralValue(str), "b": EphemeralValue(str)},
        input_channels=["a"],
        output_channels=["b"],
    )
    return chain(lib, inner, schema=State).compile().invoke({"a": "x"})


@program("RemoteGraph")
def _(lib: Any) -> Any:
    remote = RemoteGraph("assistant", url="nowhere://server")  # fails without retries
    graph = chain(lib, remote).compile()
    with pytest.raises(Exception) as caught:
        graph.invoke({"items": []})
    return type(caught.value).__name__  # the node did ask the client


@program("@task")
def _(lib: Any) -> Any:
    @task(retry_policy=RetryPolicy(**QUICK))
    def double(x: int) -> int:
        return 2 * x

    def node(state: Any) -> Any:
        return {"items": [double(1).result(), double(2).result()]}

    return chain(lib, node).compile().invoke({"items": []})


@program("@entrypoint")
def _(lib: Any) -> Any:
    @entrypoint()
    def flow(state: Any) -> Any:
        return {"items": ["flow"]}

    def node(state: Any) -> Any:
        return flow.invoke({})

    return chain(lib, flow, node).compile().invoke({"items": []})


@program("entrypoint.final")
def _(lib: Any) -> Any:
    make: Any = distgraph.func.entrypoint if lib is distgraph.graph else entrypoint

    @make(checkpointer=InMemorySaver())
    def flow(x: int, *, previous: Any = None) -> entrypoint.final[int, int]:
        return entrypoint.final(value=x, save=(previous or 0) + x)

    return flow.invoke(1, THREAD), flow.invoke(5, THREAD), flow.get_state(THREAD).values


@program("a dict as a node")
def _(lib: Any) -> Any:
    async def waits(state: Any) -> int:
        return int(state["a"]) + 5

    plain = chain(lib, {"a": lambda s: s["a"] + 1, "b": lambda s: s["a"] + 2}, schema=Pair)
    mixed = chain(lib, {"a": waits, "b": lambda s: s["a"] + 2}, schema=Pair)
    named = list(lib.StateGraph(Pair).add_node({"a": waits}).nodes)
    awaited = asyncio.run(mixed.compile().ainvoke({"a": 1}))
    return plain.compile().invoke({"a": 1}), awaited, named


@program("a Runnable")
def _(lib: Any) -> Any:
    node = RunnablePassthrough.assign(b=lambda state: state["a"] + 1)
    return chain(lib, node, schema=Pair).compile().invoke({"a": 1})


@program("-> Command[Literal[…]]")
def _(lib: Any) -> Any:
    def node(state: Any) -> Command[Literal["m"]]:
        return Command(goto="m")

    graph = chain(lib, node).add_node("m", adds("m")).compile()
    return graph.get_graph().draw_mermaid(), graph.invoke({"items": []})


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")


@pytest.mark.parametrize("made", PROGRAMS.values(), ids=[", ".join(names) for names in PROGRAMS])
def test_it_does_in_our_graph_what_it_does_in_langgraphs(made: Program) -> None:
    assert repr(made(distgraph.graph)) == repr(made(langgraph.graph))


def test_the_page_of_coverage_lists_these_names() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "reference" / "langgraph-coverage.md").read_text(encoding="utf-8")
    section = page.split("## LangGraph's names in a distgraph graph")[1].split("\n## ")[0]
    listed = set(re.findall(r"`([^`]+)`", section))
    tested = {name for names in PROGRAMS for name in names if not name.startswith("a ")}
    assert tested - listed == set()
