"""One reader of a run, and how it leaves."""

from __future__ import annotations

import gc
import threading
from typing import Any

from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.reader import Reader
from distgraph.streaming.receiver import Receiver
from distgraph.streaming.transport import ReaderKey
from distgraph.streaming.transport_local import LocalReads

from .support import END_BLOB


class NotesWhoLeaves(Receiver):
    """A receiver of a broker in this process."""

    def __init__(self) -> None:
        broker = BrokerHost(Broker(Limits(), lambda error: END_BLOB))
        super().__init__(LocalReads(broker), "caller", lambda error: None)
        self.left = threading.Event()
        self.threads: list[int] = []

    def leave(self, reader: ReaderKey) -> None:
        super().leave(reader)
        self.threads.append(threading.get_ident())
        self.left.set()


def reading(receiver: NotesWhoLeaves) -> Any:
    reader = Reader(receiver, ReaderKey("run"), None)
    receiver.open(reader.inbox)
    try:
        while True:
            yield
    finally:
        reader.close()


def test_a_reader_leaves_in_its_own_thread_at_once() -> None:
    receiver = NotesWhoLeaves()
    iterator = reading(receiver)
    next(iterator)
    iterator.close()
    assert receiver.threads == [threading.get_ident()]
    assert receiver.readers == []


def test_a_reader_that_the_garbage_collector_closes_leaves_in_another_thread() -> None:
    receiver = NotesWhoLeaves()
    iterator = reading(receiver)
    next(iterator)
    circle = [iterator]
    circle.append(circle)
    del iterator, circle
    gc.collect()
    assert receiver.left.wait(60)
    assert threading.get_ident() not in receiver.threads
    assert receiver.readers == []
