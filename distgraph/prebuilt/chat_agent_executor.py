"""``create_react_agent``: a model that calls tools in a loop until it returns a final message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_type_hints

from langchain_core.language_models import LanguageModelLike
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from typing_extensions import Unpack

from distgraph._internal.adapters import as_node
from distgraph._internal.mistakes import nearest
from distgraph.constants import END
from distgraph.contract.deprecated_arguments import DeprecatedAgentArguments, with_deprecated
from distgraph.graph import StateGraph
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.placement import RayOptions, ToolOptions
from distgraph.prebuilt.agent_model import (
    bound_model,
    chat_model,
    check_history,
    chosen,
    is_dynamic,
    named_model,
    prompt_runnable,
)
from distgraph.prebuilt.agent_state import (
    AgentState,
    AgentStatePydantic,
    AgentStateWithStructuredResponse,
    AgentStateWithStructuredResponsePydantic,
    model_input_schema,
    value_of,
    with_messages,
)
from distgraph.prebuilt.class_tools import tool_name
from distgraph.prebuilt.tool_node import ToolNode
from distgraph.types import Checkpointer, Send

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

    from distgraph.backends.base import Backend, BackendName

__all__ = (
    "AgentState",
    "AgentStatePydantic",
    "AgentStateWithStructuredResponse",
    "AgentStateWithStructuredResponsePydantic",
    "create_react_agent",
    "create_tool_calling_executor",
)

_NODES = ("agent", "tools", "pre_model_hook", "post_model_hook", "generate_structured_response")


class _Agent:
    """The functions of an agent's graph.

    The nodes that call the model are coroutines, whichever way the graph is run: a model is waited
    for, and on a cluster a coroutine waits in a shared process where a function would hold a core.
    Under ``ainvoke`` tokens stream alike, and a model without a coroutine of its own runs in a
    thread there.
    """

    def __init__(
        self,
        *,
        model: Any,
        prompt: Any,
        tools: Sequence[BaseTool],
        builtin: Sequence[Any],
        response_format: Any,
        pre_model_hook: Any,
        post_model_hook: Any,
        version: str,
        name: str | None,
    ) -> None:
        self.dynamic = is_dynamic(model)
        if isinstance(model, str):
            model = named_model(model)
        self.model = model if self.dynamic else bound_model(model, tools, builtin)
        self.prompt = prompt_runnable(prompt)
        self.response_format = response_format
        self.has_pre_hook = pre_model_hook is not None
        self.has_post_hook = post_model_hook is not None
        self.version = version
        self.name = name
        self.entry = "pre_model_hook" if self.has_pre_hook else "agent"
        self.return_direct = frozenset(tool.name for tool in tools if tool.return_direct)

    async def _model(self, state: Any, runtime: Any) -> Any:
        return await chosen(self.model, state, runtime) if self.dynamic else self.model

    async def call_model(self, state: Any, config: RunnableConfig, runtime: Any) -> Any:
        messages = value_of(state, "llm_input_messages") if self.has_pre_hook else None
        messages = messages or value_of(state, "messages")
        if messages is None:
            keys = "'llm_input_messages' or 'messages'" if self.has_pre_hook else "'messages'"
            raise ValueError(f"Expected input to call_model to have {keys} key, but got {state}")
        check_history(messages)
        given = with_messages(state, messages)
        chain = self.prompt | await self._model(state, runtime)
        response = await chain.ainvoke(given, config)
        response.name = self.name
        if self._out_of_steps(state, response):
            sorry = "Sorry, need more steps to process this request."
            response = AIMessage(id=response.id, content=sorry)
        return {"messages": [response]}

    def _out_of_steps(self, state: Any, response: BaseMessage) -> bool:
        left = value_of(state, "remaining_steps")
        if left is None or not isinstance(response, AIMessage):
            return False
        calls = response.tool_calls
        direct = all(call["name"] in self.return_direct for call in calls)
        return (left < 1 and direct) or (left < 2 and bool(calls))

    async def generate_structured_response(
        self, state: Any, config: RunnableConfig, runtime: Any
    ) -> Any:
        schema, messages = self.response_format, list(value_of(state, "messages"))
        if isinstance(schema, tuple):
            system, schema = schema
            messages = [SystemMessage(content=system), *messages]
        model = chat_model(await self._model(state, runtime)).with_structured_output(schema)
        return {"structured_response": await model.ainvoke(messages, config)}

    @property
    def end(self) -> str:
        """The next node after the model's final message."""
        return END if self.response_format is None else "generate_structured_response"

    def should_continue(self, state: Any) -> str | list[Send]:
        last = value_of(state, "messages")[-1]
        if self.has_post_hook:
            return "post_model_hook"
        if not isinstance(last, AIMessage) or not last.tool_calls:
            return self.end
        return "tools" if self.version == "v1" else _sends(last.tool_calls)

    def post_model_hook_router(self, state: Any) -> str | list[Send]:
        messages = value_of(state, "messages")
        answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
        last = next(m for m in reversed(messages) if isinstance(m, AIMessage))
        pending = [call for call in last.tool_calls if call["id"] not in answered]
        if pending:
            return _sends(pending)
        return self.entry if isinstance(messages[-1], ToolMessage) else self.end

    def route_tool_responses(self, state: Any) -> str:
        for message in reversed(value_of(state, "messages")):
            if isinstance(message, ToolMessage):
                if message.name in self.return_direct:
                    return END
                continue
            # the tool that returns directly may have been another task of the same message
            calls = message.tool_calls if isinstance(message, AIMessage) else ()
            return END if any(c["name"] in self.return_direct for c in calls) else self.entry
        return self.entry


def _sends(calls: Sequence[Any]) -> list[Send]:
    # without the state: a tool that reads the state does so on its worker
    return [Send("tools", [call]) for call in calls]


def create_react_agent(
    model: str | LanguageModelLike | Callable[[Any, Any], Any],
    tools: Sequence[BaseTool | Callable[..., Any] | dict[str, Any]] | Runnable[Any, Any],
    *,
    prompt: Any = None,
    response_format: Any = None,
    pre_model_hook: Any = None,
    post_model_hook: Any = None,
    state_schema: Any = None,
    context_schema: type[Any] | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    interrupt_before: list[str] | None = None,
    interrupt_after: list[str] | None = None,
    debug: bool = False,
    version: Literal["v1", "v2"] = "v2",
    name: str | None = None,
    backend: BackendName | Backend | None = None,
    ray_options: Mapping[str, ToolOptions] | None = None,
    **deprecated: Unpack[DeprecatedAgentArguments],
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Create a graph in which a model calls tools until a model message has no tool calls.

    Args:
        model: A chat model, with tools bound to it or not; a name such as "openai:gpt-4o-mini"; or
            a function ``(state, runtime)``, sync or async, that returns the model for each call.
        tools: Tools, functions, dicts of tools that the provider runs, or a ``ToolNode``,
            LangGraph's own included.
        prompt: Text before the messages: a str or a ``SystemMessage``; or the whole input of the
            model: a function of the state or a ``Runnable``.
        response_format: Schema of a final answer, which one more model call writes at the end to
            the state key ``structured_response``: pydantic, TypedDict, JSON schema, or a pair of a
            prompt and one of these.
        pre_model_hook: Node before the model. The node sets ``llm_input_messages``, which the model
            then reads in place of ``messages``, or replaces ``messages``.
        post_model_hook: Node after the model (``version="v2"`` only).
        state_schema: Needs ``messages`` and ``remaining_steps``, with a ``response_format``
            ``structured_response`` too. Default: ``AgentState``.
        context_schema, checkpointer, store, backend: As for ``StateGraph.compile``.
        interrupt_before, interrupt_after, debug, name: As for ``StateGraph.compile``.
        version: "v2": each tool call is a task ``tools`` with an update of its own. "v1": all calls
            of a message are one task. On Ray, both versions run each call on its own worker.
        ray_options: Options by node name or tool name, as for ``StateGraph`` and
            ``ToolNode``; options of ``tools`` apply to every tool.

    Returns: a compiled graph with nodes ``agent`` and ``tools``, and, if requested,
        ``pre_model_hook``, ``post_model_hook`` and ``generate_structured_response``.

    Raises:
        ValueError: An unknown version, a state without the keys, other tools bound to the model
            than those given, or invalid ``ray_options``.
        MissingExtraError: ``model`` is a name and ``langchain`` is not installed.
    """
    if deprecated:
        (context_schema,) = with_deprecated(
            create_react_agent, deprecated, context_schema=context_schema
        )
    if version not in ("v1", "v2"):
        raise ValueError(f"Invalid version {version}. Supported versions are 'v1' and 'v2'.")
    schema = _checked_schema(state_schema, response_format is not None)
    builtin: list[Any] = []
    node: Any
    foreign: Any = None if isinstance(tools, (ToolNode, Sequence)) else as_node(tools)
    if hasattr(foreign, "distgraph_split"):
        options, of_tools = _options(ray_options, list(foreign.tools_by_name.values()))
        node = as_node(tools, of_tools)
    elif not isinstance(tools, (ToolNode, Sequence)):
        raise TypeError(
            f"create_react_agent: `tools` must be a list of tools or a ToolNode, "
            f"got {type(tools).__module__}.{type(tools).__name__}"
        )
    elif not isinstance(tools, ToolNode):
        builtin = [tool for tool in tools if isinstance(tool, dict)]
        own: list[Any] = [tool for tool in tools if not isinstance(tool, dict)]
        options, of_tools = _options(ray_options, own)
        node = ToolNode(own, ray_options=of_tools)
    else:
        options, of_tools = _options(ray_options, ())
        node = tools
        if of_tools or "tools" in options:
            raise ValueError(
                "create_react_agent: give the ray_options of tools to the ToolNode that is given "
                "as `tools`"
            )
    offered = list(node.tools_by_name.values())
    agent = _Agent(
        model=model,
        prompt=prompt,
        tools=offered,
        builtin=builtin,
        response_format=response_format,
        pre_model_hook=pre_model_hook,
        post_model_hook=post_model_hook,
        version=version,
        name=name,
    )
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(schema, context_schema)
    graph.add_node(
        "agent",
        agent.call_model,
        input_schema=model_input_schema(schema) if agent.has_pre_hook else schema,
        ray_options=options.get("agent"),
    )
    if offered:
        graph.add_node("tools", node)
    for key, hook in (("pre_model_hook", pre_model_hook), ("post_model_hook", post_model_hook)):
        if hook is not None:
            graph.add_node(key, hook, ray_options=options.get(key))
    graph.set_entry_point(agent.entry)
    if agent.has_pre_hook:
        graph.add_edge("pre_model_hook", "agent")
    if response_format is not None:
        key = "generate_structured_response"
        graph.add_node(key, agent.generate_structured_response, ray_options=options.get(key))
    (_add_loop if offered else _add_ending)(graph, agent)
    return graph.compile(
        checkpointer=checkpointer,
        store=store,
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
        debug=debug,
        name=name,
        backend=backend,
    )


def _add_loop(graph: StateGraph[Any, Any, Any, Any], agent: _Agent) -> None:
    last = "agent"
    if agent.has_post_hook:
        last = "post_model_hook"
        graph.add_edge("agent", last)
        graph.add_conditional_edges(
            last, agent.post_model_hook_router, [agent.entry, "tools", agent.end]
        )
    else:
        graph.add_conditional_edges("agent", agent.should_continue, ["tools", agent.end])
    if agent.return_direct:
        graph.add_conditional_edges("tools", agent.route_tool_responses, [agent.entry, END])
    else:
        graph.add_edge("tools", agent.entry)


def _add_ending(graph: StateGraph[Any, Any, Any, Any], agent: _Agent) -> None:
    """Add the edges of an agent without tools: a model, and what comes after it."""
    last = "agent"
    if agent.has_post_hook:
        last = "post_model_hook"
        graph.add_edge("agent", last)
    if agent.end != END:
        graph.add_edge(last, agent.end)


def _checked_schema(schema: Any, structured: bool) -> Any:
    if schema is None:
        return AgentStateWithStructuredResponse if structured else AgentState
    wanted = ["messages", "remaining_steps", *(["structured_response"] if structured else [])]
    missing = [key for key in wanted if key not in get_type_hints(schema)]
    if missing:
        raise ValueError(f"Missing required key(s) {set(missing)} in state_schema")
    return schema


def _options(
    ray_options: Mapping[str, ToolOptions] | None, tools: Sequence[Any]
) -> tuple[dict[str, RayOptions], dict[str, ToolOptions]]:
    """Divide ``ray_options`` into those of nodes and those of tools."""
    given = {} if ray_options is None else dict(ray_options)
    names = [tool_name(tool) for tool in tools]
    for key in given:
        if key not in (*_NODES, *names):
            known = (*_NODES, *names)
            raise ValueError(
                f"create_react_agent: ray_options names {key!r}, which is neither a node nor a "
                f"tool.{nearest(key, known)} Known: {', '.join(known)}"
            )
    shared = given.get("tools", {}) if tools else {}
    of_tools = {
        key: cast("ToolOptions", {**shared, **given.get(key, {})})
        for key in names
        if shared or key in given
    }
    return {key: given[key] for key in given if key in _NODES}, of_tools


create_tool_calling_executor = create_react_agent
"""An older name."""
