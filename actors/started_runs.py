"""Started runs on the cluster: found by their id in the brokers of all sessions.

The brokers' names are the registry: Ray lists them, and each broker knows its runs. Nothing else is
to be kept in step, and nothing is lost but what is lost with a broker.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from actors.cluster import NAMESPACE, broker_name, get, job
from actors.connect import ensure_ray, refuse_fork
from actors.transport_ray import RayReads
from distgraph.concurrency.forking import in_forked_process
from distgraph.contract.started_runs import RunState
from distgraph.errors import BrokerLost, RunError, RunNotFound, SerializationError
from distgraph.serde.pickling import loads
from distgraph.streaming.reader import Reader
from distgraph.streaming.receiver import Receiver
from distgraph.streaming.transport import ReaderKey

__all__ = ("Link", "RayStarted", "brokers", "connected", "find", "started")

_ANSWER = 10.0
"""Seconds for the brokers of a cluster to say which runs they know."""

_numbers = itertools.count(1)


class Link(Protocol):
    """A session, as a process that reads its runs reaches it."""

    id: str
    job: str | None
    broker: Any
    receiver: Receiver

    def cancel(self, run_id: str) -> None:
        """Ask the run's driver to end it."""


class RayStarted:
    """A started run of a session, for its readers."""

    blocks = True

    def __init__(self, link: Link, run_id: str) -> None:
        self.run_id = run_id
        self._link = link

    def describe(self) -> RunState:
        state: RunState | None = self._ask("describe")
        if state is None:
            raise RunNotFound(
                f"run {self.run_id} is no longer kept: it ended longer ago than its retention"
            )
        return state

    def face(self) -> Any:
        blob: bytes | None = self._ask("face")
        if blob is None:
            raise RunNotFound(f"run {self.run_id} is no longer kept")
        try:
            return loads(blob)
        except Exception as error:
            raise SerializationError(
                f"run {self.run_id} cannot be read by this process: a class of its graph's state "
                f"cannot be loaded here ({type(error).__name__}: {error}). Make the module that "
                "defines the class importable here"
            ) from error

    def cancel(self) -> None:
        if job() == self._link.job:
            self._link.cancel(self.run_id)

    def open(
        self,
        after: int | None,
        *,
        only_end: bool = False,
        loop: asyncio.AbstractEventLoop | None,
    ) -> Reader:
        key = ReaderKey(self.run_id, next(_numbers))
        return Reader.open(self._link.receiver, key, loop, after, only_end=only_end)

    def _ask(self, method: str) -> Any:
        if job() != self._link.job:
            raise BrokerLost(
                f"run {self.run_id}: this process has left the Ray cluster (ray.shutdown() was "
                "called): join the cluster again, and attach to the run"
            )
        try:
            return get(getattr(self._link.broker, method).remote(self.run_id), _ANSWER)
        except GetTimeoutError as error:
            raise RunError(
                f"run {self.run_id}: its stream broker has not answered for {_ANSWER:g} s"
            ) from error
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise BrokerLost(
                f"run {self.run_id}: its stream broker is gone, and with it what was not delivered "
                f"({type(error).__name__}): the process that had started the run has ended, or the "
                "broker died"
            ) from error


class AttachedSession:
    """A session of another process, or one that outlived its process."""

    def __init__(self, session: str, broker: Any) -> None:
        self.id = session
        self.broker = broker
        self.job = job()
        self._caller = f"{self.job}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._failure: BaseException | None = None
        self._reads = RayReads(session, broker)
        self.receiver = Receiver(self._reads, self._caller, self._lost)

    @property
    def is_alive(self) -> bool:
        """Whether runs of the session can be read."""
        return self._failure is None and job() == self.job

    def cancel(self, run_id: str) -> None:
        """Ask the run's driver to end it, by the broker: it knows who that is."""
        with suppress(RayError):
            self.broker.cancel.remote([run_id])

    def shut(self) -> None:
        """Read no more, because the process is exiting."""
        lost, self._failure = self._failure, RunError("the process is exiting")
        self.receiver.stop(self._failure)
        self._reads.close()
        if lost is None and job() == self.job:
            with suppress(RayError):
                self.broker.leave_all.remote(self._caller)

    def _lost(self, error: BrokerLost) -> None:
        self._failure = error


_lock = threading.Lock()
_attached: dict[str, AttachedSession] = {}
_inherited: list[AttachedSession] = []
"""Sessions of the process from which this one was forked: they are neither used nor ended here."""


@in_forked_process
def _forget_sessions() -> None:
    global _attached, _lock
    _inherited.extend(_attached.values())
    _attached, _lock = {}, threading.Lock()


def shut() -> None:
    """End all reading of other sessions, because the process is exiting."""
    with _lock:
        sessions = list(_attached.values())
        _attached.clear()
    for session in sessions:
        session.shut()


def find(run_id: str, own: Sequence[Link]) -> RayStarted | None:
    """Return the run of that id, of this process's sessions or of any session of the cluster.

    Raises:
        RunNotFound: This process is not connected to a cluster, and none is named.
        RunError: The run is not known, and a broker that may know it does not answer.
    """
    if not connected():
        raise RunNotFound(
            f"no run {run_id} is known in this process, which is not connected to a Ray cluster: "
            "set RAY_ADDRESS, or call ray.init(address=...) before attach()"
        )
    for link in own:
        with suppress(RunError):
            run = RayStarted(link, run_id)
            run.describe()
            return run
    others = {name: broker for name, broker in brokers() if name not in {x.id for x in own}}
    answers = _ask_all({session: b.describe.remote(run_id) for session, b in others.items()})
    for session, state in answers.items():
        if state is not None:
            return RayStarted(_link(session, others[session]), run_id)
    _refuse_silence(f"run {run_id} is not known", set(others) - set(answers))
    return None


def started() -> list[RunState]:
    """Return the states of the started runs of all sessions of the cluster.

    Raises:
        RunError: A broker does not answer.
    """
    if not connected():
        return []
    asked = {session: broker.describe_all.remote() for session, broker in brokers()}
    answers = _ask_all(asked)
    _refuse_silence("not all runs are known", set(asked) - set(answers))
    return [state for states in answers.values() for state in states or ()]


def connected() -> bool:
    """Return whether this process is connected to a cluster, having tried what ``RAY_ADDRESS``
    names.

    Raises:
        UnsupportedClusterError: This process was forked from one that uses Ray.
    """
    refuse_fork()
    if not ray.is_initialized() and os.environ.get("RAY_ADDRESS"):
        ensure_ray()
    return ray.is_initialized()


def brokers() -> list[tuple[str, Any]]:
    """Return the sessions of the cluster, each with the handle of its broker."""
    prefix, found = broker_name(""), []
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix):
            with suppress(ValueError, RayError):  # it ended meanwhile
                handle = ray.get_actor(actor["name"], NAMESPACE)
                found.append((actor["name"][len(prefix) :], handle))
    return found


def _ask_all(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answers by session; None of a broker that is gone. Who is silent is left out."""
    if not asked:
        return {}
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER)
    answers: dict[str, Any] = {}
    for session, ref in asked.items():
        if ref in ready:
            try:
                answers[session] = ray.get(ref)
            except RayActorError:
                answers[session] = None
    return answers


def _refuse_silence(what: str, silent: set[str]) -> None:
    if silent:
        raise RunError(
            f"{what}, and {len(silent)} stream brokers have not answered for {_ANSWER:g} s "
            f"({', '.join(broker_name(session) for session in sorted(silent))}): try again"
        )


def _link(session: str, broker: Any) -> AttachedSession:
    with _lock:
        known = _attached.get(session)
        if known is None or not known.is_alive:
            known = _attached[session] = AttachedSession(session, broker)
        return known
