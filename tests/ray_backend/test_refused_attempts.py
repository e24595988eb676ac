"""Processes that a node has damaged refuse attempts, which begin elsewhere. No Ray runs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from actors import executor_worker, lease_worker, tasks
from actors.executor_frames import ENDED, LEAVES, TAKEN, PacketHead
from actors.executor_worker import AsyncAttempts
from actors.failures import typed
from actors.groups import GroupFailed
from actors.lease_frames import GROUP, OUTCOMES, GroupHead, OutcomesHead, WorkerTicket, head
from actors.lease_frames import read_head as read
from actors.lease_worker import LeaseServer
from distgraph.driver.ports import NotTaken
from distgraph.serde.exceptions import rebuild_error
from distgraph.serde.pickling import loads
from distgraph.wire import Frame
from distgraph.worker.process_state import Tidying

TICKET = WorkerTicket(("", 0, ""), b"", "session")

DAMAGE = "7 (socket:[1]) was closed"


class Process:
    """Takes the place of a worker process, which code of the run "harms" damages."""

    pinned = False

    def __init__(self) -> None:
        self.descriptors = self
        self.tidying = Tidying()
        self.damage = ""
        self.ran: list[str] = []
        self.found = ""

    def look(self, pause: float = 0.0) -> str:
        if not pause:  # a close look
            self.damage = self.found
        return self.damage

    def run(self, name: str) -> bytes:
        self.ran.append(name)
        if name.startswith("harms/"):
            self.found = DAMAGE
        return b"outcome"

    def run_batch(self, packed: bytes, snapshots: Any, batch: Any = None) -> bytes:
        return self.run(packed.decode())

    async def await_attempt(self, packet: Any, at: int, snapshots: Any, name: str) -> bytes:
        return self.run(name)

    def enter(self, ticket: WorkerTicket) -> Process:
        return self

    def may_run(self, name: str, number: int) -> bool:
        return number == 1

    def end_if_idle_and_damaged(self) -> None: ...


class Wire:
    """Notes the frames that are sent."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []

    def send(self, kind: int, *parts: Any, **how: Any) -> None:
        self.sent.append(Frame(kind, parts, 0))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    for module in (executor_worker, lease_worker, tasks):
        monkeypatch.setattr(module, "process", lambda: process)
    return process


def executed(process: Process, *packets: tuple[str, ...]) -> list[tuple[int, Any]]:
    """Return what an executor tells of packets that come one after the other."""
    wire = Wire()

    async def serve() -> None:
        executor = AsyncAttempts()
        executor._connection = wire  # type: ignore[assignment]
        executor._loop = asyncio.get_running_loop()
        for number, names in enumerate(packets):
            told = PacketHead(number, names, "graph", False)
            executor._begin(told, None, ())  # type: ignore[arg-type]
            executor._tell_taken()
            while executor._running or executor._ended:
                await asyncio.sleep(0)

    asyncio.run(serve())
    return [(frame.kind, read(frame)) for frame in wire.sent]


def test_an_executor_refuses_attempts_of_other_runs_once_a_node_has_damaged_it(process):
    told = executed(process, ("fine/a/1",), ("harms/b/1",), ("next/c/1", "next/d/1"), ("e/e/1",))
    assert process.ran == ["fine/a/1", "harms/b/1"]
    assert told == [
        (TAKEN, (0,)),
        (ENDED, (("fine/a/1", "done"),)),
        (TAKEN, (1,)),
        (ENDED, (("harms/b/1", "done"),)),
        (LEAVES, (DAMAGE,)),
        (ENDED, ((2, "taken"), ("next/c/1", "refused"), ("next/d/1", "refused"))),
        (ENDED, ((3, "taken"), ("e/e/1", "refused"))),
    ]


def test_a_process_of_one_thread_goes_on_for_what_lives_there_only(process):
    process.pinned = True
    told = executed(process, ("harms/b/1",), ("next/c/1",))
    assert process.ran == ["harms/b/1", "next/c/1"]
    assert told[-1] == (ENDED, (("next/c/1", "done"),))


def test_a_leased_process_refuses_attempts_of_other_runs_and_leaves(process, monkeypatch):
    monkeypatch.setattr(LeaseServer, "_show", lambda self, label: None)
    wire, server = Wire(), LeaseServer(TICKET, 1)
    for number, name in enumerate(["fine/a/1", "harms/b/1", "next/c/1"]):
        group = GroupHead(number, name, "n", (), ())
        server._serve_group(wire, Frame(GROUP, (head(group), name.encode()), 0))  # type: ignore[arg-type]
    assert process.ran == ["fine/a/1", "harms/b/1"]
    assert [frame.kind for frame in wire.sent] == [OUTCOMES] * 3
    heads = [OutcomesHead(*read(frame)) for frame in wire.sent]
    assert [(told.how, told.leaves) for told in heads] == [
        ("done", False),
        ("done", False),
        ("failed", True),
    ]
    assert isinstance(rebuild_error(loads(wire.sent[-1].parts[1])), NotTaken)


def test_a_task_of_its_own_ends_a_damaged_process_or_else_the_next_one_is_refused(
    process, monkeypatch
):
    sent = []
    monkeypatch.setattr(tasks, "_end_with", lambda *told: sent.append(told))
    ticket = head(TICKET)
    assert tasks.run_attempts(ticket, "fine/a/1", 1, b"fine/a/1") == b"outcome"
    assert sent == []
    assert tasks.run_attempts(ticket, "harms/b/1", 1, b"harms/b/1") == b"outcome"
    assert sent == [("session", b"outcome")]
    with pytest.raises(NotTaken):
        tasks.run_attempts(ticket, "next/c/1", 1, b"next/c/1")
    assert process.ran == ["fine/a/1", "harms/b/1"]


def test_a_task_that_begins_behind_another_one_of_its_group_runs_nothing(process):
    assert tasks.run_attempts(head(TICKET), "fine/a/1", 2, b"fine/a/1") is None
    assert process.ran == []


def test_a_refusal_is_no_loss_in_whichever_way_it_comes():
    request = SimpleNamespace(node="n", step=3, tries=1, losses=0)
    start: Any = SimpleNamespace(request=request)
    refused = NotTaken("the process is damaged")
    of_a_lease = GroupFailed()
    of_a_lease.__cause__ = refused
    of_a_task = RayTaskError("run_attempts", "traceback", refused)
    for error in (refused, of_a_lease, of_a_task):
        assert type(typed(error, start)) is NotTaken
