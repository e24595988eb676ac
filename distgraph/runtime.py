"""What a node can learn of its run: ``Runtime``, as a node parameter or by ``get_runtime``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

ContextT = TypeVar("ContextT", default=Any)

__all__ = ("ExecutionInfo", "Runtime", "get_runtime")


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Where the current node stands."""

    checkpoint_id: str = ""
    checkpoint_ns: str = ""
    task_id: str = ""
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None


def _write_nothing(_: Any) -> None:
    """A stream writer outside of a stream."""


def _no_heartbeat() -> None:
    """A heartbeat outside of a timeout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime(Generic[ContextT]):
    """Run-scoped context, store, stream writer and where the node stands."""

    context: ContextT = field(default=None)  # type: ignore[assignment]
    store: Any = None
    stream_writer: Callable[[Any], None] = _write_nothing
    previous: Any = None
    heartbeat: Callable[[], None] = _no_heartbeat
    execution_info: ExecutionInfo | None = None
    server_info: Any = None


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """Return the current node's runtime. Raises ``RuntimeError`` outside of a run."""
    from distgraph.worker.context import current_task

    return current_task("get_runtime").runtime
