"""The broker's own rules, of the plain class: no Ray is started."""

import pickle

import pytest

from actors import broker as module
from actors.broker import StreamBroker
from distgraph.contract.stream import (
    DRIVER,
    END_MODE,
    Admit,
    Commit,
    Event,
    Finish,
    Publish,
    Segment,
)
from distgraph.errors import WorkerDied
from distgraph.serde.exceptions import rebuild_error
from distgraph.streaming.codec import decode_events, encode_events

RUN, CALLER = "run", "caller"


def event(text):
    return encode_events([Event((), "custom", text)])


def segment(first, text, task="t"):
    return Segment(task, 1, 1, first, 1, event(text))


@pytest.fixture
def broker():
    return StreamBroker(max_bytes=4_000, max_events=1_000, retain_bytes=0)


def drive(broker, number, *ops):
    return broker.drive(RUN, CALLER, number, pickle.dumps(list(ops)))


def publish(broker, *segments):
    return broker.publish(RUN, pickle.dumps(list(segments)))


def drained(broker, wait=0.0, **acks):
    packed = broker.drain(CALLER, acks, wait)
    found = pickle.loads(packed)[RUN] if packed else []
    return [e for delivery in found for e in decode_events(delivery.segment)]


def test_events_come_in_order_and_once(broker):
    publish(broker, segment(2, "b"))
    drive(broker, 1, Admit("t", 1, 1))
    publish(broker, segment(1, "a"), segment(2, "b"))
    drive(
        broker,
        2,
        Commit("t", 1, 3, (segment(3, "c"),)),
        Publish(Segment(DRIVER, 1, 1, 1, 1, event("update"))),
        Finish(event("end")),
    )
    assert [e.payload for e in drained(broker)] == ["a", "b", "c", "update", "end"]
    assert drained(broker) == []


def test_a_publisher_ahead_of_its_reader_is_told_to_pause_until_it_was_read(broker):
    drive(broker, 1, Admit("t", 1, 1))
    pauses = [publish(broker, segment(i, "x" * 500)) for i in range(1, 9)]
    assert pauses[0] == 0.0
    assert pauses[-1] == module.PAUSE
    last = len(drained(broker))
    assert last == 8
    broker.ack(CALLER, RUN, last)
    assert publish(broker) == 0.0


def test_events_that_were_lost_with_their_worker_end_the_run_and_say_so(broker, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "GATE", 10.0)
    drive(broker, 1, Admit("t", 1, 1), Commit("t", 1, 2), Finish(event("never")))
    publish(broker, segment(1, "a"))
    assert [e.payload for e in drained(broker)] == ["a"]
    with broker._lock:
        broker._check_gates(CALLER)
        now[0] += 9.0
        broker._check_gates(CALLER)
    assert drained(broker) == []
    now[0] += 2.0
    with broker._lock:
        broker._check_gates(CALLER)
    (end,) = drained(broker)
    assert end.mode == END_MODE
    assert end.payload["status"] == "error"
    assert end.payload["orphan"]
    error = rebuild_error(end.payload["error"])
    assert isinstance(error, WorkerDied)
    assert "1 events of task t, attempt 1, were lost" in str(error)


def test_a_busy_neighbour_does_not_hide_that_events_were_lost(broker, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "GATE", 10.0)
    drive(broker, 1, Admit("t", 1, 1), Commit("t", 1, 1), Finish(event("never")))
    broker.drive("busy", CALLER, 1, pickle.dumps([Admit("b", 1, 1)]))
    statuses = []
    for i in range(1, 14):
        broker.publish("busy", pickle.dumps([segment(i, "b", "b")]))
        found = pickle.loads(broker.drain(CALLER, {}, 5.0))
        assert "busy" in found
        for delivery in found.get(RUN, ()):
            statuses += [e.payload["status"] for e in decode_events(delivery.segment)]
        now[0] += 1.0
    assert statuses == ["error"]


def test_a_log_that_contradicts_itself_ends_its_run(broker):
    drive(broker, 1, Commit("unknown", 1, 0))
    (end,) = drained(broker)
    assert end.payload["error"].type_name == "distgraph.errors.InvalidTransition"


def test_a_closed_run_takes_nothing_and_does_not_come_back(broker):
    drive(broker, 1, Admit("t", 1, 1))
    broker.close([RUN])
    assert publish(broker, segment(1, "late")) == module.GONE
    assert drive(broker, 2, Finish(event("late"))) == 0.0
    assert drained(broker) == []
    assert broker.statistics() == {}


def test_a_reader_that_does_not_acknowledge_is_sent_a_window_and_no_more(monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 1_000)
    broker = StreamBroker(max_bytes=1 << 20, max_events=1_000, retain_bytes=0)
    drive(broker, 1, Admit("t", 1, 1))
    for i in range(1, 11):
        publish(broker, segment(i, "x" * 400))
    sent = 0
    while found := drained(broker):
        sent += len(found)
    assert 0 < sent < 10
    more = drained(broker, **{RUN: sent})
    assert more and sent + len(more) <= 10
