"""Which events of a thread a reader wants: channels, namespaces, and what the reader has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distgraph.serve.event_protocol.conversion import ProtocolEvent
from distgraph.serve.event_protocol.faults import Fault

__all__ = ("CHANNELS", "Subscription")

CHANNELS = (
    "values",
    "updates",
    "messages",
    "tools",
    "lifecycle",
    "input",
    "tasks",
    "checkpoints",
    "custom",
)
_NAMED = "custom:"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A reader's choice of events."""

    channels: frozenset[str]
    namespaces: tuple[tuple[str, ...], ...] = ()
    """Prefixes; () for all namespaces. A segment without a task id stands for every task."""
    depth: int | None = None
    """How far below its prefix a namespace may be; without ``namespaces`` it has no effect."""
    since: int = 0
    """Number of the last event that the reader has."""

    @classmethod
    def parse(cls, params: Any) -> Subscription:
        """Check what a client asks for.

        Raises:
            Fault: ``invalid_argument``; the message names the field, and what it may contain.
        """
        if not isinstance(params, Mapping):
            raise Fault("invalid_argument", "a subscription is a JSON object with channels")
        channels = params.get("channels")
        if not _is_list(channels, str) or not channels:
            raise Fault(
                "invalid_argument",
                f"channels is a list with at least one of {', '.join(CHANNELS)}, {_NAMED}NAME",
            )
        for channel in channels:
            if channel not in CHANNELS and not (
                channel.startswith(_NAMED) and len(channel) > len(_NAMED)
            ):
                raise Fault(
                    "invalid_argument",
                    f"unknown channel {channel!r}: the channels are {', '.join(CHANNELS)}, "
                    f"{_NAMED}NAME",
                )
        namespaces = params.get("namespaces")
        if namespaces is not None and not (
            _is_list(namespaces, list) and all(_is_list(ns, str) for ns in namespaces)
        ):
            raise Fault("invalid_argument", "namespaces is a list of lists of strings")
        return cls(
            frozenset(channels),
            tuple(tuple(namespace) for namespace in namespaces or ()),
            _number("depth", params.get("depth")),
            _number("since", params.get("since")) or 0,
        )

    def wants(self, event: ProtocolEvent) -> bool:
        """Return whether the reader gets an event; ``since`` is not considered."""
        channel, named = _channel(event)
        if channel not in self.channels and named not in self.channels:
            return False
        return not self.namespaces or any(
            _is_below(event.namespace, prefix)
            and (self.depth is None or len(event.namespace) - len(prefix) <= self.depth)
            for prefix in self.namespaces
        )


def _channel(event: ProtocolEvent) -> tuple[str, str | None]:
    if event.method == "custom":
        name = event.data.get("name")
        return "custom", None if name is None else f"{_NAMED}{name}"
    return ("input" if event.method.startswith("input.") else event.method), None


def _is_below(namespace: Sequence[str], prefix: Sequence[str]) -> bool:
    return len(prefix) <= len(namespace) and all(
        segment == wanted or (":" not in wanted and segment.partition(":")[0] == wanted)
        for segment, wanted in zip(namespace, prefix, strict=False)
    )


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _number(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Fault("invalid_argument", f"{name} is a number from 0, got {value!r}")
    return value
