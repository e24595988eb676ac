"""A run that was sent to a session which had died begins again in another one, however late the
death is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from actors.backend import RayRun
from distgraph.contract.stream import END_MODE, Delivery, Event, Segment
from distgraph.driver.operations import end_blob
from distgraph.errors import BrokerLost, DriverLost, RunError
from distgraph.streaming.codec import encode_events
from distgraph.streaming.receiver import Inbox
from distgraph.streaming.transport import ReaderKey

ENDS = encode_events([Event((), END_MODE, {"status": "success", "value": 7})])

TOLD = end_blob("error", error=DriverLost("gone"))

BEFORE, LATER = float("-inf"), float("inf")
"""Times before and after the start of a run."""

ANSWERED: Future[None] = Future()
ANSWERED.set_result(None)

UNANSWERED: Future[None] = Future()


class Receiver:
    """Takes the place of what receives events."""

    def close(self, reader: ReaderKey) -> None:
        """Forget a reader."""

    def wait(self, inbox: Inbox, timeout: float | None = None) -> None:
        raise AssertionError("everything has come")

    def consumed(self, reader: ReaderKey, seq: int, *, at_once: bool) -> None:
        """Note what was consumed."""


class Session:
    """Takes the place of a session, in which something comes of each run at once."""

    failure: BaseException | None = None

    def __init__(
        self, come: Callable[[Inbox], None], sent: Future[None] = UNANSWERED, seen: float = BEFORE
    ) -> None:
        self.receiver = Receiver()
        self.runs: set[str] = set()
        self.broker_seen = seen
        self._come = come
        self._sent = sent

    def start(self, plan: Any, inbox: Inbox, *, is_async: bool) -> Future[None]:
        if self.failure is not None:
            raise self.failure
        self._come(inbox)
        return self._sent


def loses(error: RunError) -> Callable[[Inbox], None]:
    return lambda inbox: inbox.fail(error)


def gives(blob: bytes, seq: int = 1) -> Callable[[Inbox], None]:
    segment = Segment("", 1, 0, seq, 1, blob)
    return lambda inbox: inbox.put([Delivery(seq, segment)])


def works() -> Session:
    return Session(gives(ENDS), ANSWERED)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Reads a run to which some sessions are given in turn. Returns the values of its events."""

    def read(*sessions: Session, saver: Any = None, is_async: bool = False) -> list[Any]:
        left = list(sessions)
        monkeypatch.setattr("actors.sessions.enter", lambda plan: left.pop(0))
        options = SimpleNamespace(shared=SimpleNamespace(run_id="r"))
        info = SimpleNamespace(control=None, saver=saver)
        plan: Any = SimpleNamespace(options=options, info=info)

        async def aread() -> Any:
            return await RayRun(plan, asyncio.get_running_loop()).aread()

        events = asyncio.run(aread()) if is_async else RayRun(plan, None).read()
        assert not left
        return [event.payload["value"] for event in events]

    return read


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "died",
    [
        lambda: Session(loses(BrokerLost("gone")), ANSWERED, seen=BEFORE),
        lambda: Session(loses(BrokerLost("gone")), UNANSWERED, seen=BEFORE),
        lambda: Session(loses(DriverLost("gone")), UNANSWERED, seen=LATER),
        lambda: Session(gives(TOLD), UNANSWERED, seen=LATER),
    ],
    ids=["broker", "both", "driver", "driver, told by the broker"],
)
def test_a_run_of_a_session_that_had_died_begins_again(
    read: Any, died: Callable[[], Session], is_async: bool
) -> None:
    assert read(died(), works(), is_async=is_async) == [7]


@pytest.mark.parametrize("error", [BrokerLost("gone"), DriverLost("gone")])
def test_a_session_that_is_lost_before_the_run_is_sent_is_replaced(
    read: Any, error: RunError
) -> None:
    lost = Session(loses(error))
    lost.failure = error
    assert read(lost, works()) == [7]


@pytest.mark.parametrize(
    ("died", "error"),
    [
        (lambda: Session(loses(BrokerLost("gone")), ANSWERED, seen=LATER), BrokerLost),
        (lambda: Session(loses(DriverLost("gone")), ANSWERED), DriverLost),
    ],
)
def test_a_run_whose_session_dies_later_fails(
    read: Any, died: Callable[[], Session], error: type[RunError]
) -> None:
    with pytest.raises(error):
        read(died())


def test_a_saved_run_that_the_driver_has_is_not_begun_again(read: Any) -> None:
    with pytest.raises(BrokerLost):
        read(Session(loses(BrokerLost("gone")), ANSWERED), saver=object())


def test_a_saved_run_that_no_driver_has_is_begun_again(read: Any) -> None:
    assert read(Session(loses(BrokerLost("gone"))), works(), saver=object()) == [7]


def test_a_run_is_begun_again_once(read: Any) -> None:
    with pytest.raises(BrokerLost):
        read(Session(loses(BrokerLost("gone"))), Session(loses(BrokerLost("gone again"))))
