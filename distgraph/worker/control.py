"""A node's own way to ask its run to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgraph.runtime import RunControl

__all__ = ("AttemptControl",)


class AttemptControl(RunControl):
    """The control of a run, as one attempt has it.

    Args:
        run: The caller's own where this is its process, else None or a copy.
        known: Why the run was asked to stop before the attempt began, if it was.
    """

    def __init__(self, run: RunControl | None, known: str | None) -> None:
        super().__init__()
        self._run = RunControl() if run is None else run
        self._known = known
        self.asked_here: str | None = None
        """Why the end was asked for in this process: the attempt's outcome tells the driver."""
        self._unsubscribe = self._run.listen(self._asked)

    def _asked(self, reason: str) -> None:
        self.asked_here = reason

    def close(self) -> None:
        """Hear of no more requests: the attempt has ended."""
        self._unsubscribe()

    def request_drain(self, reason: str = "shutdown") -> None:
        """Let the run end with ``GraphDrained(reason)`` behind the current superstep."""
        self._run.request_drain(reason)

    def __reduce__(self) -> Any:
        return self._run.__reduce__()

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop, as far as it is known here."""
        return self.drain_reason is not None

    @property
    def drain_reason(self) -> str | None:
        """Why, None where it was not."""
        return self._run.drain_reason or self._known

    def listen(self, tell: Callable[[str], object]) -> Callable[[], None]:
        """Call ``tell`` with the reason of each request. Returns what ends that."""
        if self._known is not None:
            tell(self._known)
        return self._run.listen(tell)
