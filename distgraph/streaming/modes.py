"""Stream options of a caller, and the conversion of events into chunks of LangGraph's shapes.

Deliberate differences from LangGraph: an unknown mode is an error (LangGraph ignores the mode); a
tuple of modes gives tagged chunks like a list (LangGraph gives untagged chunks, which cannot be
distinguished); in version "v2" the root graph's schema applies only to chunks of the root graph
(LangGraph also applies the schema to subgraphs with another state).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, Protocol, cast

from distgraph._internal.keys import INTERRUPT
from distgraph._internal.mistakes import nearest
from distgraph.constants import START
from distgraph.contract.stream import DRIVER, RESET_MODE, StreamRequest, shown_attempt
from distgraph.types import STREAM_MODES

__all__ = ("SKIP", "StreamOptions")

Mapper = Callable[[Any], Any]


class Skip(Enum):
    """Type of ``SKIP``."""

    SKIP = "skip"


SKIP: Final = Skip.SKIP
"""Return value of ``project`` for an event without a chunk."""


class _Projected(Protocol):
    @property
    def task_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def ns(self) -> tuple[str, ...]: ...
    @property
    def mode(self) -> str: ...
    @property
    def payload(self) -> Any: ...


@dataclass(frozen=True)
class StreamOptions:
    """A caller's stream arguments, validated."""

    request: StreamRequest
    """The events that driver and workers must publish: ``yielded`` and ``print_modes`` together."""
    yielded: frozenset[str]
    """Modes whose chunks the caller gets."""
    tagged: bool
    """Whether chunks contain their mode: true if the modes were given as a list."""
    print_modes: tuple[str, ...] = ()
    version: Literal["v1", "v2"] = "v1"
    numbered: bool = False
    """Whether chunks of version "v2" contain the number of their attempt."""
    output_mapper: Mapper | None = None
    state_mapper: Mapper | None = None

    @classmethod
    def parse(
        cls,
        stream_mode: str | Sequence[str] | None = None,
        *,
        default: str | Sequence[str] = "updates",
        subgraphs: bool = False,
        version: str = "v1",
        debug: bool | None = False,
        print_mode: str | Sequence[str] = (),
        output_mapper: Mapper | None = None,
        state_mapper: Mapper | None = None,
        message_events: bool = False,
    ) -> StreamOptions:
        """Validate the stream arguments of ``stream``, ``invoke`` and their like.

        Args:
            stream_mode: A mode for bare chunks, a list for tagged ones, None for ``default``.
            default: The graph's own mode.
            subgraphs: Whether events of subgraphs are streamed; chunks then name their namespace.
            version: "v1" for bare or tagged payloads, "v2" for dicts.
            debug: Print ``updates`` and ``values``, whatever ``print_mode`` says.
            print_mode: Modes to print as well, yielded or not.
            output_mapper: Version "v2": turns a dict of ``values`` into the output schema's class.
            state_mapper: Version "v2": converts the values of ``checkpoints`` alike.
            message_events: Whether mode ``messages`` shows events of chat models.

        Raises:
            ValueError: An unknown mode or version; the message lists the valid ones.
        """
        if version not in ("v1", "v2"):
            raise ValueError(f'stream version must be "v1" or "v2", got {version!r}')
        asked = default if stream_mode is None else stream_mode
        modes = _modes("stream_mode", asked)
        printed = ("updates", "values") if debug else _modes("print_mode", print_mode)
        return cls(
            request=StreamRequest(
                frozenset(modes) | frozenset(printed), bool(subgraphs), message_events
            ),
            yielded=frozenset(modes),
            tagged=not isinstance(asked, str),
            print_modes=printed,
            version=cast("Literal['v1', 'v2']", version),
            output_mapper=output_mapper if version == "v2" else None,
            state_mapper=state_mapper if version == "v2" else None,
        )

    @property
    def bare(self) -> frozenset[str]:
        """Modes of which the chunk of an event of the root graph is its payload, and nothing else
        is to be done. ``project`` returns the same."""
        request = self.request
        if self.version != "v1" or self.tagged or request.subgraphs:
            return frozenset()
        others = {"tasks", "debug", *self.print_modes}
        if request.message_events:
            others.add("messages")
        return self.yielded - others

    def project(self, event: _Projected, root: tuple[str, ...] = ()) -> Any:
        """Return the chunk for an event; ``SKIP`` if the event has no chunk.

        Also print the event if its mode is in ``print_mode``. The payload is not changed.

        Args:
            event: An event of the run.
            root: Namespace of the run's root graph; other namespaces are its subgraphs'.
        """
        ns, mode, payload = event.ns, event.mode, event.payload
        subgraphs = self.request.subgraphs
        if not subgraphs and ns != root:
            return SKIP
        if mode in self.print_modes:
            self._print(ns, mode, payload)
        shows_events = self.request.message_events
        if mode == RESET_MODE:
            pass
        elif mode not in self.yielded or (shows_events and _is_of_a_tool(mode, payload)):
            return SKIP
        if self.version == "v2":
            part = self._part(ns, mode, payload, is_root=ns == root)
            if self.numbered and event.task_id != DRIVER:
                part["attempt"] = shown_attempt(event.attempt)
            return part
        if subgraphs:
            return (ns, mode, payload) if self.tagged else (ns, payload)
        return (mode, payload) if self.tagged else payload

    def _part(
        self, ns: tuple[str, ...], mode: str, payload: Any, *, is_root: bool
    ) -> dict[str, Any]:
        if mode == "values":
            interrupts: Sequence[Any] = ()
            if isinstance(payload, dict):
                if INTERRUPT in payload:
                    interrupts = payload[INTERRUPT]
                    payload = {key: val for key, val in payload.items() if key != INTERRUPT}
                if is_root and self.output_mapper is not None:
                    payload = self.output_mapper(payload)
            return {"type": mode, "ns": ns, "data": payload, "interrupts": interrupts}
        if is_root and self.state_mapper is not None:
            if mode == "checkpoints":
                payload = _map_values(payload, self.state_mapper)
            elif mode == "debug" and payload.get("type") == "checkpoint":
                inner = _map_values(payload.get("payload"), self.state_mapper)
                payload = {**payload, "payload": inner}
        return {"type": mode, "ns": ns, "data": payload}

    def _print(self, ns: tuple[str, ...], mode: str, payload: Any) -> None:
        words = [_bold(f"[{mode}]")]
        if self.request.subgraphs and ns:
            words.append(_yellow(f"[graph={ns}]"))
        words.append(repr(payload))
        sys.stdout.write(" ".join(words) + "\n")


def _is_of_a_tool(mode: str, payload: Any) -> bool:
    return mode == "messages" and getattr(payload[0], "type", None) == "tool"


def _modes(name: str, given: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(given, (str, list, tuple)):
        raise ValueError(f"{name} is a mode or a list of modes, got {type(given).__name__}")
    modes = (given,) if isinstance(given, str) else tuple(given)
    for mode in modes:
        if mode not in STREAM_MODES:
            raise ValueError(
                f"unknown {name} {mode!r}: the stream modes are {', '.join(STREAM_MODES)}."
                f"{nearest(mode, STREAM_MODES)}"
            )
    return modes


def _map_values(checkpoint: Any, mapper: Mapper) -> Any:
    # Before the input is applied, channels that the schema needs are not set yet.
    if (
        not isinstance(checkpoint, dict)
        or not isinstance(checkpoint.get("values"), dict)
        or START in checkpoint.get("next", ())
    ):
        return checkpoint
    return {**checkpoint, "values": mapper(checkpoint["values"])}


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m"


def _yellow(text: str) -> str:
    return f"\033[1;30;33m{text}\033[0m"
