"""The graph and the checkpoint that the config of a state method names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distgraph._internal.config import merge_configs, task_metadata
from distgraph._internal.keys import NS_END, NS_SEP, TASK_ID
from distgraph._internal.mistakes import nearest, nearest_key
from distgraph.graph.subgraphs import namespace_of_names
from distgraph.langgraphs.vocabulary import CHECKPOINTER, is_private_key
from distgraph.worker.context import active_task

__all__ = ("Place", "at", "config_with_map", "locate")


@dataclass(frozen=True, slots=True)
class Place:
    """A graph, the saver of its thread, and the config for calls of the saver."""

    graph: Any
    saver: Any
    config: dict[str, Any]

    @property
    def latest(self) -> bool:
        """Whether the config refers to the thread's latest checkpoint, because no checkpoint id is
        given."""
        return "checkpoint_id" not in self.config["configurable"]

    @property
    def ns(self) -> str:
        """The graph's namespace at the saver."""
        ns: str = self.config["configurable"].get("checkpoint_ns", "")
        return ns


def locate(graph: Any, config: Mapping[str, Any] | None, *, updates: bool = False) -> Place:
    """Return the graph, the saver and the config that ``config`` refers to.

    The config's ``checkpoint_ns`` is the namespace of a subgraph of ``graph``. The checkpoint of an
    unknown namespace, such as that of a graph invoked by a tool, is read with ``graph``'s channels.

    Raises:
        ValueError: The graph has no saver, or the config no thread. With ``updates``: no subgraph
            has the namespace, so an update cannot be applied.
        RuntimeError: The graph shares the saver of its parent graph.
    """
    if config is None:
        config = {}
    configurable = dict(config.get("configurable") or {})
    surrounding = configurable.pop(CHECKPOINTER, None)  # of the graph around it
    saver = _saver(graph, surrounding, configurable)
    if configurable.get("thread_id") is None:
        bound = (graph.config or {}).get("configurable") or {}
        configurable["thread_id"] = bound.get("thread_id")
    if configurable["thread_id"] is None:
        raise ValueError(
            f"graph {graph.name!r}: the config names no thread. Pass "
            'config={"configurable": {"thread_id": ...}}.'
            f"{nearest_key(configurable, ('thread_id',))}"
        )
    given = {**config, "configurable": configurable}
    ns = configurable.get("checkpoint_ns") or ""
    if ns and surrounding is None:
        name = namespace_of_names(ns)
        inner = next((g for _, g in graph.get_subgraphs(namespace=name, recurse=True)), None)
        if inner is not None:
            return at(inner, saver, given)
        if updates:
            known = [path for path, _ in graph.get_subgraphs(recurse=True)]
            hint = nearest(name, known)
            raise ValueError(
                f"Subgraph {name} not found.{hint}" if hint else f"Subgraph {name} not found"
            )
    return at(graph, saver, given)


def _saver(graph: Any, surrounding: Any, configurable: Mapping[str, Any]) -> Any:
    saver = None
    if graph.checkpointer is not False:
        parent = active_task({"configurable": configurable}) if TASK_ID in configurable else None
        saver = (
            surrounding
            if surrounding is not None
            else getattr(getattr(parent, "run", None), "saver", None)
        )
        if saver is None and graph.checkpointer is True:
            raise RuntimeError(
                f"graph {graph.name!r}: checkpointer=True cannot be used for root graphs; its "
                "state is read by the graph around it"
            )
        saver = graph.checkpointer if saver is None else saver
    if saver is None:
        raise ValueError(
            f"No checkpointer set: graph {graph.name!r} keeps no state between runs. Compile it "
            "with a saver, as in compile(checkpointer=InMemorySaver())"
        )
    return saver


def at(graph: Any, saver: Any, config: Mapping[str, Any]) -> Place:
    """Return the place of a graph whose saver and namespace are known."""
    if graph.config:
        config = _nothing_empty(merge_configs(graph.config, config))
    configurable = {k: v for k, v in config["configurable"].items() if not is_private_key(k)}
    configurable["thread_id"] = str(configurable["thread_id"])
    if graph.checkpointer is True:  # one history for all calls: no task's id is in its name
        parts = (configurable.get("checkpoint_ns") or "").split(NS_SEP)
        configurable["checkpoint_ns"] = NS_SEP.join(part.split(NS_END)[0] for part in parts)
    return Place(graph, saver, {**config, "configurable": configurable})


def _nothing_empty(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in config.items() if v or key == "configurable"}


def saving_config(place: Place, saved: Any) -> dict[str, Any]:
    """Return the config for a save after ``saved``, with the caller's keys that the saver keeps."""
    merged = merge_configs(place.config)
    configurable = {"checkpoint_ns": "", **merged["configurable"]}
    if saved is not None:
        configurable.update(saved.config["configurable"])
    return {"configurable": configurable, "metadata": task_metadata(merged)}


def config_with_map(
    config: Mapping[str, Any], metadata: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the config of a checkpoint, with the checkpoints that the graphs around it stood at.

    ``metadata``: of the checkpoint.
    """
    parents = (metadata or {}).get("parents")
    if not parents:
        return dict(config)
    own = config["configurable"]
    known = {**parents, own["checkpoint_ns"]: own["checkpoint_id"]}
    return {**config, "configurable": {**own, "checkpoint_map": known}}
