"""Signs of progress of an attempt, and what takes them: its own idle limit, and those of the
graphs around it, which the engine watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from distgraph.contract.events import ProgressMade

if TYPE_CHECKING:
    from distgraph.contract.attempt import AttemptRequest
    from distgraph.contract.stream import Event
    from distgraph.worker.deadline import Clock

__all__ = ("Progress",)


class Progress:
    """Takes the signs of one attempt, from any thread.

    Args:
        request: The attempt.
        clock: Its own limit of time.
        report: Sends a report to the engine; None if the backend has no way to it.
    """

    def __init__(
        self,
        request: AttemptRequest,
        clock: Clock | None,
        report: Callable[[ProgressMade], None] | None,
    ) -> None:
        self._request = request
        self._clock = clock if clock is not None and clock.listens else None
        self._send = report
        self._reports = request.reports if report is not None else None
        self._reported: dict[str, float] = {}
        self.listens = self._clock is not None or (
            self._reports is not None and self._reports.events
        )
        """Whether events and callbacks of the node count as progress."""
        self.heartbeat: Callable[[], None] | None = None
        """Function by which a node reports progress; None if nobody waits for it."""
        if clock is not None and clock.heartbeat is not None:  # the nearest limit takes it alone
            self.heartbeat = clock.heartbeat
        elif self._reports is not None:
            self.heartbeat = partial(self._report, "heartbeat")

    def begin(self) -> None:
        """Note that the node's own code runs from here on."""
        if self._reports is not None:
            self._report("begun")

    def beat_own(self) -> None:
        """Note what only the node's own limit takes for progress: it is not streamed."""
        if self._clock is not None:
            self._clock.beat()

    def beat(self) -> None:
        """Note an event or a callback."""
        self.beat_own()
        if self._reports is not None and self._reports.events:
            self._report("events")

    def watching(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return ``emit`` with each event taken for progress, where it is."""
        if not self.listens:
            return emit

        def emit_and_beat(event: Event) -> None:
            self.beat()
            emit(event)

        return emit_and_beat

    def _report(self, kind: Literal["begun", "events", "heartbeat"]) -> None:
        if self._reports is None or self._send is None:
            return
        now = time.monotonic()
        if now - self._reported.get(kind, float("-inf")) < self._reports.every:
            return
        self._reported[kind] = now
        self._send(ProgressMade(self._request.task_id, self._request.attempt, kind))
