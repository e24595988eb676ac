"""An exception on its way between processes, as plain data.

``serde.exceptions`` takes an exception apart into this form and puts it together again. The fields
are text and bytes: a process that carries a ``ShippedError`` needs none of its classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ("ErrorData", "ErrorParts", "Frame", "ShippedError")


class Frame(NamedTuple):
    """One frame of a traceback."""

    filename: str
    line: int
    name: str
    """Qualified name of the function."""
    module: str
    span: tuple[int, int, int] | None
    """End line, column, end column (in UTF-8 bytes, from 0), where Python knows them."""
    source: str
    """Text of the lines, where the process that read the traceback could read them."""


@dataclass(frozen=True, slots=True)
class ErrorParts:
    """The data that rebuilds an exception whose own pickle fails; the rebuild does not run
    ``__init__``."""

    cls: bytes
    args: tuple[bytes, ...]
    attributes: tuple[tuple[str, bytes], ...]
    altered: bool
    """Whether attributes on which the exception's text may depend are missing."""


@dataclass(frozen=True, slots=True)
class ErrorData:
    """The data of an exception, except its name and its message."""

    frames: tuple[Frame, ...]
    traceback_text: str
    """The traceback as Python prints the traceback where the exception was raised, causes
    included."""
    where: str
    """Host and process."""
    notes: tuple[str, ...] = ()
    pickled: bytes | None = None
    """The exception's own pickle, where it survived a round trip."""
    lost: tuple[tuple[str, bytes], ...] = ()
    """Attributes that its own pickle leaves out."""
    parts: ErrorParts | None = None
    bases: tuple[bytes, ...] = ()
    """Base classes, nearest first: for a process that does not have the class."""
    children: tuple[ShippedError, ...] | None = None
    """The exceptions of an ``ExceptionGroup``."""
    cause: ShippedError | None = None
    context: ShippedError | None = None
    suppress_context: bool = False


@dataclass(frozen=True)
class ShippedError:
    """An exception: the object itself in the process that caught it, plain data elsewhere."""

    type_name: str
    """Module and qualified name of its class."""
    message: str
    data: ErrorData | None

    def has_attribute(self, name: str) -> bool:
        """Whether the exception has an attribute of its own of this name."""
        data = self.data
        if data is None:
            return False
        beside = (*data.lost, *(() if data.parts is None else data.parts.attributes))
        return any(known == name for known, _ in beside)
