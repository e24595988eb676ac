"""An entrypoint's function as a node, and the writes that follow from its return value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from distgraph._internal.keys import PREVIOUS
from distgraph._internal.loaded import loaded
from distgraph.constants import END
from distgraph.contract.spec import Reader, Write
from distgraph.worker.decorated import Decorated

__all__ = ("Final", "FinalWriter", "WorkflowBody", "is_final")


R = TypeVar("R")
S = TypeVar("S")


@dataclass(slots=True)
class Final(Generic[R, S]):
    """Return value of an entrypoint that saves another value than the workflow's output.

    Attributes:
        value: The workflow's output.
        save: The value that the thread's next run receives as ``previous``.
    """

    value: R
    save: S


def is_final(cls: Any) -> bool:
    """Return whether a class is ``entrypoint.final`` of either library."""
    theirs = getattr(loaded("langgraph.func", "entrypoint"), "final", None)
    return cls is not None and cls in (Final, theirs)


@dataclass(frozen=True)
class WorkflowBody:
    """Calls the function with the workflow's input."""

    decorated: Decorated

    def __call__(self, input: Any, context: Any) -> Any:
        return self.decorated((input,), {}, context)


@dataclass(frozen=True)
class FinalWriter:
    """Writes the output, and what the thread's next run gets as ``previous``."""

    is_async: ClassVar[bool] = False

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        if is_final(type(value)):
            return ((END, value.value), (PREVIOUS, value.save))
        return ((END, value), (PREVIOUS, value))

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return self(value, read, context)
