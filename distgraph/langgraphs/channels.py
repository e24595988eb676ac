"""Conversion of LangGraph's channels into distgraph's; an adapter for channel classes of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distgraph import channels as own
from distgraph._internal.keys import TASKS
from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel
from distgraph.channels.delta import unwrapped
from distgraph.channels.message_ids import with_ids
from distgraph.errors import EmptyChannelError, InvalidUpdateError, UnsupportedError
from distgraph.graph.message import own_reducer
from distgraph.langgraphs.vocabulary import private
from distgraph.managed import ManagedKind, managed_kind
from distgraph.types import Send

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("ForeignChannel", "ForeignDeltaChannel", "annotated_channel", "translate_channels")


def translate_channels(
    channels: Mapping[str, Any], where: str
) -> tuple[dict[str, BaseChannel], dict[str, ManagedKind]]:
    """Split a compiled graph's channels into distgraph channels and kinds of managed values.

    Raises:
        UnsupportedError: One is neither a channel nor a managed value that the engine knows.
    """
    from langgraph.channels.base import BaseChannel as Foreign

    translated: dict[str, BaseChannel] = {}
    managed: dict[str, ManagedKind] = {}
    for key, channel in channels.items():
        if isinstance(channel, Foreign):
            translated[key] = _translate(channel)
            translated[key].key = key
        elif kind := managed_kind(channel):
            managed[key] = kind
        else:
            raise _unknown_managed(channel, f"{where}: state key {key!r}")
    translated[TASKS] = own.Topic(Send, accumulate=False)
    translated[TASKS].key = TASKS
    return translated, managed


def annotated_channel(value: Any, typ: Any, where: str) -> BaseChannel:
    """Return our channel for what stands in ``Annotated[typ, value]``: a channel, or its class.

    Raises:
        UnsupportedError: It is a managed value, or a channel that cannot be saved.
    """
    from langgraph.channels.base import BaseChannel as Foreign

    if isinstance(value, Foreign):
        return _translate(value, typ)
    if issubclass(value, Foreign):
        return _translate(value(typ), typ)
    raise _unknown_managed(value, where)


def _unknown_managed(value: Any, where: str) -> UnsupportedError:
    return UnsupportedError(
        f"{where} is a managed value of {getattr(value, '__name__', None) or type(value).__name__},"
        " which distgraph does not compute. Use IsLastStep or RemainingSteps, or pass the value in "
        "by context="
    )


def _translate(channel: Any, of: Any = None) -> BaseChannel:
    """Return our channel of the same kind, empty. ``of``: type of a ``DeltaChannel``'s value."""
    cls = type(channel)
    if cls.__name__ != "DeltaChannel" and any(c.__name__ == "DeltaChannel" for c in cls.__mro__):
        if of is not None:  # the annotated type decides, as in LangGraph
            frequency = channel.snapshot_frequency
            channel = cls(channel.reducer, of, snapshot_frequency=frequency)
        return ForeignDeltaChannel(channel)
    if not cls.__module__.startswith("langgraph.channels."):
        return ForeignChannel(channel)
    name, typ = cls.__name__, channel.typ
    if name == "BinaryOperatorAggregate":
        return own.BinaryOperatorAggregate(typ, own_reducer(channel.operator))
    if name == "DeltaChannel":
        frequency = channel.snapshot_frequency
        return own.DeltaChannel(channel.reducer, of or typ, snapshot_frequency=frequency)
    if name in ("EphemeralValue", "UntrackedValue"):
        guarded: Any = getattr(own, name)
        return guarded(typ, channel.guard)  # type: ignore[no-any-return]
    if name == "Topic":
        return own.Topic(typ, channel.accumulate)
    if name in ("NamedBarrierValue", "NamedBarrierValueAfterFinish"):
        barrier: Any = getattr(own, name)
        return barrier(typ, channel.names)  # type: ignore[no-any-return]
    if name in ("LastValue", "LastValueAfterFinish", "AnyValue"):
        plain: Any = getattr(own, name)
        return plain(typ)  # type: ignore[no-any-return]
    return ForeignChannel(channel)


class ForeignChannel(BaseChannel[Any, Any, Any]):
    """A channel of a class that only LangGraph knows, such as one that the user wrote."""

    __slots__ = ()

    def __init__(self, channel: Any) -> None:
        super().__init__(channel.typ)
        # as at the start of a run, which is not what every class has after its __init__
        self.value = channel.from_checkpoint(_missing())

    def _clear(self) -> None:
        self.value = None

    def copy(self) -> Self:
        new = self._empty()
        new.value = self.value.copy()
        return new

    def checkpoint(self) -> Any:
        saved = self.value.checkpoint()
        return MISSING if saved is _missing() else saved

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = self._empty()
        new.value = self.value.from_checkpoint(_missing() if checkpoint is MISSING else checkpoint)
        return new

    def get(self) -> Any:
        from langgraph.errors import EmptyChannelError as ForeignEmpty

        try:
            return self.value.get()
        except ForeignEmpty:
            raise EmptyChannelError(f"channel '{self.key}' is empty") from None

    def is_available(self) -> bool:
        return bool(self.value.is_available())

    def update(self, values: Sequence[Any]) -> bool:
        from langgraph.errors import InvalidUpdateError as ForeignInvalid

        try:
            return bool(self.value.update(values))
        except ForeignInvalid as error:
            raise InvalidUpdateError(str(error)) from error

    def consume(self) -> bool:
        return bool(self.value.consume())

    def finish(self) -> bool:
        return bool(self.value.finish())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ForeignChannel) and bool(self.value == other.value)

    __hash__ = None


class ForeignDeltaChannel(ForeignChannel):
    """A channel of a class that the user derived from LangGraph's ``DeltaChannel``."""

    __slots__ = ()
    saved_as_writes = True
    replays = True

    def from_checkpoint(self, checkpoint: Any) -> Self:
        from langgraph.checkpoint.serde.types import _DeltaSnapshot

        stored = unwrapped(checkpoint)
        return super().from_checkpoint(MISSING if stored is MISSING else _DeltaSnapshot(stored))

    def from_writes(self, stored: Any, writes: Sequence[Any]) -> Self:
        new = self.from_checkpoint(stored)
        new.value.replay_writes([("", self.key, write) for write in writes])
        return new

    def with_ids(self, write: Any) -> Any:
        of_messages = getattr(self.value.reducer, "__name__", "") == "_messages_delta_reducer"
        return with_ids(write, messages_only=of_messages)

    def snapshot_due(self, updates: int) -> bool:
        return updates >= int(self.value.snapshot_frequency)


def _missing() -> Any:
    return private("MISSING")
