"""The control by which a node requests a drain of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgraph.runtime import RunControl

__all__ = ("AttemptControl",)


def _nothing() -> None:
    pass


class AttemptControl(RunControl):
    """The ``RunControl`` of a run, for one attempt.

    Args:
        run: The caller's own control if this is the caller's process, else a copy; None where the
            caller gave none.
        known: Reason of a drain request made before the attempt began, or None.
    """

    def __init__(self, run: RunControl | None, known: str | None) -> None:
        super().__init__()
        self._run = run
        self._known = known
        self.asked_here: str | None = None
        """Reason of a drain request made in this process; the outcome reports it to the driver."""
        self._unsubscribe = _nothing if run is None else run.listen(self._asked)

    def _asked(self, reason: str) -> None:
        self.asked_here = reason

    def close(self) -> None:
        """Unsubscribe from requests: the attempt has ended."""
        self._unsubscribe()
        self._unsubscribe = _nothing  # it refers to this

    def request_drain(self, reason: str = "shutdown") -> None:
        """Stop the run with ``GraphDrained(reason)`` after the current superstep."""
        if self._run is None:
            self._asked(reason)
            super().request_drain(reason)
        else:
            self._run.request_drain(reason)

    def __reduce__(self) -> Any:
        return super().__reduce__() if self._run is None else self._run.__reduce__()

    @property
    def drain_requested(self) -> bool:
        """Whether this process knows of a drain request for the run."""
        return self.drain_reason is not None

    @property
    def drain_reason(self) -> str | None:
        """Why, None where it was not."""
        reason = super().drain_reason if self._run is None else self._run.drain_reason
        return reason or self._known

    def listen(self, tell: Callable[[str], object]) -> Callable[[], None]:
        """Call ``tell`` with the reason of each request. Return a function that ends this."""
        if self._known is not None:
            tell(self._known)
        return super().listen(tell) if self._run is None else self._run.listen(tell)
