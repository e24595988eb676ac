"""Started runs of this process: their broker, their readers, and their way into the log.

The broker, with its rules for readers and retention, is that of the other backends; only calls take
the place of messages. Events are pickled when they are emitted, so that each reader has objects of
its own. An event that cannot be pickled is kept by reference.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from distgraph.concurrency.timers import timers
from distgraph.contract.started_runs import RunState
from distgraph.contract.stream import AttemptId, Blob, Event, Op, Segment
from distgraph.driver.operations import end_event
from distgraph.driver.ports import Acked, DriverEvent, Relieved
from distgraph.errors import RunNotFound
from distgraph.streaming.broker import PAUSE, Broker
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.codec import encode_events
from distgraph.streaming.limits import limits_from_environment
from distgraph.streaming.reader import Reader
from distgraph.streaming.receiver import Receiver
from distgraph.streaming.transport import ReaderKey
from distgraph.streaming.transport_local import LocalReads

__all__ = ("KeptStream", "LocalStarted", "StartedRuns", "encode_kept", "started_runs")


def encode_kept(events: list[Event]) -> Blob:
    """Return the blob of events, or the events themselves where they cannot be pickled."""
    try:
        return encode_events(events)
    except Exception:
        return list(events)


def _end(error: BaseException) -> Blob:
    return [end_event("error", error=error, orphan=True)]


class KeptStream:
    """A started run's way into its log: as ``LocalStream``, for a run that no reader owns.

    Args:
        host: The broker.
        run_id: Id of the run.
    """

    def __init__(self, host: BrokerHost, run_id: str) -> None:
        self.changed = threading.Condition()
        """Guards the attempts' access to the log."""
        self.post: Callable[[DriverEvent], None] = lambda event: None
        """Accepts the news that the log has room again."""
        self._host = host
        self._run_id = run_id
        self._over_limit = False
        self._asking = False
        """Whether the driver waits for a notification that there is room."""

    @property
    def over_limit(self) -> bool:
        """Whether emitters must wait for room. The lock is held."""
        return self._over_limit

    def wait_for_room(self) -> None:
        """Wait until there may be room. The lock is held, and free meanwhile."""
        self.changed.wait(PAUSE)
        self._over_limit = self._has_no_room()

    def publish(self, segment: Segment) -> None:
        """Take an attempt's events. The lock is held."""
        if isinstance(segment.blob, list):
            segment = segment._replace(blob=encode_kept(segment.blob))
        self._over_limit = self._host.publish(self._run_id, [segment]) > 0

    def notify(self) -> None:
        """Wake emitters. The lock is held."""
        self.changed.notify_all()

    def drive(self, batch_no: int, ops: Sequence[Op], *, awaited: bool) -> Acked:
        congested = self._host.drive(self._run_id, "", batch_no, ops) > 0
        if congested and not self._asking:
            self._asking = True
            timers().after(PAUSE, self._ask)
        return Acked(congested)

    def fence(self, attempt_id: AttemptId) -> int:
        return self._host.fence(self._run_id, *attempt_id)

    def terminate(self, error: BaseException) -> None:
        self._host.terminate("", [self._run_id], [end_event("error", error=error)])

    def _has_no_room(self) -> bool:
        return self._host.drive(self._run_id, "", 0, ()) > 0

    def _ask(self) -> None:
        if self._has_no_room():
            timers().after(PAUSE, self._ask)
            return
        self._asking = False
        # the timers serve every run: a thread of this run takes over
        self.post(Relieved())


class LocalStarted:
    """A started run of this process, for its readers."""

    blocks = False

    def __init__(self, runs: StartedRuns, run_id: str) -> None:
        self.run_id = run_id
        self._runs = runs

    def describe(self) -> RunState:
        state = self._runs.host.describe(self.run_id)
        if state is None:
            raise RunNotFound(f"run {self.run_id} is no longer kept in this process")
        return state

    def face(self) -> Any:
        return self._runs.faces.get(self.run_id)

    def cancel(self) -> None:
        self._runs.cancel([self.run_id])

    def open(
        self,
        after: int | None,
        *,
        only_end: bool = False,
        loop: asyncio.AbstractEventLoop | None,
    ) -> Reader:
        if loop is None:
            self._runs.refuse_to_block(self.run_id)
        key = ReaderKey(self.run_id, self._runs.next_reader())
        return Reader.open(self._runs.receiver, key, loop, after, only_end=only_end)


class StartedRuns:
    """The started runs of this process."""

    def __init__(self) -> None:
        self.host = BrokerHost(
            Broker(limits_from_environment(), _end), overdue=self.cancel, forgotten=self._forget
        )
        self.receiver = Receiver(LocalReads(self.host), "local", lambda error: None)
        self.next_reader = itertools.count(1).__next__
        self.faces: dict[str, Any] = {}
        self.cancels: dict[str, Callable[[], object]] = {}
        """Ends runs that go on, by run id."""
        self.loops: dict[str, asyncio.AbstractEventLoop] = {}
        """The event loops that runs need in order to go on."""

    def find(self, run_id: str) -> LocalStarted | None:
        """Return the run of that id; None if it is not known."""
        return None if self.host.describe(run_id) is None else LocalStarted(self, run_id)

    def cancel(self, run_ids: Sequence[str]) -> None:
        """Request the end of runs."""
        for run_id in run_ids:
            cancel = self.cancels.get(run_id)
            if cancel is not None:
                cancel()

    def ended(self, run_id: str) -> None:
        """Note that a run goes on no longer."""
        self.cancels.pop(run_id, None)
        self.loops.pop(run_id, None)

    def refuse_to_block(self, run_id: str) -> None:
        """Refuse to block the event loop on which the nodes of a run are to run.

        Raises:
            RuntimeError: This thread is that of the loop.
        """
        loop = self.loops.get(run_id)
        if loop is None:
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is loop:
            raise RuntimeError(
                f"run {run_id} needs the event loop of this thread, which a blocking call would "
                "stop: use aresult() and aevents()"
            )

    def _forget(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            self.faces.pop(run_id, None)


@lru_cache(maxsize=1)
def started_runs() -> StartedRuns:
    """Return the started runs of this process."""
    return StartedRuns()
