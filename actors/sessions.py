"""The sessions of this process: which one a run gets, and how those that are lost are replaced."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Hashable
from functools import partial

from actors import started_runs
from actors.connect import ensure_ray
from actors.session import Session
from actors.start_message import packed
from actors.started_runs import RayStarted
from distgraph.backends.base import RunPlan
from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import daemon
from distgraph.contract.started_runs import RunTerms
from distgraph.driver.driver_choice import Choice, drivers_from_environment, ties
from distgraph.driver.startup import repeated
from distgraph.driver.succession import Leaving, leaving
from distgraph.persistence.detached_runs import refuse_to_leave
from distgraph.serde import references
from distgraph.serde.references import Parcel, ReferringBlob


class Sessions:
    """The sessions of this process of one kind, each with a driver and a broker of its own.

    All of them start with the first run. One that is lost is replaced; the others go on.
    """

    def __init__(self, *, detached: bool) -> None:
        self._detached = detached
        self._choice = Choice()
        self._lock = threading.Lock()
        self.all: list[Session] = []
        self._kept: list[Session] = []
        """Sessions whose driver died, and whose broker still keeps streams of started runs."""

    @property
    def known(self) -> list[Session]:
        """All sessions that have not been ended, those that are lost among them."""
        return [*self.all, *self._kept]

    def first(self) -> Session:
        """Return the session of the first driver; new sessions where some are missing or lost."""
        with self._lock:
            if not self.all:
                ensure_ray()
                of = drivers_from_environment()
                self.all = [self._new(number, of) for number in range(of)]
            for number, session in enumerate(self.all):
                if not session.alive():
                    ensure_ray()
                    self._leave(session)
                    self.all[number] = self._new(number, len(self.all))
            return self.all[0]

    def _new(self, number: int, of: int) -> Session:
        session = Session(self._detached, number, of)
        if number > 0:  # it is watched also if no run is given to it for long
            daemon(session.come_up, "distgraph-connect").start()
        return session

    def _leave(self, session: Session) -> None:
        way = leaving(
            is_detached=session.is_detached,
            failure=session.failure,
            has_launched=session.has_launched,
        )
        if way is Leaving.HIDE:
            session.hide()
        elif way is Leaving.KEEP:
            self._kept.append(session)
        else:
            session.end()

    def choose(self, plan: RunPlan) -> Session:
        """Return the session of a new run, which counts as live from now on.

        ``Session.leave`` ends that, or ``Session.launch``, which counts the run on its own.
        """
        first, tied = self.first(), list[Hashable]()
        if len(self.all) > 1:
            shared, (_, digest) = plan.options.shared, plan.graph.blob.get()
            thread = shared.configurable.get("thread_id")
            tied = ties(shared.run_id, thread, plan.graph.spec, digest)
        with self._lock:
            found = self.all or [first]  # none, if they were ended meanwhile
            session = found[self._choice.choose([s.live for s in found], tied)]
            session.runs.add(plan.options.shared.run_id)
            return session

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            for session in self.known:
                session.end()
            self.all, self._kept = [], []


_own = Sessions(detached=False)
_outliving = Sessions(detached=True)
_inherited: list[Session] = []
"""Sessions of the process from which this one was forked: they are neither used nor ended here."""


@in_forked_process
def _forget_sessions() -> None:
    global _own, _outliving
    _inherited.extend([*_own.known, *_outliving.known])
    _own, _outliving = Sessions(detached=False), Sessions(detached=True)


@atexit.register
def _close() -> None:
    """Before Ray's own exit handler: no thread of distgraph may call Ray from here on."""
    started_runs.shut()
    for session in [*_own.known, *_outliving.known]:
        session.shut()


def usable() -> list[Session]:
    """Return the sessions of this process that can be used."""
    return [session for session in (*_own.all, *_outliving.all) if session.alive()]


def exists() -> bool:
    """Return whether ``current`` has a session to return, and starts none."""
    return any(session.alive() for session in list(_own.all))


def current() -> Session:
    """Return this process's first session; a new one where there is none, or it was lost."""
    return _own.first()


def current_detached() -> Session:
    """Return this process's first session of detached runs; a new one where there is none alive."""
    return _outliving.first()


def enter(plan: RunPlan) -> Session:
    """Return the session of a run that is read here. The run is live until ``Session.leave``."""
    return _own.choose(plan)


def connect() -> None:
    """Start the sessions of this process, and wait until their drivers and brokers run.

    Raises:
        UnsupportedClusterError: The first ones did not come up.
    """
    repeated(current, Session.wait_until_up)
    for session in list(_own.all)[1:]:
        session.come_up()


def launch(plan: RunPlan, terms: RunTerms, *, detached: bool) -> RayStarted:
    """Start a run that no reader owns; ``detached`` for one that outlives this process.

    Raises:
        SerializationError: The graph, the input or the context cannot travel.
        UnsupportedError: The saver cannot be used any more, or a detached run needs what ends with
            this process.
        RunError: A run of that id is known already; or the session is lost.
    """
    with references.staying() as staying:
        blob, digest = plan.graph.blob.get()
        request = packed(plan, digest, "")

    def start(session: Session) -> RayStarted:
        try:
            return session.launch(plan, terms, blob, digest, request)
        finally:
            session.runs.discard(plan.options.shared.run_id)

    if not detached:
        return repeated(partial(_own.choose, plan), start)
    referring = any(isinstance(b, (ReferringBlob, Parcel)) for b in (blob, request))
    refuse_to_leave(plan.graph.name, [*plan.graph.blob.staying, *staying], referring)
    return repeated(partial(_outliving.choose, plan), start)  # one that was idle for long has ended


def end() -> None:
    """End this process's sessions: drivers, brokers, executors and pools, and runs still going.

    The next run starts others. Ray itself stays as it is, and so do detached runs.
    """
    _own.end()
