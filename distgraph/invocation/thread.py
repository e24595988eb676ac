"""The checkpointer of a run, and the checkpoint from which the run starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from distgraph._internal.keys import TASK_ID
from distgraph._internal.mistakes import nearest, nearest_key
from distgraph.contract.events import CHECKPOINT_KEYS, ThreadOptions
from distgraph.langgraphs.vocabulary import STRICT_RESUME
from distgraph.types import Durability

if TYPE_CHECKING:
    from distgraph.worker.context import TaskContext

__all__ = ("has_own_thread", "saver_of", "thread_options")


def has_own_thread(config: Mapping[str, Any] | None) -> bool:
    """Whether a config given inside a node names a thread, so that the call is no part of the
    node's run. The config that the node itself was given does not."""
    given = (config or {}).get("configurable") or {}
    return TASK_ID not in given and any(given.get(key) for key in ("thread_id", *CHECKPOINT_KEYS))


def saver_of(graph: Any, parent: TaskContext | None) -> Any:
    """Return the saver of a run: that of the graph around it, else the graph's own.

    Raises:
        RuntimeError: The graph shares the history of a graph around it, and there is none.
    """
    if graph.checkpointer is False:
        return None
    inherited = None if parent is None else parent.run.saver
    if inherited is not None:
        return inherited
    if graph.checkpointer is True:
        if parent is not None:
            return None
        raise RuntimeError(
            f"graph {graph.name!r}: checkpointer=True cannot be used for root graphs; it makes a "
            "subgraph share its parent's. Compile with a saver"
        )
    return graph.checkpointer


def thread_options(
    saver: Any,
    configurable: Mapping[str, Any],
    durability: str | None,
    parent: TaskContext | None,
) -> ThreadOptions:
    """Return where a run starts from.

    Raises:
        ValueError: The config does not name a thread, or the durability is unknown.
    """
    if durability is not None and durability not in get_args(Durability):
        raise ValueError(
            f"durability={durability!r}: choose from {', '.join(map(repr, get_args(Durability)))}."
            f"{nearest(durability, get_args(Durability))}"
        )
    if saver is None:
        return ThreadOptions()
    if not any(configurable.get(key) for key in ("thread_id", *CHECKPOINT_KEYS[:2])):
        raise ValueError(
            "Checkpointer requires one or more of the following 'configurable' keys: thread_id, "
            'checkpoint_ns, checkpoint_id. Pass config={"configurable": {"thread_id": ...}}.'
            f"{nearest_key(configurable, ('thread_id', *CHECKPOINT_KEYS[:2]))}"
        )
    standing = None if parent is None else parent.request.standing
    given: Any = durability or (standing.durability if standing is not None else "async")
    if standing is not None and parent is not None:
        return ThreadOptions(
            saves=True,
            durability=given,
            checkpoint_map=standing.checkpoint_map,
            resuming=standing.resuming,
            replay=standing.replay,
            resume_map=standing.resume_map,
            matched_id=None if parent.null_resume_taken else standing.matched_id,
            null_resume=tuple(parent.null_resume),
        )
    named = None if configurable.get("checkpoint_ns") else configurable.get("checkpoint_id")
    return ThreadOptions(
        saves=True,
        durability=given,
        checkpoint_id=named,
        checkpoint_map=configurable.get("checkpoint_map") or {},
        strict_resume=bool(configurable.get(STRICT_RESUME)),
    )
