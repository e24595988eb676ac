"""The stream broker: fans in the events of every worker, and hands each run's to its caller.

A shell around ``RunLog``, one a run. No call ever waits for a reader: a publisher that runs ahead
is told how long to pause, so a slow consumer of one run cannot hold up another's.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import ray

from actors.reaper import cancel_tasks
from actors.untyped import remote
from distgraph.backends.coordinator import end_blob
from distgraph.contract.stream import Delivery
from distgraph.errors import InvalidTransition, WorkerDied
from distgraph.streaming.log import Gate, LogStatistics, RunLog

PAUSE = 0.02
"""Seconds that a publisher waits before it asks again whether a log has room."""

GONE = -1.0
"""In place of a pause: the run was left, and whatever of it is still sent is dropped."""

WINDOW = 4 << 20
"""Bytes on their way to a caller that it has not consumed yet."""

CALLERS = 64
"""Caller processes that can wait for events at the same time."""

GATE = 10.0
"""Seconds that a commit may wait for events that its worker has sent."""

_LOOK = 1.0
_GONE_KEPT = 4096


@dataclass(eq=False)
class _Run:
    """One run's log, and how far its caller is."""

    log: RunLog
    caller: str | None = None
    sent: int = 0
    """Last ``seq`` that was handed out."""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """(last seq, bytes) of what was handed out and not acknowledged."""
    gate: Gate | None = None
    """The gate that the log waited at when it was last looked at, and since when."""
    gate_since: float = 0.0


def _broken(run_id: str, error: Exception) -> bytes:
    """Return the terminal event of a run that the broker ends. Its driver knows nothing of it."""
    return end_blob("error", error=error, orphan=True)


class StreamBroker:
    """One session's broker. Its methods take and return packed bytes where it pays."""

    def __init__(self, max_bytes: int, max_events: int, retain_bytes: int) -> None:
        self._limits = {
            "max_bytes": max_bytes,
            "max_events": max_events,
            "retain_bytes": retain_bytes,
        }
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._ready: dict[str, threading.Condition] = {}
        self._of_caller: dict[str, dict[str, _Run]] = {}
        self._looked: dict[str, float] = {}
        """When the gates of a caller's runs were last looked at."""

    # --- in -------------------------------------------------------------------------------------

    @ray.method(concurrency_group="publish")
    def publish(self, run_id: str, packed: bytes) -> float:
        """Take segments from a worker.

        Return a pause in seconds, 0.0 to go on, or ``GONE`` where nobody reads the run any more.
        """
        segments = pickle.loads(packed)
        with self._lock:
            run = self._run(run_id)
            if run is None:
                return GONE
            try:
                for segment in segments:
                    run.log.publish(segment)
            except InvalidTransition as error:
                run.log.terminate(_broken(run_id, error), incomplete=True)
            self._wake(run)
            return PAUSE if run.log.over_limit else 0.0

    @ray.method(concurrency_group="drive")
    def drive(self, run_id: str, caller: str, batch_no: int, packed: bytes) -> float:
        """Take a batch of the driver's ops. Return a pause in seconds, 0.0 to go on."""
        ops = pickle.loads(packed) if packed else ()
        with self._lock:
            run = self._run(run_id)
            if run is None:
                return 0.0
            if run.caller is None:
                self._assign(run_id, run, caller)
            if batch_no:
                try:
                    run.log.drive(batch_no, ops)
                except InvalidTransition as error:
                    run.log.terminate(_broken(run_id, error), incomplete=True)
                self._wake(run)
            return PAUSE if run.log.over_limit else 0.0

    # --- out ------------------------------------------------------------------------------------

    @ray.method(concurrency_group="drain")
    def drain(
        self, caller: str, acks: dict[str, int], wait: float, received: dict[str, int] | None = None
    ) -> bytes:
        """Wait until a run of this caller has events, and return them: ``{run_id: deliveries}``.

        Args:
            caller: Name of the calling process.
            acks: ``seq`` up to which each run has been consumed.
            wait: Seconds to wait at most; then the answer is empty.
            received: Where an answer was lost: ``seq`` up to which each run has been received.
                What was handed out beyond that is handed out again.
        """
        deadline = time.monotonic() + wait
        with self._lock:
            ready = self._ready.get(caller)
            if ready is None:
                ready = self._ready[caller] = threading.Condition(self._lock)
            for run_id, seq in (received or {}).items():
                run = self._runs.get(run_id)
                if run is not None:
                    run.sent, run.sizes = seq, [e for e in run.sizes if e[0] <= seq]
            for run_id, seq in acks.items():
                self._acknowledge(run_id, seq)
            self._check_gates(caller)  # also where other runs leave no time to wait
            while not (found := self._take(caller)):
                left = deadline - time.monotonic()
                if left <= 0:
                    return b""
                ready.wait(min(left, _LOOK))
                self._check_gates(caller)
        return pickle.dumps(found, 5)

    @ray.method(concurrency_group="control")
    def ack(self, caller: str, run_id: str, seq: int) -> None:
        """Note that a run was consumed up to ``seq``: room for more."""
        with self._lock:
            run = self._acknowledge(run_id, seq)
            if run is not None:
                self._wake(run)

    @ray.method(concurrency_group="control")
    def close(self, run_ids: list[str]) -> None:
        """Forget runs: whatever comes of them later is dropped."""
        with self._lock:
            for run_id in run_ids:
                run = self._runs.pop(run_id, None)
                if run is not None and run.caller is not None:
                    self._of_caller.get(run.caller, {}).pop(run_id, None)
                self._gone[run_id] = None
            while len(self._gone) > _GONE_KEPT:
                self._gone.popitem(last=False)

    @ray.method(concurrency_group="control")
    def terminate(self, caller: str, run_ids: list[str], blob: bytes) -> None:
        """End runs without their driver, which is lost."""
        with self._lock:
            for run_id in run_ids:
                run = self._run(run_id)
                if run is not None:
                    if run.caller is None:
                        self._assign(run_id, run, caller)
                    run.log.terminate(blob)
                    self._wake(run)

    @ray.method(concurrency_group="cancel")
    def cancel_tasks(self, refs: list[Any], force: bool) -> None:
        """Cancel tasks for the driver, which must not do so by itself: see the reaper."""
        cancel_tasks(refs, force)

    @ray.method(concurrency_group="control")
    def statistics(self) -> dict[str, LogStatistics]:
        """Return the statistics of each run's log."""
        with self._lock:
            return {run_id: run.log.statistics() for run_id, run in self._runs.items()}

    @ray.method(concurrency_group="control")
    def ping(self) -> str:
        """Return the version of distgraph here."""
        from distgraph import __version__

        return __version__

    # --- the lock is held -----------------------------------------------------------------------

    def _run(self, run_id: str) -> _Run | None:
        run = self._runs.get(run_id)
        if run is None and run_id not in self._gone:
            run = self._runs[run_id] = _Run(RunLog(**self._limits))
        return run

    def _assign(self, run_id: str, run: _Run, caller: str) -> None:
        run.caller = caller
        self._of_caller.setdefault(caller, {})[run_id] = run

    def _wake(self, run: _Run) -> None:
        ready = self._ready.get(run.caller) if run.caller is not None else None
        if ready is not None:
            ready.notify_all()

    def _take(self, caller: str) -> dict[str, list[Delivery]]:
        found: dict[str, list[Delivery]] = {}
        for run_id, run in self._of_caller.get(caller, {}).items():
            room = WINDOW - sum(size for _, size in run.sizes)
            if room <= 0 or run.log.last_seq == run.sent:
                continue
            deliveries = run.log.read(run.sent, room)
            last = deliveries[-1]
            run.sent = last.seq + last.segment.count - 1
            run.sizes.append((run.sent, sum(len(d.segment.blob) for d in deliveries)))
            found[run_id] = deliveries
        return found

    def _check_gates(self, caller: str) -> None:
        """End runs that wait for events of an attempt which will not come: its worker sent its
        result, and died before what it had sent to the stream was through."""
        now = time.monotonic()
        if now < self._looked.get(caller, -_LOOK) + _LOOK:
            return
        self._looked[caller] = now
        for run_id, run in self._of_caller.get(caller, {}).items():
            gate = run.log.gate
            if gate is None or gate != run.gate:
                run.gate, run.gate_since = gate, now
            elif now > run.gate_since + GATE:
                lost = gate.published - gate.arrived
                error = WorkerDied(
                    f"run {run_id}: {lost} events of task {gate.task_id}, attempt {gate.attempt}, "
                    "were lost with the worker that had sent them"
                )
                run.log.terminate(_broken(run_id, error), incomplete=True)

    def _acknowledge(self, run_id: str, seq: int) -> _Run | None:
        run = self._runs.get(run_id)
        if run is None:
            return None
        if seq > run.sent:
            raise InvalidTransition(f"run {run_id}: seq {seq} acknowledged, {run.sent} handed out")
        run.log.ack(seq)
        run.sizes = [entry for entry in run.sizes if entry[0] > seq]
        return run


StreamBrokerActor: Any = remote(
    num_cpus=0,
    max_restarts=0,
    concurrency_groups={"publish": 1, "drive": 1, "drain": CALLERS, "control": 4, "cancel": 1},
)(StreamBroker)
"""The broker as a Ray actor: threads by concern, so that none waits for another."""
