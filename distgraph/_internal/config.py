"""Merging of the configs that a run is given: a graph's defaults, the caller's, a parent node's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

DEFAULT_RECURSION_LIMIT = int(os.environ.get("LANGGRAPH_DEFAULT_RECURSION_LIMIT", "10007"))
DELTA_SUPERSTEPS = int(os.environ.get("LANGGRAPH_DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", "5000"))

_KEYS = frozenset(
    {
        "tags",
        "metadata",
        "callbacks",
        "run_name",
        "run_id",
        "parent_run_id",
        "recursion_limit",
        "max_concurrency",
        "configurable",
    }
)

_TO_METADATA = (
    "thread_id",
    "checkpoint_id",
    "checkpoint_ns",
    "task_id",
    "run_id",
    "assistant_id",
    "graph_id",
)
"""Of ``configurable``, only these reach a task's metadata, as in LangGraph."""


def merge_configs(*configs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge configs, later ones first in rank: dicts are united, tags and callbacks appended.

    Keys that are no config keys belong to ``configurable``, as LangChain has it.

    Raises:
        TypeError: A config or one of its fields has the wrong type.
        ValueError: ``recursion_limit`` or ``max_concurrency`` is below 1.
    """
    merged: dict[str, Any] = {"tags": [], "metadata": {}, "configurable": {}, "callbacks": []}
    for config in configs:
        if config is None:
            continue
        if not isinstance(config, Mapping):
            raise TypeError(f"config must be a dict, got {type(config).__name__}")
        for key, value in config.items():
            if value is None:
                continue
            if key in ("metadata", "configurable"):
                if not isinstance(value, Mapping):
                    raise TypeError(f"config[{key!r}] must be a dict, got {type(value).__name__}")
                merged[key].update(value)
            elif key == "tags":
                merged["tags"].extend(t for t in value if t not in merged["tags"])
            elif key == "callbacks":
                merged["callbacks"].extend(_handlers(value))
                if parent := getattr(value, "parent_run_id", None):
                    merged["parent_run_id"] = parent
            elif key in _KEYS:
                merged[key] = value
            else:
                merged["configurable"][key] = value
    for key in ("recursion_limit", "max_concurrency"):
        value = merged.get(key)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"config[{key!r}] must be at least 1, got {value!r}")
    return merged


def _handlers(callbacks: Any) -> list[Any]:
    """Return the handlers of LangChain callbacks: a list of them, or a manager."""
    handlers = getattr(callbacks, "handlers", callbacks)
    return list(handlers)


def task_metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that every task of a run with this config starts from."""
    configurable = config["configurable"]
    own = dict(config["metadata"])
    for key in _TO_METADATA:
        if configurable.get(key) and key not in own:
            own[key] = configurable[key]
    return own
