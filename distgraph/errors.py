"""Every error that distgraph raises by itself. A node's own exceptions reach the caller as such."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Literal

from distgraph._internal.policies import Transient
from distgraph.types import Command, Interrupt
from distgraph.warnings import LangGraphDeprecatedSinceV10

ENV_DOCS = "DISTGRAPH_DOCS"
"""Setting: URL of the documentation site, to which messages link."""


class _Explained(Exception):
    """An error whose message ends with a link to the error's row on the page of errors."""

    _anchor: ClassVar[str] = ""
    """Anchor on the page: the name of the class, in lower case; "" for no link."""

    def __init_subclass__(cls, *, explained: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if explained:
            cls._anchor = cls.__name__.lower()

    def __str__(self) -> str:
        text = super().__str__()
        if not text or not self._anchor:
            return text
        site = os.environ.get(ENV_DOCS, "").strip().rstrip("/")
        link = f"\nSee {f'{site}/errors.html' if site else 'docs/errors.md'}#{self._anchor}"
        return text.replace(link, "") + link  # once, where the text quotes another error


class DistgraphError(_Explained):
    """Base of the errors that belong to distgraph alone (LangGraph's own names do not have it)."""


# --- building and compiling ---------------------------------------------------------------------


class UnsupportedError(DistgraphError, NotImplementedError):
    """An option that exists in the API but is not supported here; the message has the remedy."""


class SerializationError(DistgraphError, TypeError):
    """Something that must travel to a worker cannot be pickled; names the node and the variable."""


class MissingExtraError(DistgraphError, ImportError):
    """A feature needs an optional package; the message names the extra that installs it."""


# --- the graph's own rules (names and bases as in LangGraph) ------------------------------------


class GraphRecursionError(_Explained, RecursionError, explained=True):
    """The run did not end within ``recursion_limit`` supersteps."""


class InvalidUpdateError(_Explained, explained=True):
    """A node's return value, or the writes of one superstep together, cannot update the state."""


class UnmappedPathError(ValueError, KeyError):
    """The path of a conditional edge returned a value that is not in its ``path_map``.

    LangGraph raises ``KeyError``.
    """

    __str__ = Exception.__str__  # a ``KeyError`` shows the repr of its message


class EmptyInputError(Exception):
    """The graph was started without any input."""


class UnknownInterruptError(Exception):
    """Strict resuming: the resume values do not match the pending interrupts.

    ``reason`` is "not_pending", "empty_map" or "ambiguous". The error is raised before any write:
    the interrupts stay pending.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        interrupt_ids: Sequence[str] = (),
        pending_ids: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.interrupt_ids = tuple(interrupt_ids)
        self.pending_ids = tuple(pending_ids)

    def __reduce__(self) -> Any:
        return _unknown_interrupt, (
            str(self),
            self.reason,
            self.interrupt_ids,
            self.pending_ids,
        )


def _unknown_interrupt(
    message: str, reason: str, interrupt_ids: Sequence[str], pending_ids: Sequence[str]
) -> UnknownInterruptError:
    return UnknownInterruptError(
        message, reason=reason, interrupt_ids=interrupt_ids, pending_ids=pending_ids
    )


class NodeCancelledError(Exception):
    """A node raised ``asyncio.CancelledError`` by itself: its run had not been cancelled."""

    def __init__(self, node: str, message: str | None = None) -> None:
        super().__init__(node, message or f"Node {node!r} raised asyncio.CancelledError")
        self.node = node

    def __str__(self) -> str:
        return str(self.args[1])


def cancelled_itself(node: str) -> NodeCancelledError:
    """Return the error of a node whose own code raised ``asyncio.CancelledError``."""
    return NodeCancelledError(
        node,
        f"Node {node!r} raised asyncio.CancelledError, though nobody had cancelled its run. "
        "Catch it in the node where what the node waits for may be cancelled",
    )


class NodeTimeoutError(Exception):
    """An attempt of a node took longer than its ``timeout``.

    It is no ``TimeoutError``, which the default ``RetryPolicy`` does not try again after.

    Attributes:
        node: Name of the node.
        kind: Which of its limits it was: "run" or "idle".
        timeout: That limit, in seconds.
        elapsed: Seconds that the attempt had run.
        run_timeout, idle_timeout: The node's limits, in seconds, None where there is none.
    """

    def __init__(
        self,
        node: str,
        elapsed: float,
        *,
        kind: Literal["idle", "run"],
        idle_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> None:
        limit = idle_timeout if kind == "idle" else run_timeout
        if kind not in ("idle", "run") or limit is None:
            raise ValueError(f"kind={kind!r} needs the limit {kind}_timeout")
        without = " without making progress" if kind == "idle" else ""
        super().__init__(
            f"Node '{node}' exceeded its {kind} timeout of {limit:.3f}s{without} "
            f"(elapsed: {elapsed:.3f}s)."
        )
        self.node = node
        self.elapsed = elapsed
        self.kind: Literal["idle", "run"] = kind
        self.timeout = limit
        self.idle_timeout = idle_timeout
        self.run_timeout = run_timeout

    def __reduce__(self) -> Any:
        return _node_timeout, (
            self.node,
            self.elapsed,
            self.kind,
            self.idle_timeout,
            self.run_timeout,
        )


def _node_timeout(
    node: str,
    elapsed: float,
    kind: Literal["idle", "run"],
    idle_timeout: float | None,
    run_timeout: float | None,
) -> NodeTimeoutError:
    return NodeTimeoutError(
        node, elapsed, kind=kind, idle_timeout=idle_timeout, run_timeout=run_timeout
    )


@dataclass(frozen=True)
class NodeError:
    """The failure that a node's error handler receives in its parameter ``error: NodeError``."""

    node: str
    """Name of the node that failed."""
    error: BaseException
    """The exception that the node raised."""


class EmptyChannelError(Exception):
    """A channel that was never written is read."""


class GraphBubbleUp(Exception):
    """Base of what leaves a node by ``raise`` and is no failure."""


class GraphDrained(GraphBubbleUp):
    """The run stopped between two supersteps, after ``RunControl.request_drain()``.

    Finished supersteps are saved: continue the thread with the input None.
    """

    def __init__(self, reason: str = "shutdown") -> None:
        super().__init__(f"Graph drained: {reason}")
        self.reason = reason

    def __reduce__(self) -> Any:
        return GraphDrained, (self.reason,)


class GraphInterrupt(GraphBubbleUp):
    """Raised inside a node by ``interrupt()``: never seen by callers."""

    def __init__(self, interrupts: Sequence[Interrupt] = ()) -> None:
        super().__init__(interrupts)
        self.interrupts = tuple(interrupts)


class NodeInterrupt(GraphInterrupt):
    """Raised by a node to interrupt the run. Deprecated: use ``interrupt()``."""

    def __init__(self, value: Any, id: str | None = None) -> None:
        warnings.warn(
            "NodeInterrupt is deprecated. Please use `distgraph.types.interrupt` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        super().__init__((Interrupt(value) if id is None else Interrupt(value, id),))


class ParentCommand(GraphBubbleUp):
    """Carries a ``Command(graph=Command.PARENT)`` out of a subgraph.

    Callers meet it where the graph that they run has no parent.

    Args:
        command: The command.
        has_arrived: Whether it has left the graph that it was given in: the code that gets the
            error belongs to a node of the graph that it is addressed to.
    """

    def __init__(self, command: Command[Any], *, has_arrived: bool = False) -> None:
        super().__init__(command)
        self.command = command
        self.has_arrived = has_arrived

    def __str__(self) -> str:
        return f"{self.command!r} is addressed to the parent graph, but this graph is no subgraph"


INVALID_RESUME = "_langgraph_invalid_resume"
"""Attribute of an error that marks a resume value as invalid."""


def mark_invalid_resume(error: BaseException) -> None:
    """Mark an error as caused by a resume value that does not fit the schema of ``interrupt()``."""
    setattr(error, INVALID_RESUME, True)


def is_invalid_resume(error: BaseException) -> bool:
    """Whether an error reports a resume value that does not fit ``response_schema``.

    The interrupt does not consume such a resume value and stays pending.
    """
    return getattr(error, INVALID_RESUME, False) is True


class ErrorCode(Enum):
    """Names that LangGraph's documentation has for some errors."""

    GRAPH_RECURSION_LIMIT = "GRAPH_RECURSION_LIMIT"
    INVALID_CONCURRENT_GRAPH_UPDATE = "INVALID_CONCURRENT_GRAPH_UPDATE"
    INVALID_GRAPH_NODE_RETURN_VALUE = "INVALID_GRAPH_NODE_RETURN_VALUE"
    MULTIPLE_SUBGRAPHS = "MULTIPLE_SUBGRAPHS"
    INVALID_CHAT_HISTORY = "INVALID_CHAT_HISTORY"


# --- running ------------------------------------------------------------------------------------


class RunError(DistgraphError, RuntimeError):
    """A run ended for a reason that is not the user's code."""


class WorkerDied(RunError, Transient, explained=True):
    """The process or machine that ran a node is gone: killed, crashed, out of memory."""


class DriverLost(RunError, explained=True):
    """The superstep driver is gone, and the run's state with it."""


class BrokerLost(RunError, explained=True):
    """The stream broker is gone, and the undelivered part of the stream with it."""


class BufferFull(RunError, explained=True):
    """Attempts with ``on_lost_attempt="buffer"`` hold more events than the broker has room for."""


class RunCancelled(RunError):
    """The run was cancelled."""


class NodeFailed(RunError):
    """A node raised an exception whose class cannot be had here, such as one of a module that only
    workers have.

    It is also an instance of the nearest base class of the original that can be imported here.
    ``type_name`` and ``traceback_text`` hold the original's type and traceback as text.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message, type_name, traceback_text)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return str(self.args[0])


class Unsent:
    """Stands, in an exception that was raised on a worker, for a value that could not be sent.

    ``str()`` and ``repr()`` of it are those of the value, so that the exception reads as it did.

    Attributes:
        field: What the exception calls the value, such as ``attribute 'response'``.
        type_name: Module and qualified name of the value's class.
    """

    __slots__ = ("_repr", "_text", "field", "type_name")

    def __init__(self, field: str, type_name: str, text: str, repr: str) -> None:
        self.field = field
        self.type_name = type_name
        self._text = text
        self._repr = repr

    def __reduce__(self) -> Any:
        return Unsent, (self.field, self.type_name, self._text, self._repr)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._repr

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{self.field} of the exception holds a {self.type_name}, which could not be sent from "
            f"the worker: it has no attribute {name!r} here. Read what the caller needs in the "
            "node, and put that into the exception"
        )


class RunNotFound(RunError, explained=True):
    """No run of that id is known: it never was, or the time for which it was kept is over."""


class Truncated(DistgraphError):
    """The requested part of the stream is no longer kept.

    Attributes:
        after: Number of the event after which events were requested.
        oldest: Number of the oldest event that is kept. ``events(after=oldest - 1)`` reads on.
    """

    def __init__(self, message: str, after: int = 0, oldest: int = 0) -> None:
        super().__init__(message, after, oldest)
        self.after = after
        self.oldest = oldest

    def __str__(self) -> str:
        return str(self.args[0])


class UnsupportedClusterError(DistgraphError, RuntimeError):
    """The Ray cluster cannot execute runs: Ray Client, or other versions on the workers."""


class InvalidTransition(DistgraphError):
    """The engine or the stream received an impossible event: a bug of distgraph."""

    task: str
    """Id of the task, "" if it is not about one."""
    start: str
    """State of the task before the transition."""
    finish: str
    """State that the transition would have led to."""
    story: tuple[object, ...]
    """Transitions that led there, those of the task where it has any."""

    def __init__(
        self,
        message: str,
        task: str = "",
        start: str = "",
        finish: str = "",
        story: Sequence[object] = (),
    ) -> None:
        super().__init__(message, task, start, finish, tuple(story))
        self.task, self.start, self.finish, self.story = task, start, finish, tuple(story)

    def __str__(self) -> str:
        return "\n  ".join((str(self.args[0]), *map(str, self.story)))
