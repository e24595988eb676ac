"""LangChain's ``create_agent``, executed by distgraph."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import pytest

pytest.importorskip("langchain.agents", reason="needs langchain")

import langchain.agents as theirs
from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ModelCallLimitMiddleware,
    ToolCallLimitMiddleware,
    hook_config,
)
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel

from distgraph import distribute
from distgraph.agents import create_agent
from distgraph.prebuilt import InjectedState, InjectedStore
from distgraph.prebuilt import ToolRuntime as OurToolRuntime
from tests.langgraph_graphs.support import newest, same
from tests.support.cluster import meet
from tests.support.models import CallingModel


@tool
def add(a: int, b: int) -> str:
    """Add."""
    get_stream_writer()(("add", f"adding {a} and {b}"))
    return str(a + b)


@tool
async def nap(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "rested"


@tool
def look(runtime: ToolRuntime) -> str:
    """Look at the state."""
    runtime.stream_writer(("look", runtime.tool_call_id))
    return f"{len(runtime.state['messages'])} messages for {runtime.context}"


TOOLS = [add, nap, look]


def model(*calls: Any, **given: Any) -> CallingModel:
    return CallingModel(calls=list(calls), **given)


ADD = ("add", {"a": 1, "b": 2})
NAP = ("nap", {"seconds": 0.05})
LOOK = ("look", {})
INPUT: dict[str, Any] = {"messages": [HumanMessage("go", id="h")]}


def said(agent: Any, **options: Any) -> list[str]:
    out = agent.invoke(INPUT, **options)
    return [m.text if isinstance(m.text, str) else m.text() for m in out["messages"][1:]]


class Watch(AgentMiddleware):
    """Has every hook, in both forms."""

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        runtime.stream_writer(("Watch.before_agent", len(state["messages"])))
        return None

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        runtime.stream_writer(("Watch.before_model", len(state["messages"])))
        return None

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        get_stream_writer()(("Watch.after_model", len(state["messages"])))
        return None

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(model=request.model.model_copy(update={"prefix": "W "})))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        changed = request.model.model_copy(update={"prefix": "W "})
        return await handler(request.override(model=changed))

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        answer = handler(request)
        return answer.model_copy(update={"content": f"[{answer.content}]"})

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        answer = await handler(request)
        return answer.model_copy(update={"content": f"[{answer.content}]"})


def of(item: Any) -> Any:
    """Name a chunk's task: parallel tool calls by the tool, whose chunks have an order."""
    if item.mode == "values":
        return None
    if item.mode == "custom":
        return item.payload[0]
    if item.mode == "messages":
        message, metadata = item.payload
        return getattr(message, "name", None) or metadata["langgraph_node"]
    (node, update), *_ = item.payload.items()
    if node == "tools":
        return update["messages"][0].name
    return node


@newest
@pytest.mark.parametrize("face", ["sync", "async"])
def test_the_tool_loop_streams_the_same(backend, face):
    same(
        backend,
        lambda ns: theirs.create_agent(model(ADD, LOOK, rounds=2), [add, look], name="agent"),
        INPUT,
        faces=(face,),
        stream_mode=["updates", "custom", "messages", "values"],
        parallel=True,
        key=of,
    )


@newest
def test_middleware_streams_the_same(backend):
    def build(ns: Any) -> Any:
        limits = [ToolCallLimitMiddleware(run_limit=9), ModelCallLimitMiddleware(run_limit=9)]
        return theirs.create_agent(model(ADD, LOOK), [add, look], middleware=[Watch(), *limits])

    same(
        backend,
        build,
        INPUT,
        faces=("async",),
        stream_mode=["updates", "custom", "values"],
        parallel=True,
        key=of,
    )


def test_nodes_have_langchains_names(backend):
    agent = create_agent(model(ADD), [add], middleware=[Watch()], backend=backend)
    nodes = [node for chunk in agent.stream(INPUT, stream_mode="updates") for node in chunk]
    loop = ["Watch.before_model", "model", "Watch.after_model"]
    assert nodes == ["Watch.before_agent", *loop, "tools", *loop]


def test_tools_of_both_kinds_in_one_message(backend):
    agent = create_agent(model(ADD, NAP, LOOK), TOOLS, backend=backend)
    assert said(agent)[-1] == "answer: 3, rested, 2 messages for None"


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_the_context_reaches_tools(backend):
    agent = create_agent(model(LOOK), TOOLS, backend=backend)
    assert said(agent, context="ada")[-1] == "answer: 2 messages for ada"


def test_no_engine_but_ours_runs(backend, idle_langgraph):
    agent = create_agent(model(ADD, NAP), TOOLS, middleware=[Watch()], backend=backend)
    assert said(agent)[-1] == "W [3], [rested]"
    assert asyncio.run(agent.ainvoke(INPUT))["messages"][-1].content == "W [3], [rested]"


@pytest.mark.ray
def test_tool_calls_run_in_several_processes(ray_session, tmp_path):
    @tool
    def where() -> str:
        """Tell the process."""
        meet(tmp_path)
        return str(os.getpid())

    agent = create_agent(model(("where", {}), ("where", {})), [where], backend="ray")
    _, one, other, _ = said(agent)
    assert len({one, other, str(os.getpid())}) == 3


class WaitsOnly(AgentMiddleware):
    """Has one hook, asynchronous only."""

    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return {"messages": [HumanMessage("waited", id="w")]}


def test_a_hook_that_is_only_asynchronous_runs_for_synchronous_callers_too(backend):
    agent = create_agent(model(), TOOLS, middleware=[WaitsOnly()], backend=backend)
    assert said(agent) == ["waited", "answer: "]


class SyncOnly(AgentMiddleware):
    """Wraps the model call and tool calls in synchronous code only."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(model=request.model.model_copy(update={"prefix": "S "})))

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        answer = handler(request)
        return answer.model_copy(update={"content": f"({answer.content})"})


def test_a_wrapper_that_is_only_synchronous_serves_asynchronous_callers_too(backend):
    agent = create_agent(model(ADD), TOOLS, middleware=[SyncOnly()], backend=backend)
    assert asyncio.run(agent.ainvoke(INPUT))["messages"][-1].content == "S (3)"
    assert not agent.spec.nodes["model"].is_async


def test_the_model_waits_where_a_thousand_can():
    agent = create_agent(model(ADD), TOOLS, middleware=[Watch()], backend="local")
    assert agent.spec.nodes["model"].is_async
    assert not agent.spec.nodes["Watch.before_model"].is_async


class Leaves(AgentMiddleware):
    """Ends the agent before its model is called."""

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        return {"jump_to": "end", "messages": [AIMessage("no", id="no")]}


def test_a_jump_to_the_end(backend):
    assert said(create_agent(model(ADD), TOOLS, middleware=[Leaves()], backend=backend)) == ["no"]


@pytest.mark.parametrize("limit", ["model", "tool"])
def test_limits_count_calls_of_the_run(backend, limit):
    middleware: Any = (
        ModelCallLimitMiddleware(run_limit=2, exit_behavior="end")
        if limit == "model"
        else ToolCallLimitMiddleware(run_limit=1, exit_behavior="continue")
    )
    agent = create_agent(model(ADD, rounds=3), TOOLS, middleware=[middleware], backend=backend)
    out = agent.invoke(INPUT)["messages"]
    answers = [m for m in out if isinstance(m, ToolMessage)]
    if limit == "model":
        assert [m.content for m in answers] == ["3", "3"]
        assert "limit" in out[-1].content
    else:
        assert [m.status for m in answers] == ["success", "error", "error"]


class Answer(BaseModel):
    """What the agent is to return."""

    total: int


def test_structured_output(backend):
    from langchain.agents.structured_output import ToolStrategy

    agent = create_agent(
        model(structured={"total": 3}), [], response_format=ToolStrategy(Answer), backend=backend
    )
    assert agent.invoke(INPUT)["structured_response"] == Answer(total=3)


class Counted(AgentState):
    """A state with a key of the user's."""

    count: int


def test_a_state_of_the_users_own(backend):
    @tool
    def count(runtime: ToolRuntime) -> str:
        """Read the state."""
        return str(runtime.state["count"])

    agent = create_agent(model(("count", {})), [count], state_schema=Counted, backend=backend)
    assert agent.invoke({**INPUT, "count": 7})["messages"][-1].content == "answer: 7"


def test_an_agent_is_a_node_of_our_graphs(backend):
    from distgraph import START, MessagesState, StateGraph

    agent = create_agent(model(ADD), TOOLS, name="adder")
    graph = StateGraph(MessagesState).add_node("adder", agent).add_edge(START, "adder")
    chunks = list(
        graph.compile(backend=backend).stream(INPUT, stream_mode="updates", subgraphs=True)
    )
    assert [(len(ns), *payload) for ns, payload in chunks] == [
        (1, "model"),
        (1, "tools"),
        (1, "model"),
        (0, "adder"),
    ]


def test_an_agent_inside_a_tool_streams_under_its_namespace(backend):
    inner = create_agent(model(ADD, prefix="inner "), [add], backend=backend)

    @tool
    def ask_another() -> str:
        """Run an agent."""
        return str(inner.invoke(INPUT)["messages"][-1].content)

    agent = create_agent(model(("ask_another", {})), [ask_another], backend=backend)
    chunks = list(agent.stream(INPUT, stream_mode=["updates", "messages"], subgraphs=True))
    nodes = [(ns[0].split(":")[0] if ns else "", *p) for ns, m, p in chunks if m == "updates"]
    inside = [("tools", "model"), ("tools", "tools"), ("tools", "model")]
    assert nodes == [("", "model"), *inside, ("", "tools"), ("", "model")]
    said = "".join(
        p[0].content for ns, m, p in chunks if m == "messages" and ns and p[0].type != "tool"
    )
    assert said == "inner 3"


def test_a_checkpointer_keeps_the_conversation():
    agent = create_agent(model(), TOOLS, backend="local", checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "one")]}, config)
    said = agent.invoke({"messages": [("user", "two")]}, config)["messages"]
    assert [m.content for m in said if m.type == "human"] == ["one", "two"]


def test_ray_options_name_nodes_and_tools():
    options = {"model": {"num_cpus": 0.5}, "add": {"num_cpus": 2, "timeout": 5}}
    agent = create_agent(model(), TOOLS, backend="local", ray_options=options)
    assert agent.spec.nodes["model"].ray_options == {"num_cpus": 0.5}
    split = agent.spec.nodes["tools"].split
    assert split is not None
    assert (split.options("add").ray_options, split.options("add").timeout) == ({"num_cpus": 2}, 5)
    with pytest.raises(ValueError, match=r"no node or tool 'ad'\. Did you mean 'add'\?"):
        create_agent(model(), TOOLS, backend="local", ray_options={"ad": {}})


@pytest.mark.skipif(
    OurToolRuntime is not ToolRuntime,
    reason="LangGraph's ToolRuntime has fewer fields than distgraph's in this version",
)
def test_our_annotations_are_langgraphs_where_it_is_installed(backend):
    @tool
    def count(
        a: int,
        runtime: OurToolRuntime,
        messages: Annotated[list[Any], InjectedState("messages")],
        store: Annotated[Any, InjectedStore()],
    ) -> str:
        """Count."""
        store.put(("counts",), "a", {"a": a})
        found = store.get(("counts",), "a").value["a"]
        return f"{found} {len(runtime.state['messages'])} {len(messages)} {runtime.tool_call_id}"

    graph = theirs.create_agent(model(("count", {"a": 5})), [count], store=InMemoryStore())
    distributed = distribute(graph, backend=backend)
    call, answer, *_ = distributed.invoke(INPUT)["messages"][1:]
    assert answer.content == f"5 2 2 {call.tool_calls[0]['id']}"
