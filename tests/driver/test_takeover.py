"""A run whose driver is lost at any moment, and which another driver takes over."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from distgraph import END, START, StateGraph
from distgraph.contract.attempt import SharedRunOptions
from distgraph.contract.events import (
    LoadCheckpoint,
    RunStarted,
    SaveCheckpoint,
    SaveWrites,
    StartTask,
    Storage,
    ThreadOptions,
)
from distgraph.contract.stream import (
    END_MODE,
    RESET_MODE,
    Event,
    Journal,
    KeepRun,
    Op,
    Segment,
    StreamEvent,
    shown_attempt,
)
from distgraph.driver import progress
from distgraph.driver.journal import Draws, JournalWriter, repeat_random_bytes
from distgraph.driver.ports import Acked, Fenced
from distgraph.driver.saving import SaverThread, new_checkpoint_id
from distgraph.errors import DriverLost
from distgraph.graph import add_messages
from distgraph.loss_policy import LossPolicy
from distgraph.persistence import SaverPort
from distgraph.streaming.codec import encode_events
from distgraph.streaming.log import RunLog
from distgraph.streaming.reader import Reassembler
from tests.engine.corpus import CASES, Case
from tests.engine.play import attempt, key_of, options

from .fake import FakeBackend, FakeRun

RUN = "0f5f1f1e-0000-4000-8000-000000000001"

LIMIT = 64 << 20

SEEDS = 6


class Saves:
    """What a saver thread does, on the test's own thread."""

    def __init__(self, saver: Any) -> None:
        self.port = SaverPort(saver)
        self.reports: list[Any] = []
        self.thread = object.__new__(SaverThread)
        self.thread._to_saver = self.port
        self.thread._caches = None
        self.thread._config = {"configurable": {"thread_id": "1"}, "metadata": {}}
        self.thread._tell = self.reports.append
        self.thread._failure = None
        self.thread.carried_out = 0

    def carry_out(self, job: Storage) -> None:
        self.thread._carry_out(job)


@dataclass
class DriverBackend(FakeBackend):
    """The backend of one driver: its batches are under way until the test lets them arrive."""

    relay: Any = None
    acks: bool = False
    done: int = 0
    """Saves that were carried out."""

    def drive(self, batch_no: int, ops: Sequence[Op], *, awaited: bool) -> Acked | None:
        self.batches_sent.append(list(ops))
        self.relay.under_way.append((self, batch_no, list(ops)))
        return None

    def fence(self, attempt_id: Any) -> int | None:
        self.relay.fences.append((self, attempt_id))
        return None


@dataclass
class Relay:
    """A log, and the drivers that drive its run one after the other."""

    chance: random.Random
    graph: Any
    given: Any
    policy: LossPolicy
    saver: Any = field(default_factory=InMemorySaver)
    kills: int = 2
    limit: int = LIMIT
    settings: dict[str, Any] = field(default_factory=dict)
    log: RunLog = field(default_factory=lambda: RunLog(retain_bytes=1 << 30))
    under_way: list[Any] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    fences: list[Any] = field(default_factory=list)
    puts: dict[str, list[Any]] = field(default_factory=dict)
    taken: list[Journal] = field(default_factory=list)

    def __post_init__(self) -> None:
        shared = SharedRunOptions(RUN, options().shared.stream, 25, losses=self.policy)
        shared = replace(shared, configurable={"thread_id": "1"})
        self.run_options = replace(
            options(thread=ThreadOptions(saves=True, durability=self.pick(("sync", "async")))),
            shared=shared,
        )
        self.store = Saves(self.saver)

    def pick(self, among: Sequence[Any]) -> Any:
        return self.chance.choice(among)

    def coin(self, of: int = 2) -> bool:
        return self.chance.randrange(of) == 0

    # --- drivers --------------------------------------------------------------------------------

    def driver(self, journal: Journal | None) -> FakeRun:
        backend = DriverBackend(relay=self)
        before = max((note.saved for note in journal.notes), default=0) if journal else 0
        writer = JournalWriter(self.limit, lambda: before + backend.done, journal)
        run = FakeRun(
            self.graph,
            self.run_options,
            backend=backend,
            encode=encode_events,
            delivered=0 if journal is None else journal.published,
            journal=writer,
            first_batch=1 if journal is None else journal.first_batch,
            **self.settings,
        )
        if journal is None or not journal.notes:
            run.writer.keep(KeepRun(b"start", "program"))
        if journal is None:
            run.start(self.given)
        else:
            run.driver.repeat(RunStarted(self.given))
        return run

    def kill(self, run: FakeRun) -> FakeRun:
        """Lose the driver; some of what it had under way arrives late."""
        self.kills -= 1
        late = [batch for batch in self.under_way if self.coin()]
        self.under_way.clear()
        journal = self.log.take_over(RUN, KeepRun(b"start", "program"))
        assert journal is not None
        if not journal.notes:  # nothing of the run had arrived: it is started again
            assert not self.log.last_seq and not self.store_of(run).done
        self.taken.append(journal)
        for _, number, ops in late:
            self.log.drive(number, ops)
        self.fences = []
        for start in list(run.running.values()):  # processes that outlive their driver a little
            _, events = attempt(self.graph, start.request, self.run_options)
            if events and self.coin():
                blob = encode_events(events)
                self.segments.append(
                    Segment(*key_of(start), start.request.step, 1, len(events), blob)
                )
        return self.driver(journal)

    def store_of(self, run: FakeRun) -> DriverBackend:
        assert isinstance(run.backend, DriverBackend)
        return run.backend

    # --- what can happen ------------------------------------------------------------------------

    def end(self, run: FakeRun, start: StartTask) -> None:
        outcome, events = attempt(self.graph, start.request, self.run_options)
        segments = self.cut(start, events)
        sent = self.chance.randint(0, len(segments))
        self.segments += segments[:sent]
        tail = tuple(segments[sent:])
        run.ended(replace(outcome, published=len(events), tail=tail))

    def cut(self, start: StartTask, events: list[Event]) -> list[Segment]:
        return [
            Segment(*key_of(start), start.request.step, n, 1, encode_events([event]))
            for n, event in enumerate(events, 1)
        ]

    def save(self, run: FakeRun) -> None:
        backend = self.store_of(run)
        job = backend.stored.pop(0)
        self.store.carry_out(job)
        backend.done += isinstance(job, (SaveWrites, SaveCheckpoint))
        if isinstance(job, SaveCheckpoint):
            self.puts.setdefault(job.checkpoint["id"], []).append(job)
        reports, self.store.reports[:] = list(self.store.reports), []
        run.post(*reports)

    def arrive(self, run: FakeRun) -> None:
        _, number, ops = self.under_way.pop(0)
        self.log.drive(number, ops)
        run.post(Acked())

    def possible(self, run: FakeRun) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = [
            lambda start=start: self.end(run, start) for start in run.running.values()
        ]
        if self.under_way:
            found.append(lambda: self.arrive(run))
        if self.store_of(run).stored:
            found.append(lambda: self.save(run))
        if self.segments:
            found.append(lambda: self.log.publish(self.segments.pop(0)))
        if self.fences:
            found.append(lambda: self.answer_fence(run))
        return found

    def answer_fence(self, run: FakeRun) -> None:
        _, attempt_id = self.fences.pop(0)
        run.post(Fenced(attempt_id, self.log.fence(*attempt_id)))

    def go(self) -> list[StreamEvent]:
        """Let everything happen, in any order, until the stream has ended. Return the stream."""
        return self.on(self.driver(None))

    def on(self, run: FakeRun) -> list[StreamEvent]:
        for _ in range(3_000):
            if self.log.ended:
                break
            assert run.backend.terminated is None, run.backend.terminated
            if self.kills and self.coin(6):
                run = self.kill(run)
                continue
            possible = self.possible(run)
            deadline = run.driver.deadline
            if deadline is not None and not possible:
                run.backend.time = deadline
                run.post()
                continue
            assert possible, f"the run waits for nobody; gate {self.log.gate}"
            self.pick(possible)()
        while self.store_of(run).stored:
            self.save(run)
        reader = Reassembler(RUN)
        events = list(reader.feed(self.log.read(0, 1 << 30)))
        assert reader.ended
        return events


def shown(events: Sequence[StreamEvent]) -> dict[Any, list[str]]:
    """What a stream shows, by namespace and step, without what resets have made void."""
    kept: list[StreamEvent] = []
    for event in events:
        if event.mode == RESET_MODE:
            gone = event.payload
            void = [e for e in kept if e.task_id == gone.task_id]
            void = [e for e in void if shown_attempt(e.attempt) == gone.attempt]
            assert len(void) == gone.events
            kept = [e for e in kept if e not in void]
        else:
            kept.append(event)
    found: dict[Any, list[str]] = {}
    for event in kept:
        if event.mode != END_MODE:
            found.setdefault((event.ns, event.step), []).append(f"{event.mode} {event.payload!r}")
    return {key: sorted(entries) for key, entries in found.items()}


def plain(events: Sequence[StreamEvent]) -> None:
    """Check that events are numbered without a gap, also those of each attempt."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    seen: dict[tuple[str, int], int] = {}
    for event in events[:-1]:
        key = (event.task_id, event.attempt)
        assert event.pub_seq == seen.get(key, 0) + 1
        seen[key] = event.pub_seq


def undisturbed(case: Case) -> list[StreamEvent]:
    policy = LossPolicy(9, "buffer")
    return Relay(random.Random(0), case.graph(), case.given, policy, kills=0).go()


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


BY_ORDER = ("to_parent", "failing")
"""Graphs in which the order of the ends decides what runs at all."""


def check(case: Case, events: list[StreamEvent], expected: list[StreamEvent]) -> None:
    plain(events)
    end, expected_end = events[-1].payload, expected[-1].payload
    assert (end["status"], end["value"]) == (expected_end["status"], expected_end["value"])
    if case.name not in BY_ORDER:
        assert shown(events) == shown(expected)


@cases
@pytest.mark.parametrize("policy", ["buffer", "reset"])
def test_a_run_that_is_taken_over_shows_what_it_would_have_shown(case: Case, policy: Any) -> None:
    expected = undisturbed(case)
    for seed in range(SEEDS):
        relay = Relay(random.Random(seed), case.graph(), case.given, LossPolicy(9, policy))
        check(case, relay.go(), expected)


@cases
def test_a_run_without_a_policy_is_exact_or_names_the_lost_node(case: Case) -> None:
    expected = undisturbed(case)
    for seed in range(SEEDS):
        relay = Relay(random.Random(seed), case.graph(), case.given, LossPolicy(9, "raise"))
        events = relay.go()
        error = events[-1].payload["error"]
        if error is not None and error.type_name == "distgraph.errors.WorkerDied":
            assert "the superstep driver died while the node ran" in error.message
            plain(events)
        else:
            check(case, events, expected)


class Said(TypedDict):
    messages: Annotated[list[Any], add_messages]


def talk() -> Any:
    builder = StateGraph(Said)
    for name, following in (("a", "b"), ("b", "c"), ("c", END)):
        builder.add_node(name, lambda state, name=name: {"messages": [("ai", name)]})
        builder.add_edge(name, following)
    return builder.add_edge(START, "a").compile(backend="local")


@pytest.fixture
def repeated_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", os.urandom)  # set back at the end
    repeat_random_bytes()


@pytest.mark.usefixtures("repeated_bytes")
def test_ids_that_reducers_and_the_saver_draw_are_drawn_again() -> None:
    taken = 0
    for seed in range(4 * SEEDS):
        relay = Relay(
            random.Random(seed),
            talk(),
            {"messages": [("human", "go")]},
            LossPolicy(9, "buffer"),
            settings={
                "new_checkpoint_id": new_checkpoint_id,
                "next_version": lambda last: (
                    f"{int((last or '0').split('.')[0]) + 1:08}.{uuid.uuid4()}"
                ),
            },
        )
        events = relay.go()
        taken += len(relay.taken)
        plain(events)
        values = [e.payload["messages"] for e in events if e.mode == "values"]
        ids = [[message.id for message in messages] for messages in values]
        assert [[m.content for m in messages] for messages in values][-1] == ["go", "a", "b", "c"]
        for earlier, later in pairwise(ids):
            assert later[: len(earlier)] == earlier
        for jobs in relay.puts.values():
            assert all(job.checkpoint == jobs[0].checkpoint for job in jobs), "saved differently"
        thread: Any = {"configurable": {"thread_id": "1"}}
        history = list(relay.saver.list(thread))
        assert [found.metadata["step"] for found in history] == [3, 2, 1, 0, -1]
        saved = history[0].checkpoint["channel_values"]["messages"]
        assert [message.id for message in saved] == ids[-1]
    assert taken > SEEDS


def test_a_driver_that_takes_over_makes_no_spans_of_supersteps_that_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[list[int]] = []

    class Recorded:
        def __init__(self, *given: object, **options: object) -> None:
            made.append([])

        def step(self, ns: object, path: object, steps: tuple[int, ...]) -> dict[str, str]:
            made[-1].append(steps[-1])
            return {}

        def finish(self, status: str, error: str = "") -> None:
            pass

    monkeypatch.setattr(progress, "RunSpans", Recorded)
    given = {"messages": [("human", "go")]}
    relay = Relay(random.Random(0), talk(), given, LossPolicy(9, "buffer"), kills=1)
    shared = replace(relay.run_options.shared, trace={})
    relay.run_options = replace(relay.run_options, shared=shared)
    run = relay.driver(None)
    while not any(start.request.node == "b" for start in run.running.values()) or relay.under_way:
        relay.pick(relay.possible(run)[-1:])()
        if not relay.under_way and not relay.store_of(run).stored and not relay.segments:
            for start in [s for s in run.running.values() if s.request.node == "a"]:
                relay.end(run, start)
    relay.on(relay.kill(run))
    assert made == [[1, 2], [2, 3]]


def test_random_bytes_of_other_threads_are_not_kept(repeated_bytes: None) -> None:
    draws = Draws()
    with draws.active():
        mine = os.urandom(4)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(os.urandom, 4).result()
    assert draws.take() == (mine,)
    draws.repeat((mine,))
    with draws.active():
        assert os.urandom(4) == mine
        assert os.urandom(4) != mine


def test_a_reducer_that_decides_by_chance_is_named() -> None:
    numbers = iter(range(100))

    class Chance(TypedDict):
        items: Annotated[list[int], lambda old, new: [*(old or []), *new, next(numbers)]]

    builder = StateGraph(Chance).add_node("a", lambda state: {"items": [1]}).add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: END)
    graph = builder.compile(backend="local")
    relay = Relay(random.Random(1), graph, {"items": []}, LossPolicy(9, "buffer"), kills=0)
    run = relay.driver(None)
    relay.arrive(run)
    journal = relay.log.take_over(RUN)
    assert journal is not None
    more = journal._replace(published=journal.published + 5)  # it had decided otherwise
    following = relay.driver(more)
    error = following.backend.terminated
    assert isinstance(error, DriverLost) and "depends on the time or on random" in str(error)


def test_a_journal_that_grows_too_large_ends() -> None:
    graph = CASES[0].graph()
    relay = Relay(random.Random(0), graph, CASES[0].given, LossPolicy(), kills=0, limit=10)
    run = relay.driver(None)
    while relay.under_way:
        relay.arrive(run)
    assert relay.log.notes is None and relay.log.take_over(RUN) is None
    events = relay.on(run)
    assert shown(events) == shown(undisturbed(CASES[0]))


def test_a_run_that_streams_nothing_saves_all_after_its_journal_has_ended() -> None:
    """No note and no event follows what is saved then, and so no batch that it could wait for."""
    relay = Relay(
        random.Random(0), CASES[0].graph(), CASES[0].given, LossPolicy(), kills=0, limit=10
    )
    shared = relay.run_options.shared
    silent = replace(shared, stream=replace(shared.stream, modes=frozenset()))
    relay.run_options = replace(relay.run_options, shared=silent)
    run = relay.driver(None)
    relay.on(run)  # fails where the run waits for nobody
    assert run.driver.finished
    assert relay.puts


def test_nothing_is_saved_before_the_journal_knows_why() -> None:
    graph = CASES[0].graph()
    relay = Relay(random.Random(0), graph, CASES[0].given, LossPolicy(), kills=0)
    run = relay.driver(None)
    backend = relay.store_of(run)
    assert [type(job) for job in backend.stored] == [LoadCheckpoint]
    relay.save(run)
    assert backend.stored == []
    relay.arrive(run)
    assert backend.stored == []
    relay.arrive(run)
    assert SaveCheckpoint in {type(job) for job in backend.stored}
