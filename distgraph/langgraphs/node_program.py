"""A LangGraph node on a worker: its ``Runnable``, and the node's writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distgraph.contract.spec import Reader, Write
from distgraph.interop import theirs
from distgraph.langgraphs.vocabulary import READ, SEND
from distgraph.worker.langgraph_config import own_writes, reading
from distgraph.worker.sequences import ainvoke_steps, invoke_steps

__all__ = ("NodeRunnable", "NodeWriter")


@dataclass(frozen=True)
class NodeRunnable:
    """Runs a node's LangChain ``Runnable`` by its sync or its async method."""

    runnable: Any
    is_async: bool

    def __call__(self, input: Any, context: Any) -> Any:
        if self.is_async:
            return ainvoke_steps(self.runnable, input, context.config)
        return invoke_steps(self.runnable, input, context.config)


@dataclass(frozen=True)
class NodeWriter:
    """One of a node's writers: state updates and commands, edges, or a conditional edge.

    A writer sends its writes, and reads the state, by functions in its config.
    """

    name: str | None
    """Name of the conditional edge, for errors."""
    runnable: Any
    is_async: bool
    has_both_forms: bool = False

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        writes: list[Write] = []
        self.runnable.invoke(theirs(value), _config(context, read, writes))
        return own_writes(writes)

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        writes: list[Write] = []
        await self.runnable.ainvoke(theirs(value), _config(context, read, writes))
        return own_writes(writes)


def _config(context: Any, read: Reader, writes: list[Write]) -> dict[str, Any]:
    configurable = {
        **context.config["configurable"],
        SEND: writes.extend,
        READ: reading(context, read),
    }
    return {**context.config, "configurable": configurable}
