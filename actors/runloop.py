"""One run on the driver: waits for outcomes, feeds the engine, carries out what it says."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import ray

from actors import slots
from actors.calls import Results, pack_result
from actors.executors import Done, Executor
from actors.failures import typed
from actors.persistent import persistent
from actors.tasks import run_attempts_task
from distgraph import __version__, placement
from distgraph.backends.base import saver_config
from distgraph.backends.batching import Batcher
from distgraph.backends.caching import Caches
from distgraph.backends.coordinator import Actions, Coordinator, end_blob
from distgraph.backends.saving import SaverThread, new_checkpoint_id
from distgraph.concurrency.timers import timers
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import Op
from distgraph.engine.checkpoints import increment
from distgraph.persistence import SaverPort, place
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import loads
from distgraph.streaming.codec import encode_events
from distgraph.worker.deadline import shortest
from distgraph.worker.packing import Packet, StatePacker

_Result = tuple[Any, "BaseException | None"]

_IN_FLIGHT = 2
"""Batches of ops that may be on their way to the broker at once."""

if TYPE_CHECKING:
    from actors.driver import StartRun, SuperstepDriver


@dataclass(eq=False)
class _Group:
    """Attempts that were sent together."""

    node: Hashable
    starts: list[StartTask]
    sent: float = 0.0
    cancel: Callable[[], None] | None = None
    """Ends it; None before it was sent."""
    executor: Executor | None = None
    """That it was sent to, if to one."""
    calls: set[tuple[str, int, int]] = field(default_factory=set)
    """Calls of its code that have no result yet."""


class RunLoop:
    """A run's thread. Whatever happens elsewhere reaches it through ``_inbox``."""

    def __init__(self, driver: SuperstepDriver, start: StartRun) -> None:
        self._driver = driver
        self._start = start
        self._inbox: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
        self._groups: dict[tuple[str, int], _Group] = {}
        self._functions: dict[Hashable, Any] = {}
        self._placements: dict[Hashable, placement.Placement] = {}
        self._packer = StatePacker(ray.put)
        self._ops: list[Op] = []
        self._batches = 0
        self._in_flight = 0
        self._congested = False
        self._held: deque[tuple[str, Any, Any]] = deque()
        self._returns: dict[Executor, list[tuple[str, bytes]]] = {}
        """Results of calls to be sent."""
        self.results = Results()
        """Results of calls to be asked for."""
        self._coordinator: Coordinator | None = None
        self._saver: SaverThread | None = None
        self._timers: dict[str, Callable[[], None]] = {}
        """What takes back the calls that are due later."""
        self._batcher: Batcher[StartTask] = Batcher(
            driver.durations, slots.available(), start.max_concurrency
        )

    @property
    def program(self) -> str:
        """Hash of the program of the run's graph."""
        return self._start.program

    def begin(self) -> None:
        """Start the thread."""
        name = f"distgraph-run-{self._start.run_id[:8]}"
        threading.Thread(target=self._main, name=name, daemon=True).start()

    def cancel(self) -> None:
        """End the run. Any thread may call this."""
        if self._saver is not None:
            self._saver.ending()
        self._inbox.put(("cancel", None, None))

    def call(self, packed: bytes) -> None:
        """Take a call that the code of an attempt made. Any thread may call this."""
        self._inbox.put(("called", packed, None))

    def drain(self, reason: str) -> None:
        """Let the run stop behind the current superstep. Any thread may call this."""
        self._inbox.put(("drain", reason, None))

    # --- the thread -----------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._collapse(error)
        finally:
            if self._saver is not None:
                self._saver.close()
            for take_back in self._timers.values():
                take_back()
            self.results.close()
            self._groups.clear()
            self._packer = StatePacker(ray.put)
            self._driver.forget(self._start.run_id)

    def _run(self) -> None:
        start = self._start
        graph = self._driver.graph(start.program)
        next_version: Callable[[Any], Any] = increment
        port, thread = None, None
        if start.saver is not None:
            saver = loads(start.saver)
            port, next_version = SaverPort(saver), partial(_next_version, saver)
            thread = (place(saver).key, start.options.configurable.get("thread_id"))
        if port is not None or start.caches is not None:
            self._saver = SaverThread(
                port,
                saver_config(start.options),
                lambda report: self._inbox.put(("stored", report, None)),
                thread=thread,
                caches=None if start.caches is None else Caches(loads(start.caches)),
            )
        coordinator = self._coordinator = Coordinator(
            graph.spec,
            start.options,
            encode=encode_events,
            want_output=start.want_output,
            next_version=next_version,
            new_checkpoint_id=new_checkpoint_id,
        )
        if start.drain is not None:
            coordinator.drain(start.drain)
        self._carry_out(coordinator.start(loads(start.input)))
        self._flush()
        while not coordinator.finished:
            deadline = self._batcher.deadline()
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self._handle(*self._inbox.get(timeout=wait))
                while not coordinator.finished:  # what has come in meanwhile goes out together
                    self._handle(*self._inbox.get_nowait())
            except queue.Empty:
                pass
            self._flush()

    def _handle(self, kind: str, subject: Any, detail: Any) -> None:
        assert self._coordinator is not None
        if kind in ("ended", "called") and self._congested:
            self._held.append((kind, subject, detail))
        elif kind == "ended":
            self._ended(subject, detail)
        elif kind == "called":
            self._called(loads(subject))
        elif kind == "ack":
            self._acked(subject, detail)
        elif kind == "stored":
            self._carry_out(self._coordinator.stored(subject))
        elif kind == "woken":
            self._timers.pop(subject, None)
            self._carry_out(self._coordinator.woken(subject))
        elif kind == "drain":
            self._carry_out(self._coordinator.drain(subject))
        else:
            self._carry_out(self._coordinator.cancel())

    def _flush(self) -> None:
        """Start what is next, and tell the broker what happened.

        At most a few batches are in flight: what happens meanwhile is told in one. A worker may be
        faster than the news of its admission; the log holds its events until then.
        """
        self._send()
        for executor, results in self._returns.items():
            executor.deliver(results)
        self._returns.clear()
        if self._ops and (self._in_flight < _IN_FLIGHT or self._finished):
            ops, self._ops = self._ops, []
            self._batches += 1
            self._in_flight += 1
            self._drive(self._batches, pickle.dumps(ops, 5))

    def _collapse(self, error: BaseException) -> None:
        """The loop itself failed: a bug, or user code in a reducer that did the unexpected."""
        for group in set(self._groups.values()):
            self._cancel(group)
        start, blob = self._start, end_blob("error", error=error)
        self._driver.broker.terminate.remote(start.caller, [start.run_id], blob)

    # --- carrying out ---------------------------------------------------------------------------

    def _carry_out(self, actions: Actions) -> None:
        self._ops += actions.ops
        for job in actions.storage:
            assert self._saver is not None
            self._saver.do(job)
        for result in actions.returns:
            self._return(result)
        for wake in actions.wakes:
            news = partial(self._inbox.put, ("woken", wake.key, None))
            self._timers[wake.key] = timers().after(wake.seconds, news)
        for cancel in actions.cancel:
            group = self._groups.pop((cancel.task_id, cancel.attempt), None)
            if group is None:
                if actions.finished is None:
                    self._discard(cancel.task_id)
            elif not self._wanted(group):
                self._cancel(group)
        for start in actions.start:
            alone = self._placement(start).kind != "task" or shortest(start.request) is not None
            bound = None if start.part is None else start.part.max_concurrency
            self._batcher.add(self._key(start), (start,), alone=alone, bound=bound)
        if actions.finished is not None:
            self._batcher.clear()

    def _called(self, call: TaskCall | DroppedCall) -> None:
        """Take a call. Meanwhile the group of its caller counts as none that is at work."""
        assert self._coordinator is not None
        group = self._groups.get((call.task_id, call.attempt))
        if group is not None:
            waited = bool(group.calls)
            made = call.task_id, call.attempt, call.seq
            group.calls.add(made) if isinstance(call, TaskCall) else group.calls.discard(made)
            self._batcher.lend(bool(group.calls) - waited)
        self._carry_out(self._coordinator.called(call))

    def _return(self, result: CallResult) -> None:
        name = result.task_id, result.attempt
        group = self._groups.get(name)
        if group is None:  # the caller has ended
            return
        waited = bool(group.calls)
        group.calls.discard((result.task_id, result.attempt, result.seq))
        self._batcher.lend(bool(group.calls) - waited)
        if group.executor is None:
            self.results.put(result)
        else:
            attempt = f"{self._start.run_id}/{result.task_id}/{result.attempt}"
            self._returns.setdefault(group.executor, []).append((attempt, pack_result(result)))

    def _wanted(self, group: _Group) -> bool:
        """Whether any attempt of a group is still to come back."""
        return any(_name(start) in self._groups for start in group.starts)

    def _key(self, start: StartTask) -> Hashable:
        request = start.request
        return (self._start.program, request.graph_path, request.node, request.kind, start.key)

    def _discard(self, task_id: str) -> None:
        for start in self._batcher.waiting():
            if start.request.task_id == task_id:
                self._batcher.discard(start)
                return

    def _drive(self, batch_no: int, packed: bytes) -> None:
        start = self._start
        broker = self._driver.broker
        told = persistent(lambda: broker.drive.remote(start.run_id, start.caller, batch_no, packed))
        told.add_done_callback(lambda future: self._inbox.put(("ack", *_settled(future))))

    def _acked(self, pause: float, error: BaseException | None) -> None:
        """Learn whether the log has room. While it has none, outcomes wait here, and with them
        whatever the engine would start and emit next."""
        self._in_flight -= 1
        if error is not None:
            raise error
        if pause > 0:
            self._congested = True
            self._in_flight += 1
            threading.Timer(pause, self._drive, (0, b"")).start()
            return
        self._congested = False
        while self._held and not self._congested and not self._finished:
            self._handle(*self._held.popleft())

    @property
    def _finished(self) -> bool:
        return self._coordinator is None or self._coordinator.finished

    # --- sending --------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send what is ready. Attempts for one executor go in one call, each a group of its own."""
        together: dict[placement.Kind, list[_Group]] = {}
        for node, starts in self._batcher.take(time.monotonic()):
            group = _Group(node, starts)
            kind = self._placement(starts[0]).kind
            if kind in ("async", "thread"):
                together.setdefault(kind, []).append(group)
            else:
                self._submit([group], kind)
        for shared, groups in together.items():
            self._submit(groups, shared)

    def _submit(self, groups: list[_Group], kind: placement.Kind) -> None:
        assert self._coordinator is not None
        run = self._start
        snapshots: list[Any] = []
        packs = {}
        for group in groups:
            try:
                packs[group] = [
                    self._packer.pack(s.request, s.versions, snapshots) for s in group.starts
                ]
            except Exception as error:
                self._refuse(group, error)
        attempts, sent = [], []
        for group, packed_attempts in packs.items():
            if not any(map(self._coordinator.awaits, group.starts)):
                self._batcher.ended(group.node, ())  # another one's refusal has ended the run
                continue
            attempts += packed_attempts
            sent.append(group)
            group.sent = time.monotonic()
            for start in group.starts:
                self._groups[_name(start)] = group
                self._ops += self._coordinator.sent(start)
        if not sent:
            return
        packet = Packet(__version__, self._driver.session, run.program, run.info, attempts)
        packed = pickle.dumps(tuple(packet), 5)
        if kind == "task":
            self._to_task(sent[0], packed, snapshots)
        elif kind == "pool":
            self._to_pool(sent[0], packed, snapshots)
        else:
            self._to_executor(sent, packed, snapshots, thread=kind == "thread")

    def _placement(self, start: StartTask) -> placement.Placement:
        key = self._key(start)
        known = self._placements.get(key)
        if known is None:
            is_async = start.request.is_async and start.request.kind != "writers"
            known = placement.resolve(start.ray_options, is_async, start.node.name)
            self._placements[key] = known
        return known

    def _to_task(self, group: _Group, packed: bytes, snapshots: list[Any]) -> None:
        start = group.starts[0]
        function = self._functions.get(group.node)
        if function is None:
            name = f"{start.node.name}.{start.key}" if start.key else start.node.name
            function = run_attempts_task.options(name=name, **self._placement(start).options)
            self._functions[group.node] = function
        ref = function.remote(packed, *snapshots)
        group.cancel = partial(self._driver.reaper.cancel, ref)
        ref.future().add_done_callback(lambda future: self._back(group, *_settled(future)))

    def _to_pool(self, group: _Group, packed: bytes, snapshots: list[Any]) -> None:
        chosen = self._placement(group.starts[0])
        fewest, most = chosen.size or (1, None)
        size = fewest, max(fewest, slots.available() if most is None else most)
        pool = self._driver.pools.get(group.node, size, chosen.options)
        group.cancel = partial(
            pool.cancel, pool.submit(packed, snapshots, partial(self._back, group))
        )

    def _to_executor(
        self, groups: list[_Group], packed: bytes, snapshots: list[Any], *, thread: bool
    ) -> None:
        executor = self._driver.executors.pick()
        jobs: list[tuple[str, Done]] = []
        for group in groups:
            group.executor = executor
            task_id, attempt = _name(group.starts[0])
            name = f"{self._start.run_id}/{task_id}/{attempt}"
            group.cancel = partial(executor.cancel, [name])
            jobs.append((name, partial(self._back, group)))
        executor.submit(jobs, packed, snapshots, thread)

    def _back(self, group: _Group, packed: bytes | None, error: BaseException | None) -> None:
        """Runs in Ray's callback thread, also after the run has ended."""
        self._inbox.put(("ended", group, (packed, error)))

    def _refuse(self, group: _Group, error: Exception) -> None:
        """What a node reads cannot be sent: its attempt ends before it began."""
        self._batcher.ended(group.node, ())
        for start in group.starts:
            request = start.request
            notes = (f"While sending node {request.node!r}, step {request.step}, to a worker",)
            self._outcome(_lost(start, capture_error(error, note_lines=notes)))

    def _cancel(self, group: _Group) -> None:
        if group.cancel is not None:
            group.cancel()

    # --- outcomes -------------------------------------------------------------------------------

    def _ended(self, group: _Group, result: _Result) -> None:
        packed, error = result
        group.cancel = None  # frees a large result in the object store
        outcomes: list[AttemptOutcome] = []
        if packed is not None:
            found = loads(packed)
            outcomes = [loads(blob) for blob in found] if isinstance(found, list) else [found]
        if group.calls:  # nobody waited for their results
            self._batcher.lend(-1)
        self._batcher.ended(group.node, [o.duration for o in outcomes])
        if error is not None:
            late = time.monotonic() - group.sent
            for start in group.starts:
                limit = shortest(start.request)
                if limit is not None and late >= limit:  # it resisted, and went with its process
                    self._outcome(_lost(start, None, "timeout"))
                else:
                    self._outcome(_lost(start, capture_error(typed(error, start))))
        for outcome in outcomes:
            self._outcome(outcome)

    def _outcome(self, outcome: AttemptOutcome) -> None:
        assert self._coordinator is not None
        name = outcome.task_id, outcome.attempt
        self._groups.pop(name, None)
        self.results.forget(name)
        self._carry_out(self._coordinator.ended(outcome))


def _next_version(saver: Any, current: Any) -> Any:
    return saver.get_next_version(current, None)


def _name(start: StartTask) -> tuple[str, int]:
    return start.request.task_id, start.request.attempt


def _settled(future: Future[Any]) -> _Result:
    """Return what a future holds. The future itself keeps the reference, and with it the object."""
    error = future.exception()
    return (None, error) if error is not None else (future.result(), None)


def _lost(
    start: StartTask, error: ShippedError | None, status: Literal["error", "timeout"] = "error"
) -> AttemptOutcome:
    """Return the outcome of an attempt that never came back: its stream is cut off."""
    return AttemptOutcome(
        task_id=start.request.task_id,
        attempt=start.request.attempt,
        status=status,
        error=error,
        extra={"lost": True},
    )
