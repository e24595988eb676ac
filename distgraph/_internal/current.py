"""The attempt that the current code runs in, found by a context variable.

``worker.context`` sets the variable around each attempt. What users call inside a node
(``interrupt``, ``get_runtime``, ``get_config``, …) reads the variable here, so that these functions
need nothing of the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ("CurrentTask", "current", "current_task")


class CurrentTask(Protocol):
    """What the code of a node can ask of its attempt."""

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


def current_task(function: str) -> CurrentTask:
    """Return the attempt that this code runs in.

    Args:
        function: Name of the function that the user called: the error names it.

    Raises:
        RuntimeError: The code runs outside of a run.
    """
    task = current.get()
    if task is None:
        raise RuntimeError(
            f"{function}() was called outside of a distgraph run. It works inside a node, in what "
            "the node calls, and in threads that copied the node's context: start those with "
            "contextvars.copy_context().run(...) or asyncio.to_thread(...), or pass the value in"
        )
    return task
