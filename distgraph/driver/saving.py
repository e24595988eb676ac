"""Saving of a run's checkpoints, on a thread of its own: one saver call at a time, or those that
wait together.

The order is guaranteed: the pending writes of a task are durable before the checkpoint that
contains the writes, and each checkpoint is durable before the next one.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from distgraph._internal import keys as k
from distgraph._internal.missing import MISSING
from distgraph.channels.delta import DeltaSnapshot
from distgraph.concurrency.forking import free_in_forks
from distgraph.concurrency.threads import daemon
from distgraph.contract.checkpoint import History, Saved
from distgraph.contract.events import (
    LAST,
    CheckpointLoaded,
    Found,
    LoadCheckpoint,
    LookUp,
    Remember,
    SaveCheckpoint,
    SaveWrites,
    Storage,
    StorageFailed,
    Sync,
    Synced,
)
from distgraph.contract.failure import ShippedError
from distgraph.engine.checkpoints import VERSION
from distgraph.engine.deltas import to_replay
from distgraph.errors import UnsupportedError
from distgraph.interop import for_saver, own_throughout
from distgraph.serde.exceptions import rebuild_error

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple

    from distgraph.driver.caching import Caches
    from distgraph.persistence.port import SaverCall, SaverPort

logger = logging.getLogger("distgraph")

Report = CheckpointLoaded | Found | Synced | StorageFailed

_TOGETHER = 32
"""Most saves that are made together: a reader of a file waits for them."""

_PATIENCE = 30.0
"""Seconds that a run waits for what an earlier run of its thread still has to save."""


def new_checkpoint_id(ns: str, step: int) -> str:
    """Return the id of a new checkpoint: a UUID that sorts by time, as savers expect."""
    from langgraph.checkpoint.base.id import uuid6

    return str(uuid6(clock_seq=step))


class SaverThread:
    """The connection of one run to its saver and to the caches of its graphs."""

    def __init__(
        self,
        port: SaverPort | None,
        config: Mapping[str, Any],
        tell: Callable[[Report], None],
        *,
        thread: Hashable = None,
        caches: Caches | None = None,
    ) -> None:
        """``config``: the run's, with ``configurable`` and ``metadata``. ``thread``: names the
        saver's thread; what an earlier run of it has still to save is waited for."""
        self._to_saver = port
        self._caches = caches
        self._config = config
        self._tell = tell
        self._jobs: queue.SimpleQueue[Storage | None] = queue.SimpleQueue()
        self._taken: tuple[Storage | None, ...] = ()
        """What was taken from the queue, and is next."""
        self._failure: BaseException | None = None
        self._closing = False
        self.carried_out = 0
        """Saves that were carried out."""
        self._done = threading.Event()
        with _lock:
            self._earlier = _going_on.get(thread)
            if thread is not None:
                _going_on[thread] = self
        self._thread = thread
        daemon(self._serve, "distgraph-saver").start()

    def do(self, instruction: Storage) -> None:
        """Carry out an instruction, after all earlier instructions."""
        if isinstance(instruction, Sync) and instruction.key == LAST:
            self.ending()
        self._jobs.put(instruction)

    def ending(self) -> None:
        """Learn that the run ends: a later one of its thread waits for what is left to save."""
        self._closing = True

    def close(self) -> None:
        """Accept no more instructions; the instructions already accepted are carried out."""
        self.ending()
        self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait until everything is carried out, after ``close``. Return whether it is."""
        return self._done.wait(seconds)

    def _serve(self) -> None:
        try:
            earlier, self._earlier = self._earlier, None
            if earlier is not None and earlier._closing and not earlier.join(_PATIENCE):
                logger.warning(
                    "thread %r: an earlier run has not saved all of its checkpoints after %g s; "
                    "this run starts from what is there. Look at the saver",
                    self._config["configurable"].get("thread_id"),
                    _PATIENCE,
                )
            del earlier
            while (job := self._next()) is not None:
                behind = self._saves_behind(job)
                if self._failure is None:
                    self._carry_out(job, behind)
        finally:
            with _lock:
                if _going_on.get(self._thread) is self:
                    del _going_on[self._thread]
            self._done.set()

    @property
    def _port(self) -> SaverPort:
        assert self._to_saver is not None, "the engine saves, and there is no saver"
        return self._to_saver

    def _next(self) -> Storage | None:
        taken, self._taken = self._taken, ()
        return taken[0] if taken else self._jobs.get()

    def _saves_behind(self, job: Storage) -> list[SaveWrites | SaveCheckpoint]:
        """Take the saves that wait behind a save. What is no save is taken next."""
        found: list[SaveWrites | SaveCheckpoint] = []
        while isinstance(job, (SaveWrites, SaveCheckpoint)) and len(found) < _TOGETHER:
            try:
                following = self._jobs.get_nowait()
            except queue.Empty:
                break
            if not isinstance(following, (SaveWrites, SaveCheckpoint)):
                self._taken = (following,)
                break
            found.append(following)
        return found

    def _carry_out(self, job: Storage, behind: Sequence[SaveWrites | SaveCheckpoint] = ()) -> None:
        """Carry out an instruction. ``behind``: saves that may be made together with this one."""
        report: Report | None = None
        try:
            if isinstance(job, (LookUp, Remember)):
                assert self._caches is not None, "the engine looks up, and there is no cache"
                if isinstance(job, LookUp):
                    report = Found(job.key, self._caches.find(job))
                else:
                    self._caches.keep(job)
                    self.carried_out += 1
            elif isinstance(job, LoadCheckpoint):
                report = CheckpointLoaded(job.key, self._load(job))
            elif isinstance(job, (SaveWrites, SaveCheckpoint)):
                self._save((job, *behind))
            else:
                report = Synced(job.key)
        except BaseException as error:
            self._failure = error
            report = StorageFailed(error)
        if report is not None:
            self._tell(report)

    def _save(self, jobs: Sequence[SaveWrites | SaveCheckpoint]) -> None:
        calls: list[SaverCall] = []
        failure: BaseException | None = None
        for job in jobs:
            try:
                calls.append(self._call_of(job))
            except BaseException as error:  # those before it are saved
                failure = error
                break
        self._port.save(calls)
        self.carried_out += len(calls)
        if failure is not None:
            raise failure

    def _at(self, ns: str, checkpoint_id: str | None) -> dict[str, Any]:
        configurable = {**self._config["configurable"], "checkpoint_ns": ns}
        configurable.pop("checkpoint_id", None)
        if checkpoint_id is not None:
            configurable["checkpoint_id"] = checkpoint_id
        return {**self._config, "configurable": configurable}

    def _call_of(self, job: SaveWrites | SaveCheckpoint) -> SaverCall:
        if isinstance(job, SaveWrites):
            config = self._at(job.ns, job.checkpoint_id)
            writes = [(channel, _kept(value)) for channel, value in job.writes]
            return "put_writes", (config, writes, job.task_id, job.path)
        metadata: Any = dict(job.metadata)
        config = self._at(job.ns, job.parent_id)
        checkpoint = storable(job.checkpoint)
        return "put", (config, checkpoint, metadata, dict(job.new_versions))

    def _load(self, job: LoadCheckpoint) -> Saved | None:
        config = self._at(job.ns, job.checkpoint_id)
        if job.before is not None:
            before = {"configurable": {"checkpoint_id": job.before}}
            found = next(iter(self._port.list(config, before=before, limit=1)), None)
        else:
            found = self._port.get_tuple(config)
        if found is None:
            return None
        superseded = False
        if job.checkpoint_id is not None:
            latest = self._port.get_tuple(self._at(job.ns, None))
            superseded = latest is not None and latest.checkpoint["id"] != job.checkpoint_id
        histories = {}
        if names := to_replay(job.replays, found.checkpoint):
            histories = histories_from(self._port.get_delta_channel_history(found.config, names))
        return saved_from(found, superseded=superseded, histories=histories)


_lock = free_in_forks(threading.Lock())
_going_on: dict[Hashable, SaverThread] = {}
"""Runs that have something to save, by the thread that they save it to."""


def storable(checkpoint: Mapping[str, Any]) -> Any:
    """Return a checkpoint as a saver takes it: with the time, and LangGraph's vocabulary in it."""
    values = checkpoint["channel_values"]
    if k.TASKS in values:
        values = {**values, k.TASKS: for_saver(values[k.TASKS])}
    if any(type(value) is DeltaSnapshot for value in values.values()):
        values = {name: _snapshot(value) for name, value in values.items()}
    now = datetime.now(timezone.utc).isoformat()
    return {**checkpoint, "ts": now, "channel_values": values}


def _snapshot(value: Any) -> Any:
    """Return the snapshot of a ``DeltaChannel`` as savers know it, anything else as it is."""
    if type(value) is not DeltaSnapshot:
        return value
    try:
        from langgraph.checkpoint.serde.types import _DeltaSnapshot
    except ImportError:
        raise UnsupportedError(
            "a DeltaChannel cannot be saved by this version of langgraph-checkpoint: install one "
            "that belongs to LangGraph 1.2 or newer, or use a plain reducer"
        ) from None
    return _DeltaSnapshot(value.value)


def histories_from(found: Mapping[str, Any]) -> dict[str, History]:
    """Return the histories that a saver holds for channels whose value is not in the checkpoint."""
    return {
        name: History(
            one.get("seed", MISSING), tuple(own_throughout(v) for _, _, v in one["writes"])
        )
        for name, one in found.items()
    }


def saved_from(
    found: CheckpointTuple,
    *,
    superseded: bool = False,
    histories: Mapping[str, History] | None = None,
) -> Saved:
    """Convert a saver's ``CheckpointTuple`` into ``Saved``."""
    checkpoint: dict[str, Any] = {**found.checkpoint}
    values = checkpoint["channel_values"]
    if checkpoint["v"] < VERSION and checkpoint.get("pending_sends"):
        versions = checkpoint["channel_versions"]
        values = {**values, k.TASKS: checkpoint["pending_sends"]}
        checkpoint["channel_versions"] = {**versions, k.TASKS: max(versions.values())}
    checkpoint["channel_values"] = own_throughout(dict(values))
    parent = found.parent_config
    return Saved(
        checkpoint=checkpoint,
        metadata=found.metadata or {},
        parent_id=None if parent is None else parent["configurable"].get("checkpoint_id"),
        pending=tuple((task, c, own_throughout(v)) for task, c, v in found.pending_writes or ()),
        histories=histories or {},
        superseded=superseded,
    )


def _kept(value: Any) -> Any:
    return rebuild_error(value) if isinstance(value, ShippedError) else for_saver(value)
