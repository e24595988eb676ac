"""A run of which nothing is streamed sends its end straight to its caller, or by the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from distgraph.contract.stream import (
    END_MODE,
    AttemptId,
    Batch,
    Fence,
    Finish,
    Op,
    StreamEvent,
)
from distgraph.driver.broker_plane import SMALL, BrokerPlane, only_delivery
from distgraph.driver.operations import end_event
from distgraph.driver.ports import Acked
from distgraph.streaming.codec import encode_events
from distgraph.streaming.consumer import Reassembler


class Ways:
    """Notes what goes by which way."""

    def __init__(self, *, reached: bool = True) -> None:
        self.reached = reached
        self.straight: list[Batch] = []
        self.by_broker: list[Batch] = []
        self.plane = BrokerPlane(self, "run", "caller", lambda event: None, self.end, self.tell)

    def end(self, error: BaseException) -> None:
        raise AssertionError(error)

    def tell(self, batch: Batch) -> bool:
        if self.reached:
            self.straight.append(batch)
        return self.reached

    def drive(self, batch: Batch, answered: Any, *, awaited: bool = True) -> None:
        self.by_broker.append(batch)

    def fence(self, run_id: str, attempt_id: AttemptId) -> Any:
        raise AssertionError("nothing is asked of the broker")


def test_the_end_goes_straight_to_the_caller() -> None:
    ways, ops = Ways(), [Finish(b"end")]
    assert ways.plane.drive(1, ops, awaited=True) == Acked()
    assert ways.straight == [Batch("run", "caller", 1, ops)]
    assert ways.by_broker == []


def test_the_end_goes_by_the_broker_where_the_caller_cannot_be_reached() -> None:
    ways, ops = Ways(reached=False), [Finish(b"end")]
    assert ways.plane.drive(1, ops, awaited=True) is None
    assert ways.by_broker == [Batch("run", "caller", 1, ops)]


@pytest.mark.parametrize(
    "ops",
    [
        [Finish(b"x" * (SMALL + 1))],
        [Finish([("references",)])],  # type: ignore[arg-type]
        [Fence("task", 1), Finish(b"end")],
        [Finish(b"end", force=True, status="cancelled")],
    ],
    ids=["large", "not packed", "more than the end", "cancelled"],
)
def test_everything_else_goes_by_the_broker(ops: Sequence[Op]) -> None:
    ways = Ways()
    assert ways.plane.drive(1, ops, awaited=True) is None
    assert ways.by_broker == [Batch("run", "caller", 1, ops)]
    assert ways.straight == []


def test_no_event_of_a_lost_attempt_is_in_the_stream() -> None:
    assert Ways().plane.fence(AttemptId("task", 1)) == 0


def test_the_caller_reads_the_end_alone() -> None:
    end = end_event("done", {"number": 2})
    reader = Reassembler("run")
    (event,) = reader.feed([only_delivery(encode_events([end]))])
    assert event == StreamEvent("run", 1, (), 0, "", 1, 1, END_MODE, end.payload)
    assert reader.ended
