"""LangGraph's private names: keys of its configs, classes of its engine. They stand only here."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from distgraph._internal.loaded import loaded

__all__ = ("SENTINELS", "is_private_key", "private", "private_if_loaded")

_PREFIX = "__pregel_"

TASKS = sys.intern("__pregel_tasks")
"""The channel that carries ``Send`` packets from one superstep to the next."""
PUSH = sys.intern("__pregel_push")
PULL = sys.intern("__pregel_pull")
NS_WRITES = "__pregel_ns_writes"
"""Namespace of a cache under which results of nodes are kept."""

# keys of config["configurable"]
TASK_ID = sys.intern("__pregel_task_id")
"""Marks the config as that of a node."""
SEND = "__pregel_send"
READ = "__pregel_read"
CALL = "__pregel_call"
RUNTIME = "__pregel_runtime"
NODE_ERROR = "__pregel_node_error"
SCRATCHPAD = "__pregel_scratchpad"
STREAM = "__pregel_stream"
CHECKPOINTER = "__pregel_checkpointer"
DURABILITY = "__pregel_durability"
RESUME_MAP = "__pregel_resume_map"
RESUMING = "__pregel_resuming"
STRICT_RESUME = "__pregel_strict_resume"
REPLAY_STATE = "__pregel_replay_state"

_HOMES = {
    "ChannelWrite": "langgraph.pregel._write",
    "ChannelWriteEntry": "langgraph.pregel._write",
    "DEFAULT_BOUND": "langgraph.pregel._read",
    "MISSING": "langgraph._internal._typing",
    "PASSTHROUGH": "langgraph.pregel._write",
    "PregelScratchpad": "langgraph._internal._scratchpad",
    "ReplayState": "langgraph._internal._replay",
    "RunnableCallable": "langgraph._internal._runnable",
    "RunnableSeq": "langgraph._internal._runnable",
    "SKIP_WRITE": "langgraph.pregel._write",
    "StreamMessagesHandler": "langgraph.pregel._messages",
    "StreamMux": "langgraph.stream._mux",
    "_messages_delta_reducer": "langgraph.pregel._messages",
    "_tool_call_writer": "langgraph.pregel._tools",
}

SENTINELS = tuple(
    (_HOMES[name], name) for name in ("PASSTHROUGH", "SKIP_WRITE", "MISSING", "DEFAULT_BOUND")
)
"""Objects that LangGraph's code compares by identity, by module and name. ``DEFAULT_BOUND`` is a
``RunnableCallable``, the others are bare objects."""


def is_private_key(key: str) -> bool:
    """Return whether a key of ``configurable`` belongs to the task whose config it is."""
    return key.startswith(_PREFIX)


def private(name: str) -> Any:
    """Return a private object of LangGraph's, which must be installed."""
    return getattr(import_module(_HOMES[name]), name)


def private_if_loaded(name: str) -> Any:
    """Return a private object of LangGraph's, None where its module is not loaded."""
    return loaded(_HOMES[name], name)
