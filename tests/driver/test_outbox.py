"""Batches of operations on their way to the log, and what waits for them."""

from __future__ import annotations

import pytest

from distgraph.contract.calls import CallResult
from distgraph.contract.events import LAST, SaveWrites, Sync
from distgraph.contract.stream import Fence
from distgraph.driver.outbox import Outbox
from distgraph.driver.ports import Group
from distgraph.driver.run_storage import RunStorage
from tests.driver.fake import FakeBackend

FIRST, SECOND, THIRD, FOURTH = (Fence(name, 1) for name in "abcd")
RESULT = CallResult("caller", 1, 0, "value")
GROUP = Group("node", ())
SAVE = SaveWrites("", "checkpoint", "task", (), ())


@pytest.fixture
def log() -> FakeBackend:
    return FakeBackend(acks=False)


def outbox(log: FakeBackend) -> Outbox:
    return Outbox(log, log, RunStorage(log, has_journal=False), 1)


def test_operations_gather_while_two_batches_are_in_flight(log: FakeBackend) -> None:
    out = outbox(log)
    for op in (FIRST, SECOND, THIRD, FOURTH):
        out.send([op], at_once=False)
    assert log.batches_sent == [[FIRST], [SECOND]]
    assert (out.last_sent, out.last_arrived, out.is_empty) == (2, 0, False)
    out.acked()
    out.send([], at_once=False)
    assert log.batches_sent[2:] == [[THIRD, FOURTH]]


def test_the_last_batch_of_a_run_waits_for_no_other(log: FakeBackend) -> None:
    out = outbox(log)
    for op in (FIRST, SECOND):
        out.send([op], at_once=False)
    out.send([THIRD], at_once=True)
    assert log.batches_sent[2:] == [[THIRD]]


def test_an_answer_is_awaited_where_it_makes_room_for_another_batch(log: FakeBackend) -> None:
    out = outbox(log)
    out.send([FIRST], at_once=False)
    out.send([SECOND], at_once=False)
    out.send([THIRD], at_once=True)
    assert log.awaited == [False, True, False]


def test_an_answer_is_awaited_where_results_or_saves_wait_for_the_batch(log: FakeBackend) -> None:
    out = outbox(log)
    out.add_result(GROUP, RESULT, behind_events=True)
    out.send([FIRST], at_once=True)
    storage = RunStorage(log, has_journal=True)
    out = Outbox(log, log, storage, 2)
    storage.save(SAVE)
    storage.finish()
    out.send([SECOND], at_once=True)
    assert log.awaited == [True, True]


def test_a_result_behind_events_waits_until_their_batch_has_arrived(log: FakeBackend) -> None:
    out = outbox(log)
    out.add_result(GROUP, RESULT, behind_events=True)
    out.deliver()
    assert log.delivered == []
    out.send([FIRST], at_once=False)
    out.acked()
    out.deliver()
    assert log.delivered == [(GROUP, RESULT)]


def test_a_save_waits_for_the_batch_with_its_event(log: FakeBackend) -> None:
    storage = RunStorage(log, has_journal=True)
    out = Outbox(log, log, storage, 1)
    storage.save(SAVE)
    assert storage.finish()
    out.send([FIRST], at_once=False)
    assert log.stored == []
    out.acked()
    assert log.stored == [SAVE, Sync(LAST)]


def test_saves_wait_for_nothing_once_the_journal_has_ended(log: FakeBackend) -> None:
    storage = RunStorage(log, has_journal=True)
    out = Outbox(log, log, storage, 1)
    storage.save(SAVE)
    out.release_saves()
    assert log.stored == [SAVE]


def test_a_run_that_saved_nothing_ends_without_a_sync(log: FakeBackend) -> None:
    assert not RunStorage(log, has_journal=False).finish()
    assert log.stored == []
