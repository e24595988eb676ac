"""An entrypoint's function as a node, and what becomes of what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from distgraph._internal.keys import PREVIOUS
from distgraph.constants import END
from distgraph.contract.spec import Reader, Write
from distgraph.worker.decorated import Decorated

__all__ = ("FinalWriter", "WorkflowBody")


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
        from distgraph.func.entrypoints import entrypoint

        if isinstance(value, entrypoint.final):
            return ((END, value.value), (PREVIOUS, value.save))
        return ((END, value), (PREVIOUS, value))

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return self(value, read, context)
