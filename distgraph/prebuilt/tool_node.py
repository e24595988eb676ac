"""``ToolNode``: runs the tool calls of a model's message, each on a worker of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

from langchain_core.runnables import Runnable
from langchain_core.runnables.config import (
    RunnableConfig,
    ensure_config,
    get_config_list,
    get_executor_for_config,
)
from langchain_core.tools import BaseTool
from pydantic import ValidationError

from distgraph._internal.missing import MISSING
from distgraph.concurrency.threads import in_thread
from distgraph.contract.spec import PartOptions
from distgraph.errors import ParentCommand
from distgraph.interop import own
from distgraph.langgraphs.vocabulary import READ, RUNTIME
from distgraph.placement import ToolOptions
from distgraph.prebuilt.class_tools import made_tool, tool_name
from distgraph.prebuilt.injection import Injected, inject, injected_args
from distgraph.prebuilt.invoking import AWAITING, IN_PLACE, Face, on_a_loop, without_loop
from distgraph.prebuilt.markers import InjectedState, InjectedStore, ToolRuntime
from distgraph.prebuilt.options import Forms, forms_of, part_options, tool_options
from distgraph.prebuilt.requests import AsyncToolCallWrapper, ToolCallRequest, ToolCallWrapper
from distgraph.prebuilt.split import ToolPart, ToolSplit, timeout_text
from distgraph.prebuilt.tool_calls import (
    Calls,
    Kind,
    combined,
    find_calls,
    normalised,
    unknown_tool,
)
from distgraph.prebuilt.tool_errors import (
    HandleToolErrors,
    ToolInvocationError,
    error_message,
    handled,
    is_bubble,
    model_errors,
    on_invocation_errors,
)
from distgraph.runtime import Runtime
from distgraph.spans import tool_span
from distgraph.types import Command
from distgraph.worker.context import TaskContext, active_task
from distgraph.worker.deadline import Clock, run_abandonably

__all__ = (
    "InjectedState",
    "InjectedStore",
    "ToolCallRequest",
    "ToolInvocationError",
    "ToolNode",
    "ToolRuntime",
    "tools_condition",
)


class ToolNode(Runnable[Any, Any]):
    """A node that runs the tool calls of the last model message.

    In a graph each tool call is a task of its own, with its own placement, timeout and
    cancellation; the call carries the state only if its tool reads the state. The tool messages are
    one update, in the order of the calls. Outside of a graph, ``invoke`` runs the calls in threads,
    ``ainvoke`` in coroutines.

    Args:
        tools: Tools, functions, or classes with a ``__call__``: a class is constructed once per
            worker of a pool, and its call is the tool.
        name: The node's default name.
        tags: Stored for the caller's own use.
        handle_tool_errors: Controls which tool errors are returned to the model, as a
            ``ToolMessage`` of status "error": all (True, or a text to return), those of an
            exception type or a tuple of types, those that a handler's parameter is annotated with
            (the handler makes the text), or none (False). Others fail the node. Default: arguments
            that do not fit the schema.
        messages_key: Key of the state that holds the messages.
        wrap_tool_call: ``wrapper(request, execute)``, called around each tool call.
        awrap_tool_call: Async variant. A tool that is only synchronous, with this wrapper
            alone, still gets a core of its own.
        ray_options: Options of the calls, by tool name: as for a node, and ``timeout``
            (seconds that a call may take before the call is cancelled with an error message) and
            ``max_concurrency`` (calls of the tool at once in one run); for a class,
            ``concurrency`` (workers of its pool). A tool can carry these itself, see ``placed``.

    Raises:
        ValueError: ``ray_options`` names an unknown tool or option, or a bad value; or a
            tool is none.
        TypeError: ``tools`` is no list.

    Input: a state with messages, a list of messages, a list of tool calls, or one tool call with
    its state (``{"__type": "tool_call_with_context", "tool_call": …, "state": …}``).

    Output: ``{messages_key: [ToolMessage, …]}``, the bare list for a list of messages; where a
    tool returned a ``Command``, a list of such updates and commands.
    """

    name: str | None = "tools"

    def __init__(
        self,
        tools: Sequence[BaseTool | Callable[..., Any]],
        *,
        name: str = "tools",
        tags: list[str] | None = None,
        handle_tool_errors: HandleToolErrors = on_invocation_errors,
        messages_key: str = "messages",
        wrap_tool_call: ToolCallWrapper | None = None,
        awrap_tool_call: AsyncToolCallWrapper | None = None,
        ray_options: Mapping[str, ToolOptions] | None = None,
    ) -> None:
        if not isinstance(tools, Iterable):
            raise TypeError(f"ToolNode takes a list of tools, got {type(tools).__name__}")
        self.name = name
        self.tags = tags
        self._handle_tool_errors = handle_tool_errors
        self._messages_key = messages_key
        self._wrap = wrap_tool_call
        self._awrap = awrap_tool_call
        made = [made_tool(t, (ray_options or {}).get(tool_name(t))) for t in tools]
        self._tools = {tool.name: tool for tool in made}
        self._injected = {key: injected_args(tool) for key, tool in self._tools.items()}
        options = tool_options(self._tools, ray_options, name)
        self._how = {key: self._options(key, options[key]) for key in self._tools}

    @property
    def tools_by_name(self) -> dict[str, BaseTool]:
        """The node's tools."""
        return self._tools

    def _options(self, key: str, options: Mapping[str, Any]) -> PartOptions:
        return part_options(f"{self.name}.{key}", options, self._forms(self._tools[key]))

    def _forms(self, tool: BaseTool | None) -> Forms:
        return forms_of(tool, wrap=self._wrap is not None, awrap=self._awrap is not None)

    # --- as a Runnable, by itself or as a node that runs whole ---

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the tool calls in ``input``: several calls in threads, a single call in this thread.

        An asynchronous tool runs on an event loop. A call over its timeout is abandoned.
        """
        found, runtimes = self._prepared(input, config, kwargs)
        turns = _turns(self._how, threading.BoundedSemaphore)

        def one(call: dict[str, Any], runtime: ToolRuntime[Any, Any]) -> Any:
            with turns.get(call["name"], nullcontext()):
                return self._in_place(call, found.kind, runtime)

        if len(found.calls) == 1:
            outputs = [one(found.calls[0], runtimes[0])]
        else:
            with get_executor_for_config(config) as executor:
                outputs = list(executor.map(one, found.calls, runtimes))
        return combined(outputs, found.kind, self._messages_key)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the tool calls in ``input`` concurrently. A call over its timeout is cancelled."""
        found, runtimes = self._prepared(input, config, kwargs)
        turns = _turns(self._how, asyncio.BoundedSemaphore)

        async def one(call: dict[str, Any], runtime: ToolRuntime[Any, Any]) -> Any:
            async with turns.get(call["name"], nullcontext()):
                seconds, how = self._seconds(call), self._how.get(call["name"])
                if how is not None and seconds is not None and not how.is_async:
                    return await in_thread(self._in_place, call, found.kind, runtime)
                answer = asyncio.ensure_future(self._answer(call, found.kind, runtime, AWAITING))
                try:
                    await asyncio.wait({answer}, timeout=seconds)
                finally:
                    answer.cancel()
                if seconds is not None and not answer.done():
                    return self._late(call, seconds)
                return answer.result()

        outputs = await asyncio.gather(*map(one, found.calls, runtimes))
        return combined(outputs, found.kind, self._messages_key)

    def _in_place(self, call: dict[str, Any], kind: Kind, runtime: ToolRuntime[Any, Any]) -> Any:
        """Run a call in this thread; with a timeout, in a thread that is abandoned after the
        timeout."""
        answer = partial(self._answer, call, kind, runtime, IN_PLACE)
        seconds = self._seconds(call)
        if seconds is None:
            return without_loop(answer())
        clock = Clock(seconds, None)
        clock.start()
        done = run_abandonably(lambda: _outcome(answer), clock, lambda: None)
        return self._late(call, seconds) if done is None else _value(done)

    def _seconds(self, call: Mapping[str, Any]) -> float | None:
        how = self._how.get(call["name"])
        return None if how is None else how.timeout

    def _late(self, call: Mapping[str, Any], seconds: float) -> Any:
        return error_message(call, timeout_text(call["name"], seconds))

    def _prepared(
        self, input: Any, config: RunnableConfig | None, given: Mapping[str, Any]
    ) -> tuple[Calls, list[ToolRuntime[Any, Any]]]:
        found = find_calls(input, self._messages_key)
        whole = ensure_config(config)
        around: Any = _runtime_around(whole)
        state = _read_state(whole) if found.state is None else found.state
        configs = get_config_list(whole, len(found.calls))
        store = given.get("store", around.store)
        return found, [
            self._tool_runtime(call, state, own_config, around, store)
            for call, own_config in zip(found.calls, configs, strict=True)
        ]

    def _tool_runtime(
        self, call: Mapping[str, Any], state: Any, config: Any, around: Any, store: Any
    ) -> ToolRuntime[Any, Any]:
        return ToolRuntime(
            state=state,
            context=around.context,
            config=config,
            stream_writer=around.stream_writer,
            tool_call_id=call["id"],
            store=store,
            tools=list(self._tools.values()),
            execution_info=getattr(around, "execution_info", None),
            server_info=getattr(around, "server_info", None),
        )

    # --- as a node whose tool calls are tasks ---

    def distgraph_split(self) -> ToolSplit:
        """Return the split of the node's work into parts."""
        stateful = {key for key, injected in self._injected.items() if injected.reads_state}
        other = None
        if self._wrap is not None or self._awrap is not None:
            # a wrapper may read the state, and may return a message for an unknown tool
            stateful = set(self._tools)
            other = part_options(str(self.name), {}, self._forms(None))
        return ToolSplit(
            names=tuple(self._tools),
            messages_key=self._messages_key,
            how=self._how,
            stateful=frozenset(stateful),
            other=other,
        )

    def distgraph_part(self, input: ToolPart, state: Any, context: TaskContext) -> Any:
        """Answer one tool call in the attempt that this process runs."""
        if input.state is not MISSING:
            state = input.state
        config: Any = context.config
        runtime = self._tool_runtime(
            input.call,
            {} if state is None else state,
            ensure_config(config),
            context.runtime,
            context.store,
        )
        face = AWAITING if context.request.is_async else IN_PLACE
        answer = _addressed(self._answer(input.call, input.kind, runtime, face))
        return answer if face.is_async else without_loop(answer)

    # --- one tool call ---

    async def _answer(
        self, call: dict[str, Any], kind: Kind, runtime: ToolRuntime[Any, Any], face: Face
    ) -> Any:
        """Run a tool call with what wraps it."""
        request = ToolCallRequest(call, self._tools.get(call["name"]), runtime.state, runtime)
        if self._wrap is None and self._awrap is None:
            return await self._execute(request, kind, face)
        try:
            return own(await self._wrapped(request, kind, face))
        except Exception as error:
            if is_bubble(error):
                raise
            text = handled(error, self._handle_tool_errors, by_type=False)
            if text is None:
                raise
            return error_message(request.tool_call, text)

    async def _wrapped(self, request: ToolCallRequest, kind: Kind, face: Face) -> Any:
        def execute(request: ToolCallRequest) -> Any:
            return without_loop(self._execute(request, kind, IN_PLACE))

        async def aexecute(request: ToolCallRequest) -> Any:
            return await self._execute(request, kind, AWAITING)

        if self._awrap is not None and (face.is_async or self._wrap is None):
            wrapped: Awaitable[Any] = self._awrap(request, aexecute)
            return await wrapped if face.is_async else on_a_loop(_awaited(wrapped))
        assert self._wrap is not None
        if face.is_async:
            return await in_thread(self._wrap, request, execute)
        return self._wrap(request, execute)

    async def _execute(self, request: ToolCallRequest, kind: Kind, face: Face) -> Any:
        """Run a tool; errors become tool messages as ``handle_tool_errors`` says."""
        call, tool = request.tool_call, request.tool
        if tool is None:
            if call["name"] not in self._tools:
                return unknown_tool(call, list(self._tools))
            raise TypeError(
                f"The request for tool {call['name']!r} has no tool: a wrapper must leave it there "
                "or set another, request.override(tool=...)"
            )
        injected = self._injected.get(call["name"])
        if injected is None:
            injected = injected_args(tool)  # a tool that only the wrapper knows
        given = inject(call, injected, request.runtime, self._messages_key)
        try:
            response = await self._invoke(tool, given, call, injected, request.runtime.config, face)
            return normalised(response, call, kind, self._messages_key)
        except Exception as error:
            if is_bubble(error):
                raise
            text = handled(error, self._handle_tool_errors)
            if text is None:
                raise
            return error_message(call, text)

    async def _invoke(
        self,
        tool: BaseTool,
        given: dict[str, Any],
        call: Mapping[str, Any],
        injected: Injected,
        config: Any,
        face: Face,
    ) -> Any:
        task = active_task(config)
        try:
            with tool_span(None if task is None else task.request.trace, call):
                return await face.invoke(tool, {**given, "type": "tool_call"}, config)
        except ValidationError as error:
            if is_bubble(error):  # a resume value that does not fit, not the arguments of the tool
                raise
            mine = model_errors(error, injected)
            raise ToolInvocationError(call["name"], error, call["args"], mine) from error


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def _addressed(answer: Coroutine[Any, Any, Any]) -> Any:
    """Await a result; a ``Command`` of a graph that the tool ran is addressed to this node's
    graph."""
    try:
        return await answer
    except ParentCommand as bubble:
        return Command(update=bubble.command.update, goto=bubble.command.goto)


def _turns(how: Mapping[str, PartOptions], make: Callable[[int], Any]) -> dict[str, Any]:
    return {
        key: make(options.max_concurrency)
        for key, options in how.items()
        if options.max_concurrency is not None
    }


def _outcome(answer: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, BaseException | None]:
    try:
        return without_loop(answer()), None
    except BaseException as error:
        return None, error


def _value(done: tuple[Any, BaseException | None]) -> Any:
    value, error = done
    if error is not None:
        raise error
    return value


def _runtime_around(config: Mapping[str, Any]) -> Any:
    """Return the runtime of the node that this runs in, or an empty one outside of any."""
    task = active_task(config)
    if task is not None:
        return task.runtime
    return config.get("configurable", {}).get(RUNTIME) or Runtime()


def _read_state(config: Mapping[str, Any]) -> Any:
    """Read the state for tool calls that came without it: LangGraph's engine offers that."""
    read = config.get("configurable", {}).get(READ)
    return {} if read is None else read(list(read.args[1]), True)


def tools_condition(state: Any, messages_key: str = "messages") -> Literal["tools", "__end__"]:
    """Return the node after a model: "tools" if its message has tool calls, else ``END``.

    Args:
        state: A state with messages, or a list of messages.
        messages_key: Key of the state that holds the messages.

    Raises:
        ValueError: There are no messages.
    """
    if isinstance(state, list):
        messages: Any = state
    elif isinstance(state, Mapping):
        messages = state.get(messages_key)
    else:
        messages = getattr(state, messages_key, None)
    if not messages:
        raise ValueError(
            f"No messages found in input state to tool_edge: {state!r}. The state needs messages "
            f"under {messages_key!r}"
        )
    return "tools" if getattr(messages[-1], "tool_calls", None) else "__end__"
