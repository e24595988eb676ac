"""LangChain's ``create_agent``, run by distgraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict, Unpack

from distgraph.errors import MissingExtraError
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.langgraphs.distribute import distribute
from distgraph.placement import ToolOptions

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import SystemMessage
    from langchain_core.tools import BaseTool
    from langgraph.cache.base import BaseCache
    from langgraph.store.base import BaseStore

    from distgraph.backends.base import Backend, BackendName
    from distgraph.event_streams import Transformers
    from distgraph.types import Checkpointer

__all__ = ("create_agent",)


class AgentArguments(TypedDict, total=False):
    """Options of ``langchain.agents.create_agent``, which describes them."""

    system_prompt: str | SystemMessage | None
    middleware: Sequence[AgentMiddleware[Any, Any]]
    response_format: Any
    state_schema: type[Any] | None
    context_schema: type[Any] | None
    checkpointer: Checkpointer
    store: BaseStore | None
    interrupt_before: list[str] | None
    interrupt_after: list[str] | None
    debug: bool
    name: str | None
    cache: BaseCache[Any] | None
    transformers: Transformers | None


def create_agent(
    model: str | BaseChatModel,
    tools: Sequence[BaseTool | Callable[..., Any] | dict[str, Any]] | None = None,
    *,
    backend: BackendName | Backend | None = None,
    ray_options: Mapping[str, ToolOptions] | None = None,
    **options: Unpack[AgentArguments],
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return an agent that calls tools in a loop until its model calls none.

    Takes what ``langchain.agents.create_agent`` takes, which builds it. Its nodes are ``model``,
    ``tools`` and ``<middleware>.before_agent`` … ``after_agent``; each runs as a task of its own,
    and so does each tool call.

    Args:
        model: A chat model, or a name such as "openai:gpt-4o-mini".
        tools: Tools, functions, or dicts of tools that the provider runs.
        backend: "ray", "local", or a backend object. Default: the session's backend.
        ray_options: Ray options by node name or tool name; see ``distribute``.
        options: ``system_prompt``, ``middleware``, ``response_format``, ``state_schema``,
            ``context_schema``, ``checkpointer``, ``store``, ``cache``, ``interrupt_before``,
            ``interrupt_after``, ``debug``, ``name``, ``transformers``, as for LangChain's.

    Raises:
        UnsupportedError: The graph uses a feature that ``distribute`` does not support.
        ValueError: ``ray_options`` are invalid, or name an unknown node or tool.
        MissingExtraError: LangChain is not installed.
        SerializationError: The model, a tool or a middleware cannot be pickled.
    """
    try:
        from langchain.agents import create_agent as build
    except ImportError as error:
        raise MissingExtraError(
            "distgraph.agents.create_agent builds its graph with LangChain and needs it: "
            "pip install 'distgraph[agents]'"
        ) from error
    return distribute(build(model, tools, **options), ray_options=ray_options, backend=backend)
