from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from distgraph import metrics
from distgraph.concurrency.timers import Timers
from distgraph.contract.stream import Admit, Commit, Event, Finish, Segment
from distgraph.errors import BrokerLost, RunCancelled, SerializationError
from distgraph.streaming.codec import decode_events
from distgraph.streaming.log import RunLog
from distgraph.streaming.publisher import AttemptStream, Publisher, StreamClosed
from distgraph.streaming.transport import GONE, RunKey

from .support import END_BLOB, RUN, PutsTo, by_hand, read_all

GAP = 0.002
Put = tuple[str, list[tuple[str, int, list[Any]]]]


class Broker:
    """Takes puts and acknowledges them when told to."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.puts: list[Put] = []
        self.acks: list[Future[float]] = []
        self.threads: list[threading.Thread] = []
        self.timers = by_hand(lambda: self.now)
        options.setdefault("timers", self.timers)
        options.setdefault("gap", GAP)
        options.setdefault("burst", 0)
        self.publisher = Publisher(PutsTo(self.send), lambda: self.now, **options)

    def send(self, run: RunKey, segments: Sequence[Segment]) -> Future[float]:
        shown = [(s.task_id, s.first, [e.payload for e in decode_events(s)]) for s in segments]
        self.puts.append((run.run_id, shown))
        self.threads.append(threading.current_thread())
        self.acks.append(Future())
        return self.acks[-1]

    def open(self, task: str = "a", run: str = "run") -> AttemptStream:
        return self.publisher.open(RUN._replace(run_id=run), task, 1, 3, "plan")

    def ack(self, pause: float = 0.0) -> None:
        self.acks[-1].set_result(pause)

    def pump_after(self, seconds: float) -> None:
        self.now += seconds
        self.timers.run_due()

    def new_puts(self) -> list[Put]:
        puts, self.puts = self.puts, []
        return puts


def custom(payload: Any) -> Event:
    return Event((), "custom", payload)


def test_the_first_event_is_sent_at_once_by_the_thread_that_emits_it() -> None:
    broker = Broker()
    broker.open().emit(custom("x"))
    assert broker.puts == [("run", [("a", 1, ["x"])])]
    assert broker.threads == [threading.current_thread()]


def test_a_whole_message_shows_the_name_that_its_agent_sets() -> None:
    broker = Broker()
    message = AIMessage("hi")
    broker.open().emit(Event((), "messages", (message, {})))
    broker.pump_after(GAP)
    assert broker.puts == []
    message.name = "ann"
    broker.pump_after(0.02)
    assert broker.puts == [("run", [("a", 1, [(AIMessage("hi", name="ann"), {})])])]


def test_a_whole_message_does_not_wait_for_longer_than_its_attempt() -> None:
    broker = Broker()
    message = AIMessage("hi")
    attempt, other = broker.open("a"), broker.open("b")
    attempt.emit(Event((), "messages", (message, {})))
    attempt.emit(custom("x"))
    message.name = "ann"
    published, [tail] = attempt.close()
    assert published == 2
    assert [event.payload for event in decode_events(tail)] == [
        (AIMessage("hi", name="ann"), {}),
        "x",
    ]
    other.emit(custom("y"))
    assert broker.puts == [("run", [("b", 1, ["y"])])]


def test_a_whole_message_delays_its_own_attempt_only() -> None:
    broker = Broker()
    attempt, other = broker.open("a"), broker.open("b")
    message = AIMessage("hi")
    attempt.emit(Event((), "messages", (message, {})))
    attempt.emit(custom("behind"))
    other.emit(custom(1))
    assert broker.new_puts() == [("run", [("b", 1, [1])])]
    other.emit(custom(2))
    broker.ack()
    broker.pump_after(GAP)
    assert broker.new_puts() == [("run", [("b", 2, [2])])]
    message.name = "ann"
    other.emit(custom(3))
    broker.pump_after(0.02)  # what is on its way is not acknowledged yet
    assert broker.new_puts() == []
    broker.ack()
    broker.timers.run_due()
    named = AIMessage("hi", name="ann"), {}
    assert broker.new_puts() == [("run", [("a", 1, [named, "behind"]), ("b", 3, [3])])]


def test_whole_messages_of_several_attempts_are_sent_when_each_is_due() -> None:
    broker = Broker()
    for number, name in enumerate("abc"):
        broker.open(name).emit(Event((), "messages", (AIMessage(name), {})))
        broker.pump_after(0.005)
        assert broker.new_puts() == [], number
    for name in "abc":
        broker.pump_after(0.0051)
        assert broker.new_puts() == [("run", [(name, 1, [(AIMessage(name), {})])])]
        broker.ack()


def test_a_whole_message_that_is_large_is_sent_in_its_time_too() -> None:
    broker = Broker(max_bytes=1000)
    attempt, other = broker.open("a"), broker.open("b")
    attempt.emit(Event((), "messages", (AIMessage("x" * 2000), {})))
    assert broker.new_puts() == []
    broker.pump_after(0.02)
    assert broker.new_puts() == [("run", [("a", 1, [(AIMessage("x" * 2000), {})])])]
    broker.ack()
    other.emit(custom("y"))
    broker.pump_after(GAP)
    assert broker.new_puts() == [("run", [("b", 1, ["y"])])]


def test_the_chunk_of_a_message_is_sent_at_once() -> None:
    broker = Broker()
    broker.open().emit(Event((), "messages", (AIMessageChunk("hi"), {})))
    assert len(broker.puts) == 1


def test_a_whole_message_during_a_put_waits_too() -> None:
    broker = Broker()
    attempt, message = broker.open(), AIMessage("hi")
    attempt.emit(custom("x"))
    attempt.emit(Event((), "messages", (message, {})))
    broker.ack()
    broker.pump_after(GAP)
    assert len(broker.puts) == 1
    message.name = "ann"
    broker.pump_after(0.02)
    assert broker.puts[1:] == [("run", [("a", 2, [(AIMessage("hi", name="ann"), {})])])]


def test_events_gather_while_a_put_is_in_flight_and_are_the_next_put() -> None:
    broker = Broker()
    a, b = broker.open("a"), broker.open("b")
    for i in range(3):
        a.emit(custom(i))
        b.emit(custom(-i))
    assert broker.new_puts() == [("run", [("a", 1, [0])])]
    broker.pump_after(1.0)
    assert broker.puts == []
    broker.ack()
    broker.timers.run_due()
    assert broker.puts == [("run", [("b", 1, [0, -1, -2]), ("a", 2, [1, 2])])]


def test_puts_of_one_run_keep_a_gap_under_load() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    broker.ack()
    stream.emit(custom(2))
    assert len(broker.new_puts()) == 1
    assert broker.timers.run_due() == pytest.approx(GAP)
    broker.pump_after(GAP / 2)
    assert broker.puts == []
    stream.emit(custom(3))
    broker.pump_after(GAP / 2)
    assert broker.puts == [("run", [("a", 2, [2, 3])])]


def test_some_puts_of_one_run_need_not_keep_the_gap() -> None:
    broker = Broker(burst=3)
    streams = [broker.open(task) for task in "abcdefgh"]
    for count, stream in enumerate(streams[:4], 1):
        stream.emit(custom(count))
        assert len(broker.puts) == count
        broker.ack()
    streams[4].emit(custom(5))
    assert len(broker.puts) == 4  # four puts in no time
    assert broker.timers.run_due() == pytest.approx(GAP)
    broker.pump_after(GAP)
    assert broker.puts[4:] == [("run", [("e", 1, [5])])]
    broker.ack()
    streams[5].emit(custom(6))
    assert len(broker.puts) == 5
    broker.pump_after(GAP)
    broker.ack()
    broker.now += 4 * GAP
    for stream in streams[:4]:
        stream.emit(custom(7))
        broker.ack()
    streams[6].emit(custom(8))
    assert len(broker.puts) == 10


def test_what_gathered_meanwhile_is_sent_behind_the_acknowledgement() -> None:
    broker = Broker(burst=1)
    one, other = broker.open("a"), broker.open("b")
    one.emit(custom(1))
    other.emit(custom(2))
    one.emit(custom(3))
    assert len(broker.new_puts()) == 1
    thread = threading.Thread(target=broker.ack)
    thread.start()
    thread.join()
    assert broker.new_puts() == [("run", [("b", 1, [2]), ("a", 2, [3])])]
    assert broker.threads[-1] is thread
    other.emit(custom(4))
    broker.ack()
    assert broker.puts == []
    broker.pump_after(GAP)
    assert broker.puts == [("run", [("b", 2, [4])])]


def test_what_has_gathered_in_large_numbers_is_sent_by_the_thread_that_emits() -> None:
    broker = Broker(burst=1)
    stream = broker.open()
    for number in range(66):
        stream.emit(custom(number))
    broker.ack()
    assert len(broker.new_puts()) == 1
    stream.emit(custom(66))
    assert broker.new_puts() == [("run", [("a", 2, list(range(1, 67)))])]


def test_an_event_after_a_quiet_moment_does_not_wait_for_the_gap() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    broker.ack()
    broker.now += GAP
    stream.emit(custom(2))
    assert broker.puts == [("run", [("a", 1, [1])]), ("run", [("a", 2, [2])])]


def test_an_emitter_does_not_wait_for_a_late_sender_thread() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    broker.ack()
    stream.emit(custom(2))
    broker.now += GAP
    stream.emit(custom(3))
    assert broker.puts[1:] == [("run", [("a", 2, [2, 3])])]


def test_runs_do_not_wait_for_each_other() -> None:
    broker = Broker()
    broker.open("a", run="one").emit(custom(1))
    broker.open("b", run="two").emit(custom(2))
    assert broker.puts == [("one", [("a", 1, [1])]), ("two", [("b", 1, [2])])]


def test_after_a_pause_nothing_is_put_before_the_log_says_go_on() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    broker.ack(pause=0.5)
    stream.emit(custom(2))
    broker.pump_after(0.4)
    assert len(broker.new_puts()) == 1
    broker.pump_after(0.1)
    assert broker.new_puts() == [("run", [])]
    broker.ack(pause=0.5)
    broker.pump_after(0.5)
    assert broker.new_puts() == [("run", [])]
    broker.ack()
    broker.pump_after(GAP)
    assert broker.new_puts() == [("run", [("a", 2, [2])])]


def test_a_send_that_answers_at_once_needs_no_future() -> None:
    puts: list[Sequence[Segment]] = []

    def send(run: RunKey, segments: Sequence[Segment]) -> float:
        puts.append(segments)
        return 0.0

    publisher = Publisher(PutsTo(send), gap=0.0)
    stream = publisher.open(RUN, "a", 1, 1)
    for i in range(3):
        stream.emit(custom(i))
    assert [s.first for segments in puts for s in segments] == [1, 2, 3]
    assert stream.close() == (3, ())
    assert publisher.runs == 0


def test_closing_hands_out_what_no_put_has_taken() -> None:
    broker = Broker()
    a, b = broker.open("a"), broker.open("b")
    a.emit(custom(1))
    b.emit(custom("b"))
    a.emit(custom(2))
    a.emit(custom(3))
    published, (tail,) = a.close()
    assert published == 3
    assert tail[:5] == ("a", 1, 3, 2, 2)
    assert [event.payload for event in decode_events(tail)] == [2, 3]
    assert a.close() == (3, (tail,))
    broker.ack()
    broker.pump_after(GAP)
    assert broker.puts[1:] == [("run", [("b", 1, ["b"])])]
    assert b.close() == (1, ())


LARGE = b"x" * (300 << 10)


def test_what_is_large_is_left_to_the_next_put_when_its_attempt_ends() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom("first"))
    stream.emit(custom(LARGE))
    closings: list[object] = []
    thread, failures = in_thread(lambda: closings.append(stream.close()))
    assert stream._lane is not None
    while not stream._lane.waiting:
        time.sleep(0.001)
    broker.ack()
    broker.pump_after(GAP)
    thread.join(60)
    assert closings == [(2, ())]
    assert broker.puts == [("run", [("a", 1, ["first"])]), ("run", [("a", 2, [LARGE])])]
    assert failures == []


def test_an_attempt_does_not_wait_at_its_end_for_readers_nor_on_an_event_loop() -> None:
    paused, looped = Broker(), Broker()
    streams = [broker.open() for broker in (paused, looped)]
    for stream in streams:
        stream.emit(custom("first"))
        stream.emit(custom(LARGE))
    paused.ack(0.5)

    async def close() -> tuple[int, tuple[Segment, ...]]:
        return streams[1].close()

    for published, [tail] in (streams[0].close(), asyncio.run(close())):
        assert published == 2
        assert [event.payload for event in decode_events(tail)] == [LARGE]


def test_closing_an_attempt_that_emitted_nothing() -> None:
    assert Broker().open().close() == (0, ())


def test_an_event_after_the_end_names_the_node_and_the_remedy() -> None:
    stream = Broker().open()
    stream.close()
    with pytest.raises(StreamClosed, match=r"attempt 1 of node 'plan' in step 3 has ended.*thread"):
        stream.emit(custom(1))


def test_a_cancelled_attempt_discards_what_is_unsent() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    stream.emit(custom(2))
    stream.cancel()
    with pytest.raises(RunCancelled, match="attempt 1 of node 'plan' in step 3 was cancelled"):
        stream.emit(custom(3))
    assert stream.close() == (1, ())
    broker.ack()
    broker.pump_after(1.0)
    assert len(broker.puts) == 1


def test_an_event_that_cannot_be_pickled_is_an_error_of_the_emitter() -> None:
    broker = Broker()
    stream = broker.open()
    with pytest.raises(SerializationError, match="node 'plan': a Thread emitted in .*'custom'"):
        stream.emit(custom(threading.Thread()))
    stream.emit(custom("next"))
    assert broker.puts == [("run", [("a", 1, ["next"])])]


def test_an_event_is_what_it_was_when_it_was_emitted() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(0))
    payload = {"n": 1}
    stream.emit(custom(payload))
    payload["n"] = 2
    _, (tail,) = stream.close()
    assert decode_events(tail) == [custom({"n": 1})]


def fill(stream: AttemptStream, broker: Broker) -> int:
    """Emit until the next event would have to wait; return how many were emitted."""
    emitted = 0
    while not stream.congested:
        stream.emit(custom(emitted))
        emitted += 1
    return emitted


def in_thread(body: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


@pytest.mark.parametrize("limits", [{"max_events": 10}, {"max_bytes": 1000}])
def test_an_emitter_waits_while_the_buffer_is_full(limits: dict[str, int]) -> None:
    broker = Broker(**limits)
    stream = broker.open()
    emitted = fill(stream, broker)
    thread, errors = in_thread(lambda: stream.emit(custom("waited")))
    thread.join(0.1)
    assert thread.is_alive()
    broker.ack()
    broker.pump_after(GAP)
    thread.join(60)
    assert (thread.is_alive(), errors) == (False, [])
    assert stream.close()[0] == emitted + 1


def test_an_event_larger_than_the_buffer_passes_when_the_buffer_is_empty() -> None:
    broker = Broker(max_bytes=1000)
    stream = broker.open()
    stream.emit(custom("in flight"))
    stream.emit(custom("x" * 10_000))
    assert stream.congested
    assert stream.close()[0] == 2


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda broker, stream: stream.close(), StreamClosed),
        (lambda broker, stream: stream.cancel(), RunCancelled),
        (lambda broker, stream: broker.publisher.forget(RUN), RunCancelled),
        (lambda broker, stream: broker.acks[0].set_exception(OSError("gone")), BrokerLost),
    ],
)
def test_a_waiting_emitter_is_told_when_the_stream_ends(
    end: Callable[[Broker, AttemptStream], object], error: type[Exception]
) -> None:
    broker = Broker(max_events=10)
    stream = broker.open()
    fill(stream, broker)
    thread, errors = in_thread(lambda: stream.emit(custom("never")))
    end(broker, stream)
    thread.join(60)
    assert [type(e) for e in errors] == [error]


def test_an_emitter_that_must_not_wait_has_eight_times_the_buffer() -> None:
    broker = Broker(max_events=10)
    stream = broker.open()
    stream.emit(custom("in flight"))
    for i in range(80):
        stream.emit(custom(i), wait=False)
    thread, errors = in_thread(lambda: stream.emit(custom(80), wait=False))
    thread.join(0.1)
    assert thread.is_alive()
    broker.ack()
    broker.pump_after(GAP)
    thread.join(60)
    assert (thread.is_alive(), errors) == (False, [])


def test_code_that_must_not_wait_holds_eight_puts_of_one_buffer_and_no_more() -> None:
    broker = Broker(max_bytes=10_000)
    stream = broker.open()
    stream.emit(custom("in flight"))
    held: list[int] = []

    def never_awaits() -> None:
        for i in range(1000):
            stream.emit(custom(bytes(900)), wait=False)
            held.append(i)

    thread, errors = in_thread(never_awaits)
    thread.join(0.2)
    assert thread.is_alive()
    size = broker.publisher._lanes[RUN].bytes / len(held)
    assert 80_000 <= size * len(held) < 80_000 + size
    puts, most = 1, -(-10_000 // size)
    while thread.is_alive():
        broker.ack()
        broker.pump_after(GAP)
        assert len(broker.puts) == puts + 1
        ((_, [(_, _, events)]),) = broker.puts[puts:]
        assert len(events) == most
        puts += 1
        thread.join(0.02)
    assert errors == []
    assert stream.close()[0] == 1001


def test_a_put_of_many_attempts_holds_one_buffer() -> None:
    broker = Broker(max_events=4)
    a, b, c = broker.open("a"), broker.open("b"), broker.open("c")
    a.emit(custom("in flight"))
    for i in range(3):
        for stream in (a, b, c):
            stream.emit(custom(i), wait=False)
    for _ in range(3):
        broker.ack()
        broker.pump_after(GAP)
    assert broker.puts[1:] == [
        ("run", [("a", 2, [0, 1, 2]), ("b", 1, [0])]),
        ("run", [("b", 2, [1, 2]), ("c", 1, [0, 1])]),
        ("run", [("c", 3, [2])]),
    ]


def test_a_coroutine_waits_for_room_without_blocking_its_loop() -> None:
    broker = Broker(max_events=10)
    stream = broker.open()

    def release() -> None:
        broker.ack()
        broker.pump_after(GAP)

    async def main() -> None:
        await stream.room()
        fill(stream, broker)
        waiting = asyncio.create_task(stream.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        acking, _ = in_thread(release)
        await asyncio.wait_for(waiting, 60)
        acking.join()
        fill(stream, broker)
        waiting = asyncio.create_task(stream.room())
        await asyncio.sleep(0)
        stream.cancel()
        with pytest.raises(RunCancelled):
            await asyncio.wait_for(waiting, 60)

    asyncio.run(main())


def test_a_lost_broker_is_an_error_of_the_next_event_and_loses_nothing_unacknowledged() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    stream.emit(custom(2))
    cause = OSError("actor died")
    broker.acks[0].set_exception(cause)
    with pytest.raises(BrokerLost, match=r"run run .*OSError: actor died") as caught:
        stream.emit(custom(3))
    assert caught.value.__cause__ is cause
    published, tail = stream.close()
    assert published == 2
    assert [e.payload for segment in tail for e in decode_events(segment)] == [1, 2]


def test_a_transport_that_has_lost_the_broker_ends_the_stream() -> None:
    def put(run: RunKey, segments: Sequence[Segment]) -> float:
        raise BrokerLost("no connection")

    stream = Publisher(PutsTo(put)).open(RUN, "a", 1, 1)
    stream.emit(custom(1))
    with pytest.raises(BrokerLost, match="no connection"):
        stream.emit(custom(2))


def test_a_transport_that_fails_in_another_way_ends_the_stream_at_its_second_try() -> None:
    def put(run: RunKey, segments: Sequence[Segment]) -> float:
        raise OSError("no connection")

    publisher = Publisher(PutsTo(put), lambda: 100.0, timers=(timers := by_hand(lambda: 100.0)))
    stream = publisher.open(RUN, "a", 1, 1)
    with pytest.raises(OSError, match="no connection"):
        stream.emit(custom(1))
    timers.run_due()
    with pytest.raises(BrokerLost, match="OSError: no connection"):
        stream.emit(custom(2))


def test_a_broker_that_nobody_reads_from_cancels_the_emitters_of_the_run() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    broker.ack(GONE)
    with pytest.raises(RunCancelled):
        stream.emit(custom(2))
    assert broker.publisher.runs == 0


def test_a_forgotten_run_takes_no_more_events_and_leaves_nothing() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    stream.emit(custom(2))
    broker.publisher.forget(RUN)
    with pytest.raises(RunCancelled, match="the run has ended"):
        stream.emit(custom(3))
    broker.ack()
    broker.pump_after(1.0)
    assert len(broker.puts) == 1
    assert broker.publisher.runs == 0
    broker.publisher.forget(RUN)


def test_a_run_leaves_nothing_behind_once_its_attempts_and_puts_have_ended() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    stream.close()
    assert broker.publisher.runs == 1
    broker.ack()
    assert broker.publisher.runs == 0


def test_runs_that_never_went_on_after_a_pause_are_swept_out() -> None:
    broker = Broker()
    for n in range(100):
        stream = broker.open(run=f"run {n}")
        stream.emit(custom(1))
        broker.ack(pause=0.1)
        stream.close()
        broker.now += 10
    assert broker.publisher.runs <= 64


class OfSignalHandler(Exception):
    pass


@pytest.mark.parametrize("raised", [KeyboardInterrupt, OfSignalHandler])
def test_a_put_that_a_signal_interrupts_is_sent_again(raised: type[BaseException]) -> None:
    puts: list[Sequence[Segment]] = []

    def send(run: RunKey, segments: Sequence[Segment]) -> float:
        puts.append(segments)
        if len(puts) == 1:
            raise raised
        return 0.0

    publisher = Publisher(PutsTo(send), lambda: 100.0, timers=(timers := by_hand(lambda: 100.0)))
    stream = publisher.open(RUN, "a", 1, 1)
    with pytest.raises(raised):
        stream.emit(custom(1))
    timers.run_due()
    assert puts[0] == puts[1]
    assert stream.close() == (1, ())


def test_the_second_acknowledgement_of_a_put_that_was_sent_twice_starts_no_other() -> None:
    broker = Broker()
    stream = broker.open()
    stream.emit(custom(1))
    stream._lane.interrupted()
    broker.timers.run_due()
    assert broker.puts == [("run", [("a", 1, [1])])] * 2
    broker.acks[0].set_result(0.0)
    broker.now += GAP
    stream.emit(custom(2))
    broker.acks[1].set_result(0.0)
    broker.now += GAP
    stream.emit(custom(3))
    broker.timers.run_due()
    assert broker.puts[2:] == [("run", [("a", 2, [2])])]


def test_the_sender_thread_sends_a_backlog_and_ends_when_idle() -> None:
    threads: list[threading.Thread] = []

    def spawn(body: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=body, daemon=True))
        threads[-1].start()

    arrived: list[Segment] = []
    complete = threading.Event()

    def send(run: RunKey, segments: Sequence[Segment]) -> float:
        arrived.extend(segments)
        if arrived[-1].first + arrived[-1].count == 4:
            complete.set()
        return 0.0

    for _ in range(2):
        arrived.clear()
        complete.clear()
        timers = Timers("sender", linger=0.01, spawn=spawn)
        stream = Publisher(PutsTo(send), burst=0, timers=timers).open(RUN, "a", 1, 1)
        for i in range(3):
            stream.emit(custom(i))
        assert complete.wait(60)
        threads[-1].join(60)
        assert not threads[-1].is_alive()
    assert len(threads) == 2


def test_everything_that_threads_emit_at_once_arrives_in_their_order() -> None:
    log, lock = RunLog(max_events=500), threading.Lock()
    tasks = [f"task {n}" for n in range(4)]
    with lock:
        log.drive(1, [Admit(task, 1, 1) for task in tasks])

    def send(run: RunKey, segments: Sequence[Segment]) -> Future[float]:
        ack: Future[float] = Future()

        def put() -> None:
            with lock:
                for segment in segments:
                    log.publish(segment)
                ack_value = 0.001 if log.over_limit else 0.0
            ack.set_result(ack_value)

        threading.Thread(target=put).start()
        return ack

    publisher = Publisher(PutsTo(send), gap=0.0, max_events=100)
    outcomes: dict[str, tuple[int, tuple[Segment, ...]]] = {}

    def attempt(task: str) -> None:
        stream = publisher.open(RUN, task, 1, 1)
        for i in range(1000):
            stream.emit(custom(i))
        outcomes[task] = stream.close()

    threads = [in_thread(lambda task=task: attempt(task)) for task in tasks]  # type: ignore[misc]
    largest = 0
    while any(thread.is_alive() for thread, _ in threads):
        with lock:
            largest = max(largest, log.deliverable)
            log.ack(log.last_seq)
        threads[0][0].join(0.001)
    with lock:
        log = _with(log, [Commit(task, 1, *outcomes[task]) for task in tasks])
    deadline = threading.Event()
    while not log.ended and not deadline.wait(0.001):
        pass
    for task in tasks:
        own = [e.payload for e in read_all(log, 0) if e.task_id == task]
        assert own == list(range(1000))
    assert all(errors == [] for _, errors in threads)
    assert largest <= 500 + 2 * 100


def _with(log: RunLog, commits: list[Commit]) -> RunLog:
    log.drive(2, [*commits, Finish(END_BLOB)])
    return log


def test_a_process_that_ends_sends_all_that_was_emitted() -> None:
    got: list[Any] = []

    def send(run: RunKey, segments: Sequence[Segment]) -> Future[float]:
        got.extend(event.payload for segment in segments for event in decode_events(segment))
        ack: Future[float] = Future()
        threading.Timer(0.01, ack.set_result, [0.0]).start()
        return ack

    publisher = Publisher(PutsTo(send), gap=0.01)
    stream = publisher.open(RUN, "a", 1, 3, "plan")
    for number in range(100):
        stream.emit(custom(number))
    publisher.settle(60)
    assert got == list(range(100))
    stream.close()


def test_an_attempt_without_events_leaves_nothing_in_its_run() -> None:
    broker = Broker()
    quiet, cancelled = broker.open("quiet"), broker.open("cancelled")
    running = dict(broker.publisher.present())
    assert running[metrics.RUNNING] == 2
    assert broker.publisher.runs == 0
    assert (quiet.emitted(), quiet.congested) == (0, False)
    assert quiet.close() == quiet.close() == (0, ())
    cancelled.cancel()
    assert dict(broker.publisher.present())[metrics.RUNNING] == 0
    with pytest.raises(StreamClosed, match="attempt 1 of node 'plan' in step 3 has ended"):
        quiet.emit(custom(1))
    with pytest.raises(RunCancelled, match="attempt 1 of node 'plan' in step 3 was cancelled"):
        cancelled.emit(custom(1))
    assert broker.publisher.runs == 0
    assert broker.puts == []
