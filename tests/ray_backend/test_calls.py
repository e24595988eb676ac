"""Calls of tasks between a worker process and the driver, without Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import pytest

from actors import calls
from actors.call_frames import CALL, RETURNED, CallHead, ReturnedHead
from actors.call_results import CallPort, CallResults
from actors.calls import AttemptCalls, take_returned
from actors.lease_frames import head, read_head, rest
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.calls import CallResult, TaskCall
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import ReferringBlob
from distgraph.wire import ConnectionClosed, Frame

KEY = ("a", 1)


class Sent:
    """A connection that keeps what is sent on it."""

    closed = False

    def __init__(self) -> None:
        self.frames: list[tuple[int, Any, list[Any]]] = []

    def send(self, kind: int, told: bytes, *parts: bytes, wait: bool) -> None:
        assert not wait
        if self.closed:
            raise ConnectionClosed("the connection has ended")
        frame = Frame(kind, (told, *parts), 0)
        self.frames.append((kind, read_head(frame), [loads(part) for part in rest(frame)]))


def result(seq: int, value: Any = None) -> CallResult:
    return CallResult(*KEY, seq, value)


def returned(seq: int) -> tuple[str, str, int, int]:
    return ("run", *KEY, seq)


def test_a_result_goes_to_the_connection_that_the_call_came_from() -> None:
    results, one, other = CallResults("run"), Sent(), Sent()
    results.subscribe(KEY, one)
    results.subscribe(("b", 1), other)
    results.put(result(0, "x"))
    assert one.frames == [(RETURNED, returned(0), [result(0, "x")])]
    assert other.frames == []


def test_results_wait_for_the_connection_of_a_call_that_came_through_ray() -> None:
    results, one = CallResults("run"), Sent()
    results.put(result(0))
    results.put(result(1))
    results.subscribe(KEY, one)
    results.subscribe(KEY, one)
    assert [told for _, told, _ in one.frames] == [returned(0), returned(1)]


def test_a_result_that_holds_references_is_announced_and_fetched_through_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    referring = ReferringBlob(dumps_data(result(3)), ["reference"])
    monkeypatch.setattr("actors.call_results.pack_result", lambda result: referring)
    results, one = CallResults("run"), Sent()
    results.subscribe(KEY, one)
    results.put(result(3))
    assert one.frames == [(RETURNED, returned(3), [])]
    fetched = results.take(KEY, 3)
    assert (fetched.blob, fetched.references) == (bytes(referring), ("reference",))
    results.forget(KEY)
    assert results.take(KEY, 3) is None


def test_a_result_for_a_process_that_is_gone_is_dropped() -> None:
    results, one = CallResults("run"), Sent()
    results.subscribe(KEY, one)
    one.closed = True
    results.put(result(0))
    assert one.frames == []


def test_who_waits_for_a_result_learns_of_one_and_of_the_end_of_the_run() -> None:
    results = CallResults("run")
    results.put(result(0))
    results.wait(KEY, 0)  # returns at once
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            results.wait(KEY, 1)
            over.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    results.close()
    waiting.join(60)
    assert over.is_set()


def test_what_a_frame_says_reaches_the_driver() -> None:
    came: list[tuple[Any, Any]] = []
    port = CallPort(lambda connection, told, packed: came.append((told, packed)))
    told = CallHead("run", *KEY)
    port.received(Sent(), Frame(CALL, (head(told), b"call"), 0))
    port.received(Sent(), Frame(CALL, (head(told),), 0))
    assert came == [(told, b"call"), (told, None)]


# --- at the attempt -------------------------------------------------------------------------------


class Task:
    def shipped(self) -> tuple[bytes, str]:
        return b"function", "key"


class Callee:
    name, function, is_async, ray_options = "double", Task(), False, {}
    retry, timeout, cache, identity = (), None, None, "double"


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Iterator[AttemptCalls]:
    request = AttemptRequest(*KEY, (), "n", (), "", 1, 25, "node", None, None, {}, {}, {})
    made = AttemptCalls("session", "run", request)
    monkeypatch.setitem(calls._connections, "session", Sent())
    monkeypatch.setattr(calls, "driver_of", _no_ray)
    yield made
    made.end()
    assert calls._calling == {}


def _no_ray(session: str) -> Any:
    raise AssertionError("Ray is asked")


def frame_of(seq: int, value: Any) -> Frame:
    told = ReturnedHead("run", *KEY, seq)
    return Frame(RETURNED, (head(told), dumps_data(result(seq, value))), 0)


def test_a_result_that_comes_within_a_moment_needs_no_call_of_ray(way: AttemptCalls) -> None:
    future = way.calls.call(Callee, (2,), {})
    ((kind, told, parts),) = calls._connections["session"].frames
    assert (kind, told) == (CALL, ("run", *KEY))
    assert isinstance(parts[0], TaskCall) and parts[0].input == ((2,), {})
    take_returned(frame_of(0, 4))
    assert future.result() == 4


def test_code_that_waits_for_longer_waits_within_ray(
    way: AttemptCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Driver:
        class await_result:
            @staticmethod
            def remote(*question: Any) -> Any:
                asked.append(question)

    def wait(questions: Any, timeout: float) -> None:
        take_returned(frame_of(0, 4))

    monkeypatch.setattr(calls, "driver_of", lambda session: Driver)
    monkeypatch.setattr(calls.ray, "wait", wait)
    future = way.calls.call(Callee, (2,), {})
    with pytest.raises(FutureTimeout):
        future.result(0)
    assert asked == []
    assert future.result() == 4
    assert asked == [("run", KEY, 0)]


def test_the_driver_is_told_only_of_code_that_waits_for_a_moment(
    way: AttemptCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    looks: list[Callable[[], object]] = []

    class Timers:
        @staticmethod
        def after(seconds: float, look: Callable[[], object]) -> None:
            looks.append(look)

    monkeypatch.setattr(calls, "on_waiting", told.append)
    monkeypatch.setattr(calls, "timers", lambda: Timers)
    way.calls.call(Callee, (2,), {})
    take_returned(frame_of(0, 4))
    looks.pop()()
    assert told == []
    way.calls.call(Callee, (2,), {})
    monkeypatch.setattr(calls, "PATIENCE", 0.0)
    looks.pop()()
    assert told == [True]
    take_returned(frame_of(1, 4))
    assert told == [True, False] and looks == []


def test_a_result_that_cannot_be_read_fails_its_call(way: AttemptCalls) -> None:
    future = way.calls.call(Callee, (2,), {})
    take_returned(Frame(RETURNED, (head(ReturnedHead("run", *KEY, 0)), b"no pickle"), 0))
    assert future.exception(0) is not None


def test_calls_fail_with_the_connection_that_their_results_were_to_come_on(
    way: AttemptCalls,
) -> None:
    class Lost:
        class peer:
            name = "the superstep driver"

    future = way.calls.call(Callee, (2,), {})
    calls._lost("session", Lost, None)
    with pytest.raises(ConnectionError, match="the connection to the superstep driver has ended"):
        future.result(0)


def test_a_result_behind_the_end_of_its_attempt_is_dropped(way: AttemptCalls) -> None:
    future = way.calls.call(Callee, (2,), {})
    way.end()
    take_returned(frame_of(0, 4))
    assert future.cancelled()
