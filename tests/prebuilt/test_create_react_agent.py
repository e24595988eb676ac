"""``create_react_agent`` streams and returns what LangGraph's does."""

import operator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel
from typing_extensions import TypedDict

from distgraph.contract.spec import PartOptions
from distgraph.prebuilt import ToolNode, create_react_agent
from distgraph.prebuilt.chat_agent_executor import AgentState, AgentStatePydantic
from tests.prebuilt import tools as t
from tests.prebuilt.support import LANGGRAPH, prebuilt, react, same_stream
from tests.support.engines import DISTRIBUTED
from tests.support.models import CallingModel, EchoModel, WholeModel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HI = {"messages": [HumanMessage("2+3?", id="in")]}
ADD = ("add", {"a": 2, "b": 3})
MODES = ["updates", "values", "messages"]
VERSIONS = ["v1", "v2"]


def adding(*calls, **options):
    return CallingModel(calls=list(calls or [ADD]), **options)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_the_loop(differ, version, mode):
    same_stream(
        differ,
        lambda ns: react(ns, adding(), [t.add], version=version),
        HI,
        stream_mode=mode,
    )


def test_the_loop_exactly(engine):
    chunks = list(engine.compile(react(engine, adding(), [t.add])).stream(HI))
    assert [list(chunk) for chunk in chunks] == [["agent"], ["tools"], ["agent"]]
    (asking,), (answer,), (final,) = (next(iter(c.values()))["messages"] for c in chunks)
    assert [(c["name"], c["args"]) for c in asking.tool_calls] == [ADD]
    assert (answer.content, answer.tool_call_id) == ("5", "call_0_0")
    assert final.content == "answer: 5"


def test_tool_call_chunks_exactly(engine):
    built = engine.compile(react(engine, adding(), [t.add]))
    chunks = list(built.stream(HI, stream_mode="messages"))
    asked = [m.tool_call_chunks for m, meta in chunks if getattr(m, "tool_call_chunks", None)]
    assert [(c["name"], c["args"]) for (c,) in asked] == [
        ("add", ""),
        *[(None, piece) for piece in ('{"a":', " ", "2,", " ", '"b":', " ", "3}")],
    ]
    nodes = [meta["langgraph_node"] for m, meta in chunks if m.content]
    assert nodes == ["tools", "agent", "agent", "agent"]


@pytest.mark.parametrize("version", VERSIONS)
def test_several_calls_in_several_rounds(differ, version):
    model = adding(ADD, ("aadd", {"a": 1, "b": 1}), ("nope", {}), rounds=2)
    same_stream(
        differ,
        lambda ns: react(ns, model, [t.add, t.aadd], version=version),
        HI,
        stream_mode=["updates", "messages"],
        parallel=version == "v2",
        reference_face="async",
    )


INPUTS = {
    "str": {"messages": "2+3?"},
    "tuple": {"messages": ("user", "2+3?")},
    "dicts": {"messages": [{"role": "user", "content": "2+3?"}]},
    "open calls": {
        "messages": [
            HumanMessage("hi", id="1"),
            AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "x"}], id="2"),
            HumanMessage("and?", id="3"),
        ]
    },
}


@pytest.mark.parametrize("what", ["str", "tuple", "dicts"])
def test_inputs(differ, what):
    same_stream(
        differ, lambda ns: react(ns, adding(), [t.add]), INPUTS[what], stream_mode=MODES[:2]
    )


def test_a_call_without_its_answer_is_an_error(engine):
    built = engine.compile(react(engine, adding(), [t.add]))
    with pytest.raises(ValueError, match="do not have a corresponding ToolMessage"):
        built.invoke(INPUTS["open calls"])


def by_function(state):
    return [SystemMessage("function"), *state["messages"]]


def by_function_with_config(state, config):
    return [SystemMessage(config["metadata"]["langgraph_node"]), *state["messages"]]


async def by_coroutine(state):
    return [SystemMessage("coroutine"), *state["messages"]]


PROMPTS = {
    "str": "be brief",
    "message": SystemMessage("be brief"),
    "function": by_function,
    "with config": by_function_with_config,
    "runnable": RunnableLambda(by_function),
}


class Reading(EchoModel):
    """Answers with the texts of all that it was given."""

    def reply(self, messages: Any) -> str:
        return " / ".join(m.text for m in messages)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[{"type": "function", "function": {"name": x.name}} for x in tools])


@pytest.mark.parametrize("what", PROMPTS)
def test_prompts(differ, what):
    outcome = same_stream(
        differ,
        lambda ns: react(ns, Reading(), [t.add], prompt=PROMPTS[what]),
        HI,
        stream_mode=["updates", "messages"],
    )
    (_, (first, _)), *_ = outcome.chunks
    assert first.content in ("be", "function", "agent")


def faces_for_coroutines(differ):
    """LangGraph's agent has a sync form, which cannot call a coroutine function."""
    return ("async",) if differ.contender.name == DISTRIBUTED else ("sync", "async")


def test_an_async_prompt(differ):
    same_stream(
        differ,
        lambda ns: react(ns, Reading(), [t.add], prompt=by_coroutine),
        HI,
        faces=faces_for_coroutines(differ),
        reference_face="async",
    )


def test_no_tools(differ):
    same_stream(differ, lambda ns: react(ns, Reading(), [], prompt="p"), HI, stream_mode=MODES)


class Answer(BaseModel):
    """The sum."""

    total: int


FORMATS = {"schema": Answer, "with a prompt": ("tell the sum", Answer)}


@pytest.mark.parametrize("what", FORMATS)
@pytest.mark.parametrize("tools", [[t.add], []], ids=["tools", "no tools"])
def test_a_response_format(differ, what, tools):
    outcome = same_stream(
        differ,
        lambda ns: react(
            ns,
            adding(structured={"total": 5}, rounds=len(tools)),
            tools,
            response_format=FORMATS[what],
        ),
        HI,
        stream_mode=["updates", "messages"],
    )
    assert outcome.chunks[-1] == (
        "updates",
        {"generate_structured_response": {"structured_response": Answer(total=5)}},
    )


def trims(state):
    return {"llm_input_messages": state["messages"][-1:]}


def rewrites(state):
    from langgraph.graph.message import REMOVE_ALL_MESSAGES

    return {
        "messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *state["messages"]],
    }


# with a pydantic state the reference insists on llm_input_messages
@pytest.mark.parametrize(
    ("hook", "schema"), [(trims, "default"), (rewrites, "default"), (trims, "pydantic")]
)
def test_a_pre_model_hook(differ, hook, schema):
    def build(ns):
        states = ns.module("prebuilt.chat_agent_executor")
        return react(
            ns,
            Reading(),
            [t.add],
            pre_model_hook=hook if schema == "default" else pydantic_hook(hook),
            state_schema=None if schema == "default" else states.AgentStatePydantic,
        )

    given = {"messages": [HumanMessage("one", id="1"), HumanMessage("two", id="2")]}
    outcome = same_stream(differ, build, given, stream_mode=["updates"])
    said = outcome.chunks[-1][1]["agent"]["messages"][0].content
    assert said == ("two" if hook is trims else "one / two")


def pydantic_hook(hook):
    def run(state):
        return hook({"messages": state.messages})

    return run


def moderates(state):
    return {"messages": [AIMessage("moderated", id=state["messages"][-1].id)]}


def looks(state):
    return {"seen": [type(state["messages"][-1]).__name__]}


@pytest.mark.parametrize("hook", [moderates, looks])
@pytest.mark.parametrize("response_format", [None, Answer], ids=["plain", "structured"])
@pytest.mark.parametrize("tools", [[t.add], []], ids=["tools", "no tools"])
def test_a_post_model_hook(differ, hook, response_format, tools):
    def build(ns):
        states = ns.module("prebuilt.chat_agent_executor")
        base = states.AgentStateWithStructuredResponse if response_format else states.AgentState

        class State(base):
            seen: Annotated[list, operator.add]

        return react(
            ns,
            adding(structured={"total": 5}, rounds=len(tools)),
            tools,
            post_model_hook=hook,
            state_schema=State,
            response_format=response_format,
        )

    same_stream(differ, build, HI, stream_mode=["updates", "values"])


@tool(return_direct=True)
def direct(a: int, b: int) -> str:
    """Answer directly."""
    return f"directly {a + b}"


DIRECT = ("direct", {"a": 2, "b": 3})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("calls", [[DIRECT], [DIRECT, ADD], [ADD, DIRECT], [ADD]], ids=str)
def test_return_direct(differ, version, calls):
    same_stream(
        differ,
        lambda ns: react(ns, adding(*calls), [t.add, direct], version=version),
        HI,
        parallel=True,
    )


@pytest.mark.parametrize("limit", range(1, 7))
@pytest.mark.parametrize("tools", [[t.add], [direct]], ids=["tool", "return_direct"])
def test_remaining_steps(differ, limit, tools):
    call = (tools[0].name, {"a": 2, "b": 3})
    same_stream(
        differ,
        lambda ns: react(ns, adding(call, rounds=99), tools),
        HI,
        config={"recursion_limit": limit},
    )


def test_a_state_of_ones_own(differ):
    def build(ns):
        class State(TypedDict):
            messages: Annotated[list[AnyMessage], ns.add_messages]
            remaining_steps: ns.RemainingSteps
            foo: str

        model = adding(("key", {"x": 1}), ("update", {"x": 2}))
        tools = [*t.with_state(ns), *t.with_commands(ns)]
        return react(ns, model, tools, state_schema=State)

    same_stream(differ, build, {**HI, "foo": "bar"}, parallel=True, stream_mode="updates")


@dataclass
class Context:
    prefix: str


def chooses(state, runtime):
    return CallingModel(calls=[ADD], prefix=f"{runtime.context.prefix}: ").bind_tools([t.add])


async def achooses(state, runtime):
    return chooses(state, runtime)


@pytest.mark.parametrize("choose", [chooses, achooses])
def test_a_model_chosen_at_run_time(differ, choose):
    outcome = same_stream(
        differ,
        lambda ns: react(ns, choose, [t.add], context_schema=Context),
        HI,
        context=Context("chosen"),
        faces=faces_for_coroutines(differ) if choose is achooses else ("sync", "async"),
        reference_face="async" if choose is achooses else None,
    )
    assert outcome.chunks[-1]["agent"]["messages"][0].content == "chosen: 5"


MODELS = {
    "bound": lambda: adding().bind_tools([t.add]),
    "a chain": lambda: RunnableLambda(lambda messages: messages) | adding().bind_tools([t.add]),
    "tagged": lambda: adding(tags=["mine"], metadata={"purpose": "test"}),
    "nostream": lambda: adding(tags=["nostream"]),
    "disable_streaming": lambda: adding(disable_streaming=True),
    "tools are not streamed": lambda: adding(disable_streaming="tool_calling"),
}


@pytest.mark.parametrize("what", MODELS)
def test_models(differ, what):
    same_stream(
        differ,
        lambda ns: react(ns, MODELS[what](), [t.add]),
        HI,
        stream_mode=["messages", "updates"],
    )


def test_a_name(differ):
    same_stream(
        differ,
        lambda ns: react(ns, adding(), [t.add], name="helper"),
        HI,
        stream_mode=["updates", "messages"],
    )


def test_agents_as_subgraphs(differ):
    def build(ns):
        make = prebuilt(ns).create_react_agent
        first = make(adding(prefix="first: "), [t.add], name="first")
        second = make(Reading(), [], name="second")
        builder = ns.StateGraph(ns.MessagesState).add_node(first).add_node(second)
        return builder.add_edge(ns.START, "first").add_edge("first", "second")

    same_stream(differ, build, HI, stream_mode=["updates", "messages"], subgraphs=True)


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
def test_breakpoints(differ, where):
    same_stream(
        differ,
        lambda ns: react(ns, adding(), [t.add], **{where: ["tools"]}),
        HI,
        stream_mode=["updates", "values"],
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tool_node_is_taken_as_it_is(differ, version):
    same_stream(
        differ,
        lambda ns: react(
            ns,
            adding(("fails", {"reason": "gone"})),
            prebuilt(ns).ToolNode([t.fails], handle_tool_errors="it broke"),
            version=version,
        ),
        HI,
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("mode", ["updates", "messages"])
def test_langgraphs_tool_node_in_an_agent_of_ours(differ, version, mode):
    """It says itself how errors are told, and what it wraps; a tool of its asks for the state."""
    calls = [("fails", {"reason": "x"}), ("with_state", {"x": 1}), ("unknown", {})]

    def wrap(request, execute):
        message = execute(request)
        return message.model_copy(update={"content": f"<{message.content}>"})

    def build(ns):
        tools = [t.fails, *t.with_state(LANGGRAPH)[:1]]
        node = prebuilt(LANGGRAPH).ToolNode(
            tools, handle_tool_errors="it broke", wrap_tool_call=wrap
        )
        return react(ns, CallingModel(calls=calls), node, version=version)

    parallel = version == "v2"
    same_stream(differ, build, HI, stream_mode=mode, parallel=parallel)


def test_langgraphs_tool_node_is_placed_by_tool():
    node = prebuilt(LANGGRAPH).ToolNode([t.add, t.fails])
    built = create_react_agent(
        adding(), node, ray_options={"tools": {"num_cpus": 1}, "fails": {"timeout": 2}}
    )
    split = built.spec.nodes["tools"].split
    assert split.options("add") == PartOptions(ray_options={"num_cpus": 1})
    assert split.options("fails") == PartOptions(ray_options={"num_cpus": 1}, timeout=2.0)
    with pytest.raises(ValueError, match="names 'ad', which is neither a node nor a tool"):
        create_react_agent(adding(), node, ray_options={"ad": {}})


def test_drawings_are_the_same():
    def drawn(ns_prebuilt, **more):
        agent = ns_prebuilt.create_react_agent(
            adding(), [t.add, direct], pre_model_hook=trims, response_format=Answer, **more
        )
        return agent.get_graph().draw_mermaid()

    import langgraph.prebuilt

    import distgraph.prebuilt

    assert drawn(distgraph.prebuilt, backend="local") == drawn(langgraph.prebuilt)


class TestErrors:
    def test_an_unknown_version(self):
        with pytest.raises(ValueError, match="Invalid version v3"):
            create_react_agent(adding(), [t.add], version="v3")

    def test_a_state_without_the_keys(self):
        class State(TypedDict):
            messages: list

        with pytest.raises(ValueError, match=r"Missing required key\(s\) \{'remaining_steps'\}"):
            create_react_agent(adding(), [t.add], state_schema=State)

    def test_a_structured_state_without_its_key(self):
        for schema in (AgentState, AgentStatePydantic):
            with pytest.raises(ValueError, match="structured_response"):
                create_react_agent(adding(), [], state_schema=schema, response_format=Answer)

    def test_other_tools_are_bound(self):
        with pytest.raises(ValueError, match="Number of tools"):
            create_react_agent(adding().bind_tools([t.add]), [t.add, t.aadd])
        with pytest.raises(ValueError, match="Missing tools"):
            create_react_agent(adding().bind_tools([t.aadd]), [t.add])

    def test_a_prompt_that_is_none(self):
        with pytest.raises(ValueError, match="Got unexpected type for `prompt`"):
            create_react_agent(adding(), [t.add], prompt=5)

    def test_no_chat_model_for_the_structured_answer(self):
        model = RunnableLambda(lambda messages: AIMessage("hi"))
        agent = create_react_agent(model, [], response_format=Answer, backend="local")
        with pytest.raises(TypeError, match="Expected `model` to be a ChatModel"):
            agent.invoke(HI)

    def test_ray_options_of_nobody(self):
        with pytest.raises(ValueError, match=r"'agnet'.*Did you mean 'agent'\?"):
            create_react_agent(adding(), [t.add], ray_options={"agnet": {"num_cpus": 1}})

    def test_ray_options_of_a_tool_node(self):
        with pytest.raises(ValueError, match="to the ToolNode"):
            create_react_agent(adding(), ToolNode([t.add]), ray_options={"tools": {"num_cpus": 1}})


def test_ray_options_reach_nodes_and_tools():
    agent = create_react_agent(
        adding(),
        [t.add, t.aadd],
        ray_options={
            "agent": {"num_cpus": 2},
            "tools": {"timeout": 9},
            "add": {"num_gpus": 1, "timeout": 3},
        },
        backend="local",
    )
    nodes = agent.spec.nodes
    assert nodes["agent"].ray_options == {"num_cpus": 2}
    add, aadd = (nodes["tools"].split.options(name) for name in ("add", "aadd"))
    assert (add.ray_options, add.timeout, add.is_async) == ({"num_gpus": 1}, 3.0, False)
    assert (aadd.ray_options, aadd.timeout, aadd.is_async) == ({}, 9.0, True)


def test_a_sync_only_model_streams_from_the_async_node(differ):
    same_stream(differ, lambda ns: react(ns, WholeModel(), []), HI, stream_mode="messages")
