"""Turns streamed chunks into plain data that is equal wherever two engines did the same.

What differs between any two runs (ids of tasks, runs, messages and checkpoints, times) becomes a
numbered placeholder, in the order of first appearance: whether two chunks carry *the same* id is
still compared.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?)"
    r"|(?P<hash>(?<![0-9a-zA-Z])[0-9a-f]{32}(?![0-9a-zA-Z]))"
)
_ENGINE_PACKAGES = ("langgraph", "distgraph", "actors")


def of_engine(cls: type) -> bool:
    """Tell whether a class belongs to an engine, so that both engines have one of their own."""
    return cls.__module__.split(".")[0] in _ENGINE_PACKAGES


class Normaliser:
    """Normalises the values of one run; placeholders are shared by all that it is given."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {"uuid": {}, "hash": {}}

    def _placeholder(self, match: re.Match[str]) -> str:
        kind = str(match.lastgroup)
        if kind == "time":
            return "<time>"
        ids = self._seen[kind]
        return ids.setdefault(match.group(), f"<{kind}-{len(ids) + 1}>")

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, bytes)):
            return value
        if isinstance(value, str):
            return _TOKEN.sub(self._placeholder, str(value))
        if isinstance(value, dict):
            return {self(k): self(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return (
                type(value)([self(v) for v in value])
                if type(value) in (list, tuple)
                else [
                    type(value).__name__,
                    *(self(v) for v in value),
                ]
            )
        if isinstance(value, (set, frozenset)):
            return {"__set__": sorted(repr(self(v)) for v in sorted(value, key=repr))}
        if isinstance(value, BaseException):
            return self.error(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {"__class__": type(value).__name__, **self(fields)}
        if hasattr(type(value), "model_fields"):  # pydantic, LangChain's messages among them
            return {"__class__": type(value).__name__, **self(dict(value))}
        if type(value).__name__ == "Send":
            return {"__class__": "Send", "node": value.node, "arg": self(value.arg)}
        return f"<{type(value).__name__}>"

    def error(self, error: BaseException) -> dict[str, Any]:
        """Class of an error, and its message where the user raised it.

        The sentences of the engines' own errors differ; tests of those look at them one by one.
        """
        cls = type(error)
        plain: dict[str, Any] = {"__error__": cls.__name__}
        if not of_engine(cls):
            plain["message"] = self(str(error))
        return plain


def normalise(chunks: Iterable[Any]) -> list[Any]:
    """Replace ids and times in chunks by placeholders, engines' and users' objects by dicts."""
    norm = Normaliser()
    return [norm(chunk) for chunk in chunks]


class Item(NamedTuple):
    """One chunk, whatever the shape in which it was streamed."""

    ns: tuple[str, ...]
    mode: str
    payload: Any


def items(
    chunks: Iterable[Any], *, stream_mode: Any, subgraphs: bool = False, version: str = "v1"
) -> list[Item]:
    """Bring chunks of any shape (v1: bare, tagged, with namespace; v2: dicts) into one."""
    out = []
    for chunk in chunks:
        if version == "v2":
            out.append(Item(tuple(chunk["ns"]), chunk["type"], chunk["data"]))
            continue
        ns: tuple[str, ...] = ()
        mode = stream_mode
        if isinstance(stream_mode, list):
            if subgraphs:
                ns, mode, payload = chunk
            else:
                mode, payload = chunk
        elif subgraphs:
            ns, payload = chunk
        else:
            payload = chunk
        out.append(Item(ns, mode, payload))
    return out


Key = Callable[[Item], Hashable]


def task_of(item: Item) -> Hashable:
    """Name the task that a chunk belongs to, None for those of a whole step.

    Custom payloads name theirs by ``{"node": name, …}`` or ``(name, …)``.
    """
    ns, mode, payload = item
    if ns:
        return ns[0].split(":")[0]
    if mode in ("values", "checkpoints"):
        return None
    if mode == "updates":
        return tuple(payload) if isinstance(payload, dict) else "updates"
    if mode == "tasks":
        return payload["name"]
    if mode == "debug":
        return payload["payload"].get("name")
    if mode == "custom":
        return payload["node"] if isinstance(payload, dict) else payload[0]
    if mode == "messages":
        return payload[1]["langgraph_node"]
    raise ValueError(f"no task in a chunk of mode {mode!r}")


def per_task(chunks: Sequence[Item], key: Key = task_of) -> list[dict[Hashable, list[Any]]]:
    """Split parallel siblings into one sequence per task, step by step.

    The order *across* siblings is free, the order *within* each is not. A chunk of the whole step
    (``values``, a checkpoint) is a boundary: it has a segment of its own. The starts of tasks are
    ordered by name, so they form a sequence ``"starts"`` as well. Each sequence is normalised for
    itself: first appearance across siblings has no order that could be compared.

    Returns: segments in order; each maps a task to its normalised chunks.
    """
    segments: list[dict[Hashable, list[Item]]] = [{}]
    for item in chunks:
        task = key(item)
        if task is None:
            segments += [{None: [item]}, {}]
            continue
        segments[-1].setdefault(task, []).append(item)
        if item.mode == "tasks" and not item.ns and "input" in item.payload:
            name = Item((), "tasks", item.payload["name"])
            segments[-1].setdefault("starts", []).append(name)
    return [
        {task: normalise(sequence) for task, sequence in segment.items()}
        for segment in segments
        if segment
    ]


def bag(chunks: Iterable[Any]) -> list[str]:
    """Normalise each chunk for itself and sort: equal where only the order differs."""
    return sorted(repr(Normaliser()(chunk)) for chunk in chunks)
