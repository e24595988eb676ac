"""``Runtime``: information about the run for nodes, as a parameter or from ``get_runtime``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic
from weakref import WeakValueDictionary

from typing_extensions import TypeVar

from distgraph._internal.current import current_task
from distgraph.concurrency.forking import free_in_forks
from distgraph.errors import RunError

ContextT = TypeVar("ContextT", default=Any)

__all__ = ("ExecutionInfo", "RunControl", "Runtime", "ServerInfo", "get_runtime")


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """The position of the current node in its run: ids, attempt number, start time."""

    checkpoint_id: str = ""
    checkpoint_ns: str = ""
    task_id: str = ""
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    """Number of the node's attempt, from 1."""
    node_first_attempt_time: float | None = None
    """When the first one started, in seconds since the epoch, by its worker's clock."""

    def patch(self, **overrides: Any) -> ExecutionInfo:
        """Return it with some fields replaced."""
        return replace(self, **overrides)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Information from the server that runs the graph, read from ``configurable``."""

    assistant_id: str
    graph_id: str
    user: Any = None
    """The authenticated user of the request: ``configurable["langgraph_auth_user"]``."""


def server_info(configurable: Mapping[str, Any]) -> ServerInfo | None:
    """Return the server information in ``configurable``; None if there is none."""
    assistant, graph = configurable.get("assistant_id"), configurable.get("graph_id")
    user = configurable.get("langgraph_auth_user")
    if user is not None and not hasattr(user, "identity"):
        user = None
    if assistant is None and graph is None and user is None:
        return None
    return ServerInfo(str(assistant or ""), str(graph or ""), user)


class RunControl:
    """Stops a run between two supersteps; the run can continue later. One object serves one run.

    Pass it as ``control=`` to ``stream``, ``invoke`` or their async forms, and call
    ``request_drain`` from any thread, or from a node through ``Runtime.control``.
    """

    def __init__(self) -> None:
        self._reason: str | None = None
        self._told: list[Callable[[str], object]] = []
        self._id: str | None = None
        """Given when it is first sent to another process."""
        self._arrived = False
        """Whether the object came from another process; only attempts of its run then listen
        here."""

    def request_drain(self, reason: str = "shutdown") -> None:
        """Stop the run gracefully after the current superstep; the run raises
        ``GraphDrained(reason)``.

        Raises:
            RunError: This process neither started the run nor executes a task of the run.
        """
        if self._arrived and not self._told:
            raise _unheard(reason)
        self._reason = reason
        for tell in list(self._told):
            tell(reason)

    @property
    def drain_requested(self) -> bool:
        """Whether a drain was requested."""
        return self._reason is not None

    @property
    def drain_reason(self) -> str | None:
        """The reason of the drain request; None without a request."""
        return self._reason

    def listen(self, tell: Callable[[str], object]) -> Callable[[], None]:
        """Call ``tell`` with the reason of each drain request. Return a function that ends the
        subscription."""
        self._told.append(tell)
        if self._reason is not None:
            tell(self._reason)

        def leave() -> None:
            if tell in self._told:
                self._told.remove(tell)

        return leave

    def __reduce__(self) -> tuple[Callable[..., RunControl], tuple[str, str | None]]:
        with _lock:
            if self._id is None:
                self._id = os.urandom(16).hex()
                _controls[self._id] = self
        return _arrive, (self._id, self._reason)


_lock = free_in_forks(threading.Lock())
_controls: WeakValueDictionary[str, RunControl] = WeakValueDictionary()
"""Controls that came from other processes, by run: copies of one control become one object
again."""


def _arrive(control_id: str, reason: str | None) -> RunControl:
    """Return this process's object for a control that was sent to it."""
    with _lock:
        control = _controls.get(control_id)
        if control is None:
            control = _controls[control_id] = RunControl()
            control._id, control._arrived = control_id, True
        if control._arrived and reason is not None:
            control._reason = reason
        return control


def _unheard(reason: str) -> Exception:
    return RunError(
        f"request_drain({reason!r}): nobody in this process listens to this RunControl. Call it in "
        "the process that started its run, or from a node of that run while it is at work"
    )


def _write_nothing(_: Any) -> None:
    """A stream writer outside of a stream."""


def no_heartbeat() -> None:
    """A heartbeat outside of a timeout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime(Generic[ContextT]):
    """Run-scoped context, store, stream writer, and the position of the node."""

    context: ContextT = field(default=None)  # type: ignore[assignment]
    store: Any = None
    stream_writer: Callable[[Any], None] = _write_nothing
    previous: Any = None
    heartbeat: Callable[[], None] = no_heartbeat
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None
    control: RunControl | None = None

    @property
    def drain_requested(self) -> bool:
        """Whether the run was requested to stop after the current superstep."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """The reason of the drain request; None without a request."""
        return None if self.control is None else self.control.drain_reason

    def merge(self, other: Runtime[ContextT]) -> Runtime[ContextT]:
        """Return a runtime with the values of ``other``, and this one's where it has none."""
        given = {f.name: getattr(other, f.name) for f in fields(self)}
        given = {n: v for n, v in given.items() if v or (n == "previous" and v is not None)}
        for name, unset in (("stream_writer", _write_nothing), ("heartbeat", no_heartbeat)):
            if given.get(name) is unset:
                del given[name]
        return replace(self, **given)

    def override(self, **overrides: Any) -> Runtime[ContextT]:
        """Return the runtime with some fields replaced."""
        return replace(self, **overrides)

    def patch_execution_info(self, **overrides: Any) -> Runtime[ContextT]:
        """Return the runtime with some fields of ``execution_info`` replaced.

        Raises:
            RuntimeError: The runtime has none, because it is not the runtime of a node.
        """
        if self.execution_info is None:
            raise RuntimeError("this Runtime has no execution_info: it is not that of a node")
        return replace(self, execution_info=self.execution_info.patch(**overrides))


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """Return the current node's runtime. Raises ``RuntimeError`` outside of a run."""
    runtime: Runtime[ContextT] = current_task("get_runtime").runtime
    return runtime
