"""The protocol of channels: small classes that hold one key of the state between supersteps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from typing_extensions import TypeVar

from distgraph._internal.missing import MISSING
from distgraph.errors import EmptyChannelError, InvalidUpdateError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("BaseChannel", "invalid_update")

Value = TypeVar("Value", default=Any)
Update = TypeVar("Update", default=Any)
Checkpoint = TypeVar("Checkpoint", default=Any)


def invalid_update(key: str, message: str) -> InvalidUpdateError:
    """Build an ``InvalidUpdateError`` about one state key, which it carries as ``.key``."""
    error = InvalidUpdateError(f"At key '{key}': {message}")
    error.key = key  # type: ignore[attr-defined]
    return error


class BaseChannel(ABC, Generic[Value, Update, Checkpoint]):
    """One key of the state, and the rule by which the writes of a superstep update it.

    A channel does not copy the values that it holds. Pickling keeps everything but ``typ``, which
    nothing needs at run time and which may be a class that cannot travel.
    """

    __slots__ = ("key", "typ", "value")

    saved_as_writes: ClassVar[bool] = False
    """Whether checkpoints keep the channel's writes, and its value only now and then."""
    replays: ClassVar[bool] = False
    """Whether ``from_writes`` makes the value again: the saver is asked for the writes."""

    _config: ClassVar[tuple[str, ...]] = ()
    """Attributes that the user sets: an empty channel has them too."""
    _state: ClassVar[tuple[str, ...]] = ("value",)
    """Attributes that updates change."""

    key: str
    typ: Any
    value: Any

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        self.typ = typ
        self.key = key
        self._clear()

    @property
    def ValueType(self) -> Any:
        """The type of what ``get`` returns."""
        return self.typ

    @property
    def UpdateType(self) -> Any:
        """The type of one write."""
        return self.typ

    def _clear(self) -> None:
        """Set the attributes of ``_state`` to what an empty channel has."""
        self.value = MISSING

    def _empty(self) -> Self:
        new = object.__new__(type(self))
        new.typ = self.typ
        new.key = self.key
        for name in self._config:
            setattr(new, name, getattr(self, name))
        return new

    def copy(self) -> Self:
        """Return a channel in the same state that updates independently of this one."""
        new = self._empty()
        for name in self._state:
            setattr(new, name, getattr(self, name))
        return new

    def from_checkpoint(self, checkpoint: Checkpoint | Any) -> Self:
        """Return a channel of this kind with the state of ``checkpoint``; empty for MISSING."""
        new = self._empty()
        new._clear()
        if checkpoint is not MISSING:
            new.value = checkpoint
        return new

    def from_writes(self, stored: Checkpoint | Any, writes: Sequence[Update]) -> Self:
        """Return a channel of this kind with the state of a checkpoint and later writes."""
        new = self.from_checkpoint(stored)
        for write in writes:  # of many supersteps: each may have an Overwrite
            new.update([write])
        return new

    def with_ids(self, write: Update) -> Update:
        """Return a write as it is saved, if the channel is saved as writes."""
        return write

    def snapshot_due(self, updates: int) -> bool:
        """Return whether the next checkpoint must hold the value, after so many without it."""
        return False

    def checkpoint(self) -> Checkpoint | Any:
        """Return the argument of ``from_checkpoint``; MISSING if the channel is empty."""
        return self.value

    def get(self) -> Value:
        """Return the value.

        Raises:
            EmptyChannelError: The channel holds none.
        """
        if self.value is MISSING:
            raise EmptyChannelError(f"channel '{self.key}' is empty")
        return self.value  # type: ignore[no-any-return]

    def is_available(self) -> bool:
        """Return whether ``get`` would return a value."""
        return self.value is not MISSING

    def _last(self, values: Sequence[Update], guard: bool) -> Update:
        """Return the last of the values of one superstep, with ``guard`` the only one."""
        if guard and len(values) != 1:
            raise invalid_update(
                self.key,
                f"{type(self).__name__}(guard=True) can receive only one value per step, got "
                f"{len(values)}. Use guard=False to keep the last of several.",
            )
        return values[-1]

    @abstractmethod
    def update(self, values: Sequence[Update]) -> bool:
        """Apply the writes of one superstep, in order; return whether anything changed.

        ``values`` is empty at the end of a superstep without writes to the channel.

        Raises:
            InvalidUpdateError: These writes together break the channel's rule.
        """

    def consume(self) -> bool:
        """Record that a node of this channel has run; return whether the channel changed."""
        return False

    def finish(self) -> bool:
        """Record that the run is about to end; return whether a value became available."""
        return False

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in self._config
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in (*self._config, *self._state)
        )
        return f"{type(self).__name__}(key={self.key!r}, {shown})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("key", *self._config, *self._state)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.typ = Any
        for name, value in state.items():
            setattr(self, name, value)
