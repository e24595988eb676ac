"""Access of a process to resources of another process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distgraph.concurrency.threads import in_thread
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data

if TYPE_CHECKING:
    from distgraph.persistence.placed import Placed

__all__ = ("SAVE", "Reach", "pack_arguments")

SAVE = "calls of put and put_writes"
"""A method that stands for several calls of a saver in another process, in their order. Its
arguments are the method and the arguments of each."""

_PARAMETERS = {
    "put": ("namespace", "key", "value"),
    "batch": ("ops",),
    "put_writes": ("config", "writes", "task_id"),
    "set": ("pairs",),
}
"""Parameters by which users know the arguments of calls, by method."""


def pack_arguments(
    label: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bytes:
    """Pickle the arguments of a call.

    Raises:
        SerializationError: Names the method, the argument and the path to what cannot be pickled.
    """
    try:
        return dumps_data((tuple(args), dict(kwargs)))
    except SerializationError as error:
        own = method.removeprefix("a") if method[1:] in _PARAMETERS else method
        names = _PARAMETERS.get(own, ())
        named = [(names[i] if i < len(names) else f"args[{i}]", arg) for i, arg in enumerate(args)]
        for name, value in (*named, *kwargs.items()):
            try:
                dumps_data(value, name=name)
            except SerializationError as found:
                raise SerializationError(
                    f"{label}, which is in another process: an argument of {method}() cannot be "
                    f"sent there: {found}"
                ) from error
        raise


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
