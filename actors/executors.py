"""The executors of a session: processes shared by many waiting attempts.

Attempts go to an executor many in one call, and their outcomes come back many in one answer: one
question is always outstanding per executor, which is also how its death is noticed.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster import alive_nodes
from actors.heartbeats import WorkerHeartbeats
from actors.persistent import persistent
from actors.tasks import EXECUTOR_CALLS, AsyncExecutorActor
from distgraph.concurrency.timers import timers
from distgraph.driver.ports import NotTaken
from distgraph.driver.retiring import Retirement
from distgraph.errors import WorkerDied
from distgraph.serde.pickling import dumps_parcel, loads

logger = logging.getLogger("distgraph")

_LOOK = 1.0
"""Seconds between two looks at the state of executors."""

_END = 10.0
"""Seconds for finalizers of an executor that is not needed any more."""

_CROWDED = 64
"""Attempts in one executor from which another machine gets one too."""

_NODES_FOR = 5.0
"""Seconds for which the list of machines is trusted."""

_LOOK = 2.0
"""Seconds between two looks at the threads that are idle."""

Done = Callable[["bytes | None", "BaseException | None"], None]
"""Takes a packed outcome, or why there is none, or neither: it was cancelled."""


class Executor:
    """One executor process, from the driver's view."""

    def __init__(
        self,
        ticket: bytes,
        node: str | None,
        lost: Callable[[Executor], object] = lambda executor: None,
        *,
        pinned: bool = False,
        heartbeats: WorkerHeartbeats | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.retirement = Retirement()
        self._heartbeats = heartbeats
        self._cancelled: dict[str, float] = {}
        self._arriving: dict[str, Sequence[str]] = {}
        """Packets that the process may not have begun, by the name of their first attempt."""
        strategy = NodeAffinitySchedulingStrategy(node, soft=True) if node else "DEFAULT"
        self._handle: Any = AsyncExecutorActor.options(
            max_concurrency=EXECUTOR_CALLS, scheduling_strategy=strategy
        ).remote(ticket, pinned, self.id)
        self.node = node
        self._lost = lost
        self._lock = threading.Lock()
        self._jobs: dict[str, Done] = {}
        self._listening = False
        self.is_lost = False
        """Whether the process is known to be gone."""
        # nothing may be on its way to one that dies between two runs
        self._handle.watch.remote().future().add_done_callback(self._watched)

    @property
    def load(self) -> int:
        """Attempts that have not come back."""
        return len(self._jobs)

    def prepare(self, digest: str, program: bytes, paths: tuple[str, ...]) -> None:
        """Let the process load a graph, and do not wait: a failure also occurs in its attempts."""
        prepared = self._handle.prepare.remote(digest, program, paths)
        prepared.future().add_done_callback(lambda future: future.exception())

    def submit(
        self,
        jobs: Sequence[tuple[str, Done]],
        packed: bytes,
        snapshots: Sequence[Any],
        thread: bool,
    ) -> None:
        """Send the attempts of a packet; each ``Done`` is called once.

        Args:
            jobs: A name for each attempt, in the packet's order, and what takes its outcome.
            packed: The packet.
            snapshots: References to large state values.
            thread: Run synchronous nodes in threads.
        """
        names = [name for name, _ in jobs]
        with self._lock:
            self._jobs.update(jobs)
            self._arriving[names[0]] = names
            listen = not self._listening
            self._listening = True
        sent = self._handle.submit.remote(names, packed, thread, *snapshots)
        sent.future().add_done_callback(lambda future: self._refused(names, future))
        if listen:
            self._listen()

    def cancel(self, names: Sequence[str]) -> None:
        """End attempts; of those that have no outcome then, ``Done`` is called with nothing."""
        with self._lock:
            known = [name for name in names if name in self._jobs]
            self._cancelled.update(dict.fromkeys(known, time.monotonic()))
        if known:
            self._handle.cancel.remote(known)

    def look(self) -> bool:
        """Retire or end the process if that is due. Return whether it gets new attempts."""
        if self._heartbeats is None:
            return True
        health = self._heartbeats.health(self.id)
        with self._lock:
            cancelled = {n: since for n, since in self._cancelled.items() if n in self._jobs}
            self._cancelled = cancelled
            running = len(self._jobs)
        verdict = self.retirement.look(health, cancelled, running, time.monotonic())
        if verdict.retire:
            stack = f"\n{health.stack}" if health.stack else ""
            logger.warning(
                "an executor gets no more attempts, because %s; new attempts go to another one%s",
                verdict.retire,
                stack,
            )
            self._move_arriving()
        if verdict.end:
            ray.kill(self._handle)
            self._fail(WorkerDied(f"the executor was ended, because {self.retirement.why}"))
        return not self.retirement.why

    def _move_arriving(self) -> None:
        """Give up attempts that the process has not begun: they run elsewhere."""
        assert self._heartbeats is not None
        took = self._heartbeats.took(self.id)
        with self._lock:
            packets = [names for first, names in self._arriving.items() if first not in took]
            names = [name for packet in packets for name in packet if name in self._jobs]
            self._arriving.clear()
            moved = [self._jobs.pop(name) for name in names]
        if names:
            self._handle.cancel.remote(names)
        for done in moved:
            done(None, NotTaken("an executor that is blocked did not take the attempt"))

    def deliver(self, results: Sequence[tuple[str, bytes]]) -> None:
        """Send results of calls, each with the name of the attempt that made the call."""
        packed = dumps_parcel(list(results))
        persistent(lambda: self._handle.deliver.remote(packed))

    def drop(self, run_id: str) -> None:
        """Let go of the values of a run that stayed in the process, finalizers included."""
        self._handle.drop_pinned.remote(run_id)

    def end(self) -> None:
        """End the process: its values are released, and their finalizers run."""
        handle = self._handle
        timers().after(_END, lambda: ray.kill(handle))
        handle.drop_pinned.remote(None).future().add_done_callback(
            lambda _: handle.__ray_terminate__.remote()
        )

    def _listen(self) -> None:
        self._handle.collect.remote().future().add_done_callback(self._collected)

    def _collected(self, future: Any) -> None:
        error = future.exception()
        if error is not None:
            self._fail(error)
            return
        ended = loads(future.result())
        with self._lock:
            known = [(self._jobs.pop(name, None), outcome, why) for name, outcome, why in ended]
            self._listening = bool(self._jobs)
            listen = self._listening
        if listen:
            self._listen()
        for done, outcome, why in known:
            if done is not None:
                done(outcome, why)

    def _refused(self, names: list[str], future: Any) -> None:
        error = future.exception()
        with self._lock:
            self._arriving.pop(names[0], None)
        if error is not None:
            if isinstance(error, RayActorError):
                self._note_loss()
            with self._lock:
                known = [self._jobs.pop(name, None) for name in names]
            for done in known:
                if done is not None:
                    done(None, error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, (RayActorError, WorkerDied)):
            self._note_loss()
        with self._lock:
            jobs, self._jobs = self._jobs, {}
            self._listening = False
        for done in jobs.values():
            done(None, error)

    def _watched(self, future: Any) -> None:
        if isinstance(future.exception(), RayActorError):
            self._note_loss()

    def _note_loss(self) -> None:
        self.is_lost = True
        self._lost(self)


class Executors:
    """At most one executor a machine; a further machine joins when the others are crowded."""

    def __init__(self, ticket: bytes, heartbeats: WorkerHeartbeats | None = None) -> None:
        self._ticket = ticket
        self._heartbeats = heartbeats
        self._looking = False
        self._retired: list[Executor] = []
        self._lock = threading.Lock()
        self._all: list[Executor] = []
        self._nodes: list[str] = []
        self._nodes_until = 0.0

    @property
    def count(self) -> int:
        """Executors that exist."""
        return len(self._all)

    def pick(self) -> Executor:
        """Return the executor with the least load."""
        with self._lock:
            least = min(self._all, key=lambda e: e.load, default=None)
            if least is None or least.load >= _CROWDED:
                free = self._free_node()
                if least is None or free is not None:
                    least = Executor(self._ticket, free, self._forget, heartbeats=self._heartbeats)
                    self._all.append(least)
            if not self._looking and self._heartbeats is not None:
                self._looking = True
                timers().after(_LOOK, self._look)
            return least

    @property
    def retired(self) -> list[str]:
        """Why executors that have not ended get no more attempts."""
        return [executor.retirement.why for executor in self._retired]

    def _look(self) -> None:
        """Retire executors whose code blocks them, and end those that have nothing to do."""
        with self._lock:
            executors = [*self._all, *self._retired]
        for executor in executors:
            if not executor.look():
                with self._lock:
                    if executor in self._all:
                        self._all.remove(executor)
                        if not executor.is_lost:
                            self._retired.append(executor)
        with self._lock:
            self._looking = bool(self._all or self._retired)
            if self._looking:
                timers().after(_LOOK, self._look)

    def _forget(self, executor: Executor) -> None:
        with self._lock:
            for known in (self._all, self._retired):
                if executor in known:
                    known.remove(executor)

    def _free_node(self) -> str | None:
        now = time.monotonic()
        if now > self._nodes_until:
            self._nodes = alive_nodes()
            self._nodes_until = now + _NODES_FOR
        taken = {e.node for e in self._all}
        return next((n for n in self._nodes if n not in taken), None)


@dataclass
class _Thread:
    executor: Executor
    runs: set[str] = field(default_factory=set)
    idle_since: float = 0.0


class ThreadExecutors:
    """One executor for each thread whose nodes are pinned to it, across the runs of a session.

    Args:
        idle: Seconds without a run after which a thread's process is ended.
        start: Starts a process.
    """

    def __init__(self, idle: float, start: Callable[[], Executor]) -> None:
        self._idle = idle
        self._start = start
        self._lock = threading.Lock()
        self._threads: dict[str, _Thread] = {}
        self._looking = False

    @property
    def count(self) -> int:
        """Executors that exist."""
        return len(self._threads)

    def join(self, thread: str, run_id: str) -> Executor:
        """Return the thread's executor for a run; another one if its process is gone."""
        with self._lock:
            found = self._threads.get(thread)
            if found is None or found.executor.is_lost:
                runs = set() if found is None else found.runs
                found = self._threads[thread] = _Thread(self._start(), runs)
            found.runs.add(run_id)
            return found.executor

    def leave(self, thread: str, run_id: str) -> None:
        """Report the end of a run that had joined; the values in its state are released."""
        with self._lock:
            found = self._threads.get(thread)
            if found is None:
                return
            found.runs.discard(run_id)
            found.idle_since = time.monotonic()
            if not self._looking:
                self._looking = True
                timers().after(min(self._idle, _LOOK), self._look)
        found.executor.drop(run_id)

    def _look(self) -> None:
        """End what is idle, and look again while something may become so without a word."""
        self.release()
        with self._lock:
            # a run that leaves its thread starts the look again
            self._looking = any(not found.runs for found in self._threads.values())
            if self._looking:
                timers().after(min(self._idle, _LOOK), self._look)

    def release(self) -> None:
        """End the processes of threads that have been idle for long enough."""
        until = time.monotonic() - self._idle
        with self._lock:
            idle = [
                thread
                for thread, found in self._threads.items()
                if not found.runs and (found.idle_since <= until or found.executor.is_lost)
            ]
            ended = [self._threads.pop(thread) for thread in idle]
        for found in ended:
            if not found.executor.is_lost:
                found.executor.end()
