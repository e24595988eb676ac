"""Execution of a run's attempts on Ray: leased tasks and actors, single tasks, and executors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from actors import cluster
from actors.call_results import CallResults
from actors.executor_choice import Executors, ThreadExecutors
from actors.executors import Done, Executor, ExecutorHost, PackedAttempts
from actors.failures import typed, unreadable
from actors.groups import LargeValue, LeasedGroup, Needs, needs_of
from actors.heartbeats import WorkerHeartbeats
from actors.leases import LeaseHost
from actors.reaper import Reaper
from actors.task_host import TaskGroup, TaskHost
from actors.tasks import run_attempts_task
from distgraph import __version__, placement
from distgraph.channels.growing import only_adds
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.calls import CallResult
from distgraph.contract.events import StartTask
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import AttemptId
from distgraph.driver.leases import LeaseTerms
from distgraph.driver.ports import Group, GroupEnded, GroupRecalled
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data, dumps_parcel, loads
from distgraph.worker.deadline import shortest
from distgraph.worker.packing import (
    Head,
    PackedAttempt,
    Packet,
    StatePacker,
    head_of,
    require_packable,
    unpack_outcome,
)

__all__ = ("RayWorkers", "Recalled", "Reply", "SharedWorkers")

POOL_YIELDS = 2.0
"""Seconds for which others wait for what they need, before an idle worker of a pool ends for them:
it is costly to set up."""


class SharedWorkers(NamedTuple):
    """Objects that the runs of a session share."""

    session: str
    ticket: bytes
    """What worker processes need to connect."""
    executor_host: ExecutorHost
    executors: Executors
    threads: ThreadExecutors
    reaper: Reaper
    heartbeats: WorkerHeartbeats
    leases: LeaseHost
    tasks: TaskHost
    leases_tasks: bool
    """Whether attempts share Ray tasks. Otherwise each is a Ray task of its own."""
    pool_idle: float
    """Seconds after which workers of a pool end that have nothing to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A group came back: its packed outcomes, or why there are none. Neither if it was dropped."""

    group: Group
    packed: bytes | None = None
    error: BaseException | None = None


class Recalled(NamedTuple):
    """Attempts of a group that have not begun are given back, because one takes long."""

    group: Group
    packed: bytes
    """Outcomes of attempts that have ended."""
    first: int
    """Position of the first attempt that is given back."""


@dataclass(slots=True)
class _Sent:
    """A group that was sent: how to cancel the group, and its executor, if any."""

    cancel: Callable[[], object]
    executor: Executor | None = None
    recalled: int = 0
    """Outcomes that have come before the end of the group."""


@dataclass(slots=True)
class _Packet:
    kind: placement.Kind
    groups: list[Group] = field(default_factory=list)
    affinity: placement.Affinity | None = None
    heads: list[Head] = field(default_factory=list)
    attempts: list[PackedAttempt] = field(default_factory=list)
    values: list[LargeValue] = field(default_factory=list)
    """Large values of the state."""

    def references(self) -> list[Any]:
        """Return references to the large values, in Ray's object store."""
        return [value.reference() for value in self.values]


class RayWorkers:
    """Runs the attempts of one run.

    Args:
        shared: What the runs of the session share.
        run_id: Names the run.
        program: Hash of the graph's program.
        info: Pickled ``RunInfo``.
        thread: Names the saved thread of the run; None: the run is a thread of its own.
        post: Takes a ``Reply`` or ``Recalled``, from any thread.
    """

    def __init__(
        self,
        shared: SharedWorkers,
        run_id: str,
        program: str,
        info: bytes,
        thread: str | None,
        post: Callable[[Reply | Recalled], None],
    ) -> None:
        self._shared = shared
        self._run_id = run_id
        self._program = program
        self._info = info
        self._thread = run_id if thread is None else thread
        self._post = post
        self._packer = StatePacker(LargeValue, keeps_items=self._keeps_items)
        self._graph: GraphSpec | None = None
        self._keeping: dict[tuple[tuple[str, ...], str], bool] = {}
        self._placements: dict[Hashable, placement.Placement] = {}
        self._functions: dict[Hashable, tuple[Any, Hashable]] = {}
        self._needs: dict[Hashable, tuple[Needs, str]] = {}
        self._sent: dict[Group, _Sent] = {}
        self._pinned: Executor | None = None
        self._joined = False
        self.results = CallResults(run_id)
        """Results of calls that attempts make."""

    def learn(self, graph: GraphSpec) -> None:
        """Learn the run's graph: of a list that grows by a known reducer, only the tail is sent."""
        self._graph = graph

    # --- for the driver -------------------------------------------------------------------------

    def batches(self, start: StartTask) -> bool:
        chosen = self._placement(start)
        if chosen.kind != "task" or not self._is_leased(chosen):
            return False  # each has a Ray task of its own, for isolation
        return shortest(start.request) is None

    def submit(self, groups: Sequence[Group]) -> Mapping[Group, Exception]:
        """Send groups. Attempts for one executor go in one call, each a group of its own."""
        packets: dict[Hashable, _Packet] = {}
        refused: dict[Group, Exception] = {}
        for group in groups:
            chosen = self._placement(group.starts[0])
            kind, affinity = chosen.kind, chosen.affinity
            shared = kind in ("async", "thread")
            key: Hashable = (kind, affinity) if shared else group
            packet = packets.setdefault(key, _Packet(kind, affinity=affinity))
            try:
                packet.attempts += [
                    self._packer.pack(s.request, s.versions, packet.values) for s in group.starts
                ]
            except Exception as error:
                refused[group] = error
            packet.heads += [head_of(start.request) for start in group.starts]
            packet.groups.append(group)
        if refused:
            return refused
        ready: list[tuple[_Packet, Any]] = []
        for packet in packets.values():
            try:
                ready.append((packet, self._packed(packet)))
            except Exception as error:
                refused.update(_unpackable(packet, error))
        if not refused:
            for packet, packed in ready:
                self._send(packet, packed)
        return refused

    def cancel(self, group: Group) -> bool:
        sent = self._sent.get(group)
        if sent is None:
            return False
        sent.cancel()
        return sent.executor is not None

    def past_limit(self, attempt_id: AttemptId) -> bool:
        return self._shared.heartbeats.past_limit(self._name(attempt_id))

    def deliver(self, results: Sequence[tuple[Group, CallResult]]) -> None:
        for _, result in results:
            self.results.put(result)

    def open(self, reply: Reply) -> GroupEnded:
        """Return the outcome of a reply. The run's own thread unpickles the reply here."""
        group, error = reply.group, reply.error
        sent = self._sent.pop(group, None)  # frees a large result in the object store
        before = 0 if sent is None else sent.recalled
        for attempt_id in group.ids:
            self.results.forget(attempt_id)
        outcomes: list[AttemptOutcome] = []
        lost: dict[AttemptId, BaseException] = {}
        if reply.packed is not None:
            starts = dict(zip(group.ids, group.starts, strict=True))
            try:
                found = loads(reply.packed)
                for at, blob in enumerate(found if isinstance(found, list) else (), before):
                    starts = {group.ids[at]: group.starts[at]}
                    outcomes.append(unpack_outcome(blob))
                if not isinstance(found, list):
                    outcomes = [AttemptOutcome(*found)]
            except Exception as failure:
                lost = {i: unreadable(failure, start) for i, start in starts.items()}
        if error is not None:
            lost = {i: typed(error, s) for i, s in zip(group.ids, group.starts, strict=True)}
        return GroupEnded(group, outcomes, lost)

    def open_recalled(self, recalled: Recalled) -> GroupRecalled:
        """Return what has come of a group, and what is given back."""
        group, outcomes = recalled.group, []
        sent = self._sent.get(group)
        for blob in loads(recalled.packed):
            at = 0 if sent is None else sent.recalled
            try:
                outcomes.append(unpack_outcome(blob))
            except Exception as failure:
                start = group.starts[at]
                lost = capture_error(unreadable(failure, start))
                outcomes.append(AttemptOutcome(*group.ids[at], "error", error=lost, lost=True))
            if sent is not None:
                sent.recalled += 1
        return GroupRecalled(group, outcomes, recalled.first)

    def close(self) -> None:
        """Release the objects in the object store, and complete pending questions for results."""
        self._sent.clear()
        self._packer = StatePacker(LargeValue)
        self.results.close()
        if self._pinned is not None:
            self._pinned.end()
            self._pinned = None
        if self._joined:
            self._shared.threads.leave(self._thread, self._run_id)

    # --- sending --------------------------------------------------------------------------------

    def _keeps_items(self, request: AttemptRequest, name: str) -> bool:
        return self._only_adds(request.graph_path, name)

    def only_adds(self, ns: str, name: str) -> bool:
        """Return whether a channel only adds items to a list.

        Args:
            ns: Namespace of the checkpoints of the channel's graph.
            name: Name of the channel.
        """
        path = tuple(part.partition(":")[0] for part in ns.split("|")) if ns else ()
        return self._only_adds(path, name)

    def _only_adds(self, path: tuple[str, ...], name: str) -> bool:
        known = self._keeping.get((path, name))
        if known is None:
            graph = self._graph
            for node in path:
                spec = None if graph is None else graph.nodes.get(node)
                graph = None if spec is None else spec.subgraph
            known = graph is not None and only_adds(graph.channels.get(name))
            self._keeping[path, name] = known
        return known

    def _placement(self, start: StartTask) -> placement.Placement:
        request = start.request
        key = (request.graph_path, request.node, request.kind, start.key)
        known = self._placements.get(key)
        if known is None:
            is_async = request.is_async and request.kind != "writers"
            known = placement.resolve(start.ray_options, is_async, start.node.name)
            self._placements[key] = known
        return known

    def _is_leased(self, chosen: placement.Placement) -> bool:
        return chosen.lease and self._shared.leases_tasks

    def _packed(self, packet: _Packet) -> Any:
        header = (__version__, self._shared.session, self._program, self._info)
        names = tuple(self._name(group.ids[0]) for group in packet.groups)
        heads = dumps_data(packet.heads)
        return dumps_parcel(tuple(Packet(*header, heads, packet.attempts, names)))

    def _send(self, packet: _Packet, packed: Any) -> None:
        if packet.kind in ("async", "thread"):
            self._to_executor(packet, packed)
            return
        group = packet.groups[0]
        chosen = self._placement(group.starts[0])
        if packet.kind == "pool" or self._is_leased(chosen):
            self._to_lease(group, packed, packet.values)
        else:
            self._to_task(group, packed, packet.references())

    def _needs_of(self, group: Group) -> tuple[Needs, str]:
        start = group.starts[0]
        chosen = self._placement(start)
        needs = needs_of(chosen.options)
        if chosen.kind == "pool":
            fewest, most = chosen.size or (1, None)
            most = max(fewest, cluster.known_cpus() if most is None else most)
            terms = LeaseTerms(self._shared.pool_idle, POOL_YIELDS, fewest, most)
            needs = Needs(("pool", group.node), chosen.options, terms)
        return needs, _label(start)

    def _to_lease(self, group: Group, packed: Any, values: list[LargeValue]) -> None:
        known = self._needs.get(group.node)
        if known is None:
            known = self._needs[group.node] = self._needs_of(group)
        leased = LeasedGroup(
            known[0],
            self._name(group.ids[0]),
            self._run_id,
            known[1],
            self._program,
            packed,
            values,
            self._replies(group),
            lambda packed, first: self._post(Recalled(group, packed, first)),
            len(group.ids),
        )
        self._sent[group] = _Sent(partial(self._shared.leases.cancel, leased))
        self._shared.leases.submit(leased)

    def _to_task(self, group: Group, packed: bytes, snapshots: list[Any]) -> None:
        start = group.starts[0]
        known = self._functions.get(group.node)
        if known is None:
            options = self._placement(start).options
            function = run_attempts_task.options(name=_label(start), **options)
            known = self._functions[group.node] = function, needs_of(options).key
        function, needs = known
        name, ticket = self._name(group.ids[0]), self._shared.ticket

        def begin(number: int) -> Any:
            return function.remote(ticket, name, number, packed, *snapshots)

        label = f"node {start.node.name!r} of run {self._run_id}"
        self._sent[group] = _Sent(partial(self._shared.tasks.cancel, name))
        self._shared.tasks.submit(TaskGroup(name, needs, label, begin, partial(self._back, group)))

    def _to_executor(self, packet: _Packet, packed: bytes) -> None:
        executor = self._executor(packet.affinity)
        jobs: list[tuple[str, Done]] = []
        for group in packet.groups:
            name = self._name(group.ids[0])
            self._sent[group] = _Sent(partial(executor.cancel, [name]), executor)
            jobs.append((name, self._replies(group)))
        thread = packet.kind == "thread"
        executor.submit(jobs, PackedAttempts(packed, packet.values, self._program, thread))

    def _executor(self, affinity: placement.Affinity | None) -> Executor:
        """Return an executor. Values in a pinned one die with it; the next attempt gets another."""
        if affinity is None:
            return self._shared.executors.pick()
        if affinity == "thread":
            self._joined = True
            return self._shared.threads.join(self._thread, self._run_id)
        if self._pinned is None or self._pinned.is_lost:
            self._pinned = self._shared.executor_host.start(pinned=True)
        return self._pinned

    def _name(self, attempt: AttemptId) -> str:
        return f"{self._run_id}/{attempt.task_id}/{attempt.attempt}"

    def _replies(self, group: Group) -> Done:
        return lambda packed, error: self._post(Reply(group, packed, error))

    def _back(self, group: Group, task: str, future: Future[Any] | None) -> None:
        if future is None:
            self._post(Reply(group))
            return
        # the future itself keeps the reference, and with it the object
        error = future.exception()
        packed = self._shared.executor_host.outcomes.pop(task, None)
        if packed is not None:  # its process has ended with it
            self._post(Reply(group, packed))
            return
        self._post(Reply(group, None if error is not None else future.result(), error))


def _unpackable(packet: _Packet, error: Exception) -> dict[Group, Exception]:
    """Return the groups of a packet that cannot be pickled, and why: all, if it is none alone."""
    refused: dict[Group, Exception] = {}
    for group in packet.groups:
        try:
            for start in group.starts:
                require_packable(start.request)
        except Exception as culprit:
            refused[group] = culprit
    return refused or dict.fromkeys(packet.groups, error)


def _label(start: StartTask) -> str:
    name = str.__str__(start.node.name)  # the member of an enumeration may be one: its text alone
    return f"{name}.{start.key}" if start.key else name
