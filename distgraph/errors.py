"""Every error that distgraph raises by itself. A node's own exceptions reach the caller as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distgraph.types import Command, Interrupt


class DistgraphError(Exception):
    """Base of the errors that belong to distgraph alone (LangGraph's own names do not have it)."""


# --- building and compiling ---------------------------------------------------------------------


class UnsupportedError(DistgraphError, NotImplementedError):
    """An option that exists in the API but cannot be honoured here; the message has the remedy."""


class SerializationError(DistgraphError, TypeError):
    """Something that must travel to a worker cannot be pickled; names the node and the variable."""


class MissingExtraError(DistgraphError, ImportError):
    """A feature needs an optional package; the message names the extra that installs it."""


# --- the graph's own rules (names and bases as in LangGraph) ------------------------------------


class GraphRecursionError(RecursionError):
    """The run did not end within ``recursion_limit`` supersteps."""


class InvalidUpdateError(Exception):
    """A node's return value, or the writes of one superstep together, cannot update the state."""


class EmptyInputError(Exception):
    """The graph was started without any input."""


class NodeCancelledError(Exception):
    """A node raised ``asyncio.CancelledError`` by itself: its run had not been cancelled."""

    def __init__(self, node: str, message: str | None = None) -> None:
        super().__init__(node, message or f"Node {node!r} raised asyncio.CancelledError")
        self.node = node

    def __str__(self) -> str:
        return str(self.args[1])


class EmptyChannelError(Exception):
    """A channel that was never written is read."""


class GraphBubbleUp(Exception):
    """Base of what leaves a node by ``raise`` and is no failure."""


class GraphInterrupt(GraphBubbleUp):
    """Raised inside a node by ``interrupt()``: never seen by callers."""

    def __init__(self, interrupts: Sequence[Interrupt] = ()) -> None:
        super().__init__(interrupts)
        self.interrupts = tuple(interrupts)


class ParentCommand(GraphBubbleUp):
    """Carries a ``Command(graph=Command.PARENT)`` out of a subgraph."""

    def __init__(self, command: Command[Any]) -> None:
        super().__init__(command)
        self.command = command


# --- running ------------------------------------------------------------------------------------


class RunError(DistgraphError, RuntimeError):
    """A run ended for a reason that is not the user's code."""


class WorkerDied(RunError):
    """The process or machine that ran a node is gone: killed, crashed, out of memory."""


class DriverLost(RunError):
    """The superstep driver is gone, and the run's state with it."""


class BrokerLost(RunError):
    """The stream broker is gone, and the undelivered part of the stream with it."""


class RunCancelled(RunError):
    """The run was cancelled."""


class NodeFailed(RunError):
    """A node raised an exception that could not be rebuilt here.

    ``type_name`` and ``traceback_text`` hold the original's type and traceback as text.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message, type_name, traceback_text)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return str(self.args[0])


class Truncated(DistgraphError):
    """The part of the stream that was asked for is no longer retained."""


class UnsupportedClusterError(DistgraphError, RuntimeError):
    """This Ray cannot carry a run: Ray Client, or other versions on the workers."""


class InvalidTransition(DistgraphError):
    """The engine was told something impossible: a bug. Carries the story that led there."""

    def __init__(self, message: str, story: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(story))
        self.story = tuple(story)

    def __str__(self) -> str:
        return "\n  ".join((str(self.args[0]), *self.story))
