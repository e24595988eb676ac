"""The attempt that the current code runs in, found by a context variable.

``worker.context`` sets the variable around each attempt. What users call inside a node
(``interrupt``, ``get_runtime``, ``get_config``, …) reads the variable here, so that these functions
need nothing of the worker. A thread that a node starts does not have the variable; as in LangGraph,
the node's config leads to the attempt there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from distgraph._internal.keys import TASK_ID
from distgraph._internal.loaded import loaded

__all__ = ("CurrentTask", "TaskId", "active", "config_around", "current", "current_task")


class CurrentTask(Protocol):
    """What the code of a node can ask of its attempt."""

    over: bool
    """Whether its code has ended."""

    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def writer(self) -> Callable[[Any], None]: ...
    @property
    def store(self) -> Any: ...
    @property
    def runtime(self) -> Any: ...

    def interrupt(self, value: Any, schema: Any) -> Any:
        """Return the resume value for the task's next ``interrupt()``, or raise."""


current: ContextVar[CurrentTask | None] = ContextVar("distgraph_task", default=None)
"""The attempt of this context; None outside of a run."""


class TaskId(str):
    """The task's id in the config of its node: leads to the attempt, in the attempt's process."""

    attempt: weakref.ref[Any] | None = None

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def active(config: Mapping[str, Any] | None = None) -> CurrentTask | None:
    """Return the attempt that this code runs in, None outside of a run.

    Where the context variable is not set, the attempt is that of ``config``, or that of the config
    which LangChain keeps for what runs in a chain or a tool.
    """
    task = current.get()
    if task is None and config is not None:
        task = _attempt_of(config)
    if task is None and (around := config_around()) is not None:
        task = _attempt_of(around)
    return task


def config_around() -> Any:
    """Return the config of the innermost chain, tool or node, None where LangChain has none."""
    around = loaded("langchain_core.runnables.config", "var_child_runnable_config")
    return None if around is None else around.get()


def _attempt_of(config: Any) -> CurrentTask | None:
    configurable = config.get("configurable") if isinstance(config, Mapping) else None
    name = configurable.get(TASK_ID) if isinstance(configurable, Mapping) else None
    if not isinstance(name, TaskId) or name.attempt is None:
        return None
    found: CurrentTask | None = name.attempt()
    return None if found is None or found.over else found


def current_task(function: str) -> CurrentTask:
    """Return the attempt that this code runs in.

    Args:
        function: Name of the function that the user called: the error names it.

    Raises:
        RuntimeError: The code runs outside of a run.
    """
    task = active()
    if task is None:
        raise RuntimeError(
            f"{function}() was called outside of a distgraph run. It works inside a node, in what "
            "the node calls, and in threads that copied the node's context: start those with "
            "contextvars.copy_context().run(...) or asyncio.to_thread(...), or pass the value in"
        )
    return task
