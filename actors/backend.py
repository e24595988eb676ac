"""The backend that runs on Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from actors import session
from distgraph.backends.base import RunPlan
from distgraph.contract.stream import Delivery, StreamEvent
from distgraph.errors import RunError
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.receiver import Inbox
from distgraph.streaming.transport import ReaderKey
from distgraph.worker.surroundings import capture

_ACK_BYTES = 512 << 10
_ACK_EVENTS = 2_000
"""Events consumed but not acknowledged; above either limit, the caller acknowledges at once."""


class RayBackend:
    """Runs on the Ray cluster that this process is connected to."""

    name = "ray"

    def ready(self) -> bool:
        """Return whether this process has a session."""
        return session.exists()

    def connect(self) -> None:
        """Start the session, and Ray where nobody has."""
        session.current().wait_until_up()

    def start(self, plan: RunPlan, *, is_async: bool) -> RayRun:
        """Start a run, and the session with its first one.

        Nodes run in the context of the caller, as far as it can be taken along.
        """
        plan = replace(plan, info=replace(plan.info, surroundings=capture()))
        return RayRun(plan, asyncio.get_running_loop() if is_async else None)


_BACKEND = RayBackend()


def backend() -> RayBackend:
    """Return the Ray backend."""
    return _BACKEND


class RayRun:
    """One run on the cluster, as seen by its consumer."""

    def __init__(self, plan: RunPlan, loop: asyncio.AbstractEventLoop | None) -> None:
        self._run_id = plan.options.shared.run_id
        self._inbox = Inbox(ReaderKey(self._run_id), loop)
        self._events = Reassembler(self._run_id)
        self._bytes = 0
        self._acked = 0
        self._left = False
        self._ended = False
        """Whether the driver has ended the run."""
        self._session = session.current()
        self._session.start(plan, self._inbox)
        control = self._control = plan.info.control
        self._unsubscribe = (
            None if control is None else control.listen(partial(self._session.drain, self._run_id))
        )
        """Ends the subscription to requests to drain."""

    def read(self) -> Sequence[StreamEvent]:
        self._acknowledge()
        while not (deliveries := self._inbox.take()):
            self._session.receiver.wait(self._inbox)
        return self._feed(deliveries)

    async def aread(self) -> Sequence[StreamEvent]:
        self._acknowledge()
        return self._feed(await self._inbox.aget())

    def close(self) -> None:
        if not self._left:
            self._left = True
            if self._unsubscribe is not None:
                self._unsubscribe()
            self._session.leave(self._run_id, ended=self._ended)

    async def aclose(self) -> None:
        if not (self._left or self._ended):
            self._session.cancel(self._run_id)
            with suppress(RunError):  # the driver or the broker is lost
                while not self._ended:
                    await self.aread()
        self.close()

    def _feed(self, deliveries: list[Delivery]) -> Sequence[StreamEvent]:
        self._bytes += sum(len(d.segment.blob) for d in deliveries)
        events = self._events.feed(deliveries)
        if self._events.ended:
            self._take_end(events[-1].payload)
        return events

    def _take_end(self, end: Mapping[str, Any]) -> None:
        self._ended = not end.get("orphan")
        drain = end.get("drain")
        if drain is not None and self._control is not None and self._unsubscribe is not None:
            self._unsubscribe()
            if not self._control.drain_requested:  # a node requested the drain, on a worker
                self._control.request_drain(drain)

    def _acknowledge(self) -> None:
        """Everything that was handed out before has been consumed."""
        position = self._events.position
        if position == self._acked:
            return
        at_once = self._bytes > _ACK_BYTES or position - self._acked > _ACK_EVENTS
        self._session.receiver.consumed(self._inbox.reader, position, at_once=at_once)
        if at_once:
            self._bytes, self._acked = 0, position
