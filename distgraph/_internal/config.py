"""Merging of the configs that a run is given: a graph's defaults, the caller's, a parent node's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distgraph._internal.mistakes import nearest_key, warn_once
from distgraph._internal.settings import setting

DEFAULT_RECURSION_LIMIT = setting("LANGGRAPH_DEFAULT_RECURSION_LIMIT", 10007)
DELTA_SUPERSTEPS = setting("LANGGRAPH_DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", 5000)

_KEYS = frozenset(
    {
        "tags",
        "metadata",
        "callbacks",
        "run_name",
        "run_id",
        "recursion_limit",
        "max_concurrency",
        "max_attempts",
        "on_lost_attempt",
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

    Keys that are no config keys belong to ``configurable``, as LangChain has it. ``callbacks`` of
    the result are a list of handlers or, where one of the configs has one, a LangChain manager.

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
                merged["callbacks"] = _with_callbacks(merged["callbacks"], value)
            elif key in _KEYS:
                merged[key] = value
            else:
                if hint := nearest_key((key,), _KEYS):
                    warn_once([f"config[{key!r}] is no key of a run's config.{hint}"])
                merged["configurable"][key] = value
    for key in ("recursion_limit", "max_concurrency"):
        value = merged.get(key)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"config[{key!r}] must be an integer of at least 1, got {value!r}")
    return merged


class DefaultRecursionLimit(int):
    """The recursion limit of a run that was given none: configs of nodes do not name it."""


def default_recursion_limit() -> DefaultRecursionLimit:
    """Return the recursion limit of a run that is given none."""
    return DefaultRecursionLimit(DEFAULT_RECURSION_LIMIT)


def _with_callbacks(base: Any, new: Any) -> Any:
    """Unite LangChain callbacks: each is a list of handlers, one handler, or a manager."""
    if hasattr(new, "inheritable_handlers"):
        if hasattr(base, "inheritable_handlers"):
            return base if base is new else base.merge(new)
        if not base:
            return new
        united = new.copy()
        for handler in base:
            united.add_handler(handler, True)
        return united
    added = list(new) if isinstance(new, Iterable) else [new]
    if not hasattr(base, "inheritable_handlers"):
        return [*base, *added]
    united = base.copy()
    for handler in added:
        united.add_handler(handler, True)
    return united


def task_metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that every task of a run with this config starts from."""
    configurable = config["configurable"]
    own = dict(config["metadata"])
    for key in _TO_METADATA:
        if configurable.get(key) and key not in own:
            own[key] = configurable[key]
    return own
