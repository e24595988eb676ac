"""Access of a process to resources of another process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distgraph.concurrency.threads import in_thread

if TYPE_CHECKING:
    from distgraph.persistence.placing import Placed

__all__ = ("Reach",)


class Reach(ABC):
    """Calls methods of savers, stores and caches where these live. Any thread may use it."""

    @abstractmethod
    def __call__(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Return the result of the method, or raise its exception."""

    async def acall(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Async variant of ``call``, which does not block the event loop."""
        return await in_thread(self, placed, method, args, kwargs)

    def opens(self, placed: Placed) -> bool:
        """Whether this process opens the resource itself."""
        return placed.kind != "caller"
