"""An exception on its way between processes, as plain data.

``serde.exceptions`` takes an exception apart into this form and puts it together again. The fields
are text and bytes: whoever carries a ``ShippedError`` needs none of the classes in it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorParts:
    """What rebuilds an exception whose own pickle does not: nothing of its ``__init__`` is run."""

    cls: bytes
    args: bytes
    attributes: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class ShippedError:
    """An exception as plain data."""

    type_name: str
    """Module and qualified name of its class."""
    message: str
    traceback_text: str
    """As Python would have printed it on the worker, causes included."""
    notes: tuple[str, ...] = ()
    pickled: bytes | None = None
    """The exception's own pickle, where it survived a round trip on the worker."""
    lost: tuple[tuple[str, bytes], ...] = ()
    """Attributes that its own pickle leaves out."""
    parts: ErrorParts | None = None
    children: tuple[ShippedError, ...] | None = None
    """The exceptions of an ``ExceptionGroup``."""
    cause: ShippedError | None = None
    context: ShippedError | None = None
    suppress_context: bool = False

    @property
    def attributes(self) -> frozenset[str]:
        """Names of the attributes that travel beside the exception's own pickle."""
        beside = (*self.lost, *(() if self.parts is None else self.parts.attributes))
        return frozenset(name for name, _ in beside)
