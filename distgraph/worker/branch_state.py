"""The state as the conditional edges of a node read it: with the node's own writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distgraph.channels.base import BaseChannel
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.spec import GraphProgram, Write

__all__ = ("reader_of",)


def reader_of(
    graph: GraphProgram, request: AttemptRequest, writes: Sequence[Write]
) -> Callable[[Sequence[str] | str], Any]:
    """Return what conditional edges read the state with: the node's own writes are applied."""

    def read(keys: Sequence[str] | str) -> Any:
        wanted = (keys,) if isinstance(keys, str) else keys
        managed = {key: request.managed[key] for key in wanted if key in request.managed}
        written = {channel for channel, _ in writes}
        values: dict[str, Any] = {}
        for key in wanted:
            if key in managed:
                continue
            if key in request.state and key not in written:
                values[key] = request.state[key]
                continue
            channel = _with_writes(graph.spec.channels[key], key, request.state, writes)
            if channel.is_available():
                values[key] = channel.get()
        values.update(managed)
        return values.get(keys) if isinstance(keys, str) else values

    return read


def _with_writes(
    template: BaseChannel, key: str, state: Mapping[str, Any], writes: Sequence[Write]
) -> BaseChannel:
    if key in state:
        channel = template.from_checkpoint(state[key])
        if not channel.is_available():
            channel.update([state[key]])
    else:
        channel = template.copy()
    own = [v for c, v in writes if c == key]
    if own:
        channel.update(own)
    return channel
