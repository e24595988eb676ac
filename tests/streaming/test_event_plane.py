"""Publisher, broker and receiver together, by the transport within one process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from distgraph.contract.stream import END_MODE, Admit, Commit, Event, Finish, Segment
from distgraph.errors import BrokerLost, RunCancelled
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.publisher import Publisher
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import ReaderKey, RunKey
from distgraph.streaming.transport_local import LocalReads

from .support import END_BLOB, RUN

CALLER, EVENTS = "caller", 2_000
TASKS = ("a", "b", "c")


class LocalPuts:
    """The publishers' half of a transport within one process."""

    def __init__(self, brokers: Mapping[str, BrokerHost]) -> None:
        self._brokers = brokers

    def put(self, run: RunKey, segments: Sequence[Segment]) -> float:
        broker = self._brokers.get(run.session)
        if broker is None:
            raise BrokerLost(f"session {run.session} has no stream broker")
        return broker.publish(run.run_id, segments)


def read(receiver: Receiver, key: ReaderKey, after: int = 0) -> list[tuple[int, str, int]]:
    inbox, events = Inbox(key, None), Reassembler(key.run_id, after)
    receiver.open(inbox)
    seen = []
    while not events.ended:
        while not (deliveries := inbox.take()):
            receiver.wait(inbox)
        seen += [(e.seq, e.task_id, e.pub_seq) for e in events.feed(deliveries)]
        receiver.consumed(key, events.position, at_once=True)
    receiver.close(key)
    return seen


def test_several_readers_in_several_processes_see_what_several_workers_write() -> None:
    limits = Limits(max_events=500, max_bytes=1 << 20, window=20_000, retain_bytes=1 << 24)
    host = BrokerHost(Broker(limits, lambda error: END_BLOB))
    publishers = {task: Publisher(LocalPuts({RUN.session: host})) for task in TASKS}
    host.drive(RUN.run_id, CALLER, 1, [Admit(task, 1, 1) for task in TASKS])
    commits: dict[str, Commit] = {}

    def write(task: str) -> None:
        stream = publishers[task].open(RUN, task, 1, 1)
        for i in range(EVENTS):
            stream.emit(Event((), "custom", i))
        commits[task] = Commit(task, 1, *stream.close())

    found: dict[str, list[tuple[int, str, int]]] = {}
    readers = []
    for caller, number in ((CALLER, 0), (CALLER, 1), ("other", 1)):
        key = ReaderKey(RUN.run_id, number)
        if number:
            host.open(caller, key, 0)
        readers.append((f"{caller} {number}", caller, key))
    receivers = {c: Receiver(LocalReads(host), c, lambda error: None) for c in (CALLER, "other")}

    def read_all(name: str, caller: str, key: ReaderKey) -> None:
        found[name] = read(receivers[caller], key)

    threads = [threading.Thread(target=read_all, args=reader) for reader in readers]
    writers = [threading.Thread(target=write, args=(task,)) for task in TASKS]
    for thread in threads + writers:
        thread.start()
    for thread in writers:
        thread.join(30)
    host.drive(RUN.run_id, CALLER, 2, [*(commits[t] for t in TASKS), Finish(END_BLOB)])
    for thread in threads:
        thread.join(30)
    for receiver in receivers.values():
        receiver.stop(RunCancelled("the test is over"))
    first = found[f"{CALLER} 0"]
    assert [seq for seq, _, _ in first] == [*range(1, len(TASKS) * EVENTS + 2)]
    for task in TASKS:
        assert [n for _, t, n in first if t == task] == [*range(1, EVENTS + 1)]
    assert len(found) == 3
    assert all(seen == first for seen in found.values())


def test_the_writers_of_a_run_that_was_left_are_cancelled() -> None:
    host = BrokerHost(Broker(Limits(), lambda error: END_BLOB))
    stream = Publisher(LocalPuts({RUN.session: host})).open(RUN, "a", 1, 1)
    stream.emit(Event((), "custom", 1))
    host.leave(CALLER, [ReaderKey(RUN.run_id)])
    with pytest.raises(RunCancelled):
        for i in range(10_000_000):
            stream.emit(Event((), "custom", i))


def test_writers_of_a_session_without_a_broker_are_told() -> None:
    stream = Publisher(LocalPuts({})).open(RUN, "a", 1, 1)
    stream.emit(Event((), "custom", 1))
    with pytest.raises(BrokerLost, match="session session has no stream broker"):
        stream.emit(Event((), "custom", 2))


def test_the_reader_of_a_lost_driver_gets_an_end() -> None:
    host = BrokerHost(Broker(Limits(), lambda error: END_BLOB))
    host.drive(RUN.run_id, CALLER, 1, [Admit("a", 1, 1)])
    receiver = Receiver(LocalReads(host), CALLER, lambda error: None)
    inbox, events = Inbox(ReaderKey(RUN.run_id), None), Reassembler(RUN.run_id)
    receiver.open(inbox)
    threading.Timer(0.01, host.terminate, (CALLER, [RUN.run_id], END_BLOB)).start()
    while not (deliveries := inbox.take()):
        receiver.wait(inbox)
    assert [e.mode for e in events.feed(deliveries)] == [END_MODE]
    receiver.stop(RunCancelled("the test is over"))
