"""The backend that runs on Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from actors import sessions, started_runs
from actors.session import Session
from actors.started_runs import RayStarted
from distgraph._internal.steps import through_cancels
from distgraph.backends.base import RunPlan
from distgraph.concurrency.collecting import is_collecting
from distgraph.concurrency.threads import elsewhere
from distgraph.contract.started_runs import RunState, RunTerms
from distgraph.contract.stream import StreamEvent
from distgraph.driver.startup import repeated
from distgraph.driver.succession import begins_again, loss_at_once
from distgraph.errors import BrokerLost, DriverLost, RunError
from distgraph.serde.pickling import dumps_code
from distgraph.streaming.reader import Reader
from distgraph.streaming.transport import ReaderKey
from distgraph.worker.surroundings import capture


class RayBackend:
    """Runs on the Ray cluster that this process is connected to."""

    name = "ray"

    def ready(self) -> bool:
        """Return whether this process has a session."""
        return sessions.exists()

    def connect(self) -> None:
        """Start the session, and Ray where nobody has."""
        sessions.connect()

    def start(self, plan: RunPlan, *, is_async: bool) -> RayRun:
        """Start a run, and the session with its first one.

        Nodes run in the context of the caller, as far as it can be taken along.
        """
        return RayRun(_surrounded(plan), asyncio.get_running_loop() if is_async else None)

    def launch(
        self,
        plan: RunPlan,
        terms: RunTerms,
        face: Any,
        *,
        detached: bool,
        loop: asyncio.AbstractEventLoop | None,
    ) -> RayStarted:
        """Start a run that no reader owns, in this process's session or one that outlives it."""
        terms = replace(terms, face=dumps_code(face))
        return sessions.launch(_surrounded(plan), terms, detached=detached)

    def find(self, run_id: str) -> RayStarted | None:
        """Return a started run of any session of the cluster."""
        return started_runs.find(run_id, sessions.usable())

    def started(self) -> list[RunState]:
        """Return the states of the started runs of all sessions of the cluster."""
        return started_runs.started()


logger = logging.getLogger("distgraph")

_GRACE = 2.0
"""Seconds that a caller who leaves a saved run waits for its end."""


def _surrounded(plan: RunPlan) -> RunPlan:
    """Return a run with the context of its caller, as far as it can be taken along."""
    found = capture()
    return plan if found is None else replace(plan, info=replace(plan.info, surroundings=found))


_BACKEND = RayBackend()


def backend() -> RayBackend:
    """Return the Ray backend."""
    return _BACKEND


class RayRun:
    """One run on the cluster, as seen by the process that started it and reads it."""

    def __init__(self, plan: RunPlan, loop: asyncio.AbstractEventLoop | None) -> None:
        self._run_id = plan.options.shared.run_id
        self._left = False
        self._repeated = False
        self._delivered = False
        """Whether anything of the run was read."""
        self._ended = False
        """Whether the driver has ended the run."""
        self._plan, self._loop = plan, loop
        self._begin()
        control = self._control = plan.info.control
        self._unsubscribe = (
            None if control is None else control.listen(partial(self._session.drain, self._run_id))
        )
        """Ends the subscription to requests to drain."""

    def _begin(self) -> None:
        repeated(partial(sessions.enter, self._plan), self._begin_in)

    def _begin_in(self, own: Session) -> None:
        self._session = own
        self._reader = Reader(self._session.receiver, ReaderKey(self._run_id), self._loop)
        self._began = time.monotonic()
        try:
            self._sent = self._session.start(
                self._plan, self._reader.inbox, is_async=self._loop is not None
            )
        except BaseException:
            self._session.runs.discard(self._run_id)
            raise

    def read(self) -> Sequence[StreamEvent]:
        while True:
            try:
                events = self._reader.read()
            except (DriverLost, BrokerLost) as error:
                if not self._may_begin_again(type(error).__name__):
                    raise
                self._session.failure = self._session.failure or error
            else:
                if not self._may_begin_again(loss_at_once(events)):
                    return self._seen(events)
            self._begin_again()

    async def aread(self) -> Sequence[StreamEvent]:
        while True:
            try:
                events = await self._reader.aread()
            except (DriverLost, BrokerLost) as error:
                if not self._may_begin_again(type(error).__name__):
                    raise
                self._session.failure = self._session.failure or error
            else:
                if not self._may_begin_again(loss_at_once(events)):
                    return self._seen(events)
            await asyncio.to_thread(self._begin_again)

    def _may_begin_again(self, loss: str) -> bool:
        if not loss or self._delivered or self._repeated or self._left:
            return False
        return begins_again(
            loss,
            has_driver=self._sent.done() and self._sent.exception() is None,
            is_saved=self._plan.info.saver is not None,
            broker_lives=self._session.broker_seen >= self._began,
        )

    def _begin_again(self) -> None:
        self._repeated = True
        logger.info("the session had died between two runs; the run starts in a new one")
        self._begin()

    def close(self) -> None:
        if self._left or is_collecting is None:  # the interpreter ends, and clears its modules
            return
        if is_collecting():
            self._left = True
            elsewhere(self._leave)
            return
        try:
            if self._loop is None and not self._ended and self._plan.info.saver is not None:
                self._cancel_and_wait()
        finally:
            self._left = True
            self._leave()

    def _cancel_and_wait(self) -> None:
        """What is saved can be seen once the caller has left, as in LangGraph."""
        until = time.monotonic() + _GRACE
        self._session.cancel(self._run_id)
        with suppress(RunError, TimeoutError):  # the driver or the broker is lost, or a node stuck
            while not self._ended and (left := until - time.monotonic()) > 0:
                self._seen(self._reader.read(left, only_end=True))

    def _leave(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
        soon = not self._reader.holds_little
        self._session.leave(self._run_id, ended=self._ended, soon=soon)

    async def aclose(self) -> None:
        async def last() -> bool:
            self._seen(await self._reader.aread(only_end=True))
            return self._ended

        try:
            if not (self._left or self._ended):
                self._session.cancel(self._run_id)
                with suppress(RunError):  # the driver or the broker is lost
                    await through_cancels(last)  # executors cancel once more by themselves
        finally:
            self.close()

    def _seen(self, events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
        self._delivered = self._delivered or bool(events)
        if self._reader.ended:
            self._take_end(events[-1].payload)
        return events

    def _take_end(self, end: Mapping[str, Any]) -> None:
        self._ended = not end.get("orphan")
        drain = end.get("drain")
        if drain is not None and self._control is not None and self._unsubscribe is not None:
            self._unsubscribe()
            if not self._control.drain_requested:  # a node requested the drain, on a worker
                self._control.request_drain(drain)
