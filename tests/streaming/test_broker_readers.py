"""Any interleaving of writers and several readers: each reader sees the same numbered events."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.contract.stream import Admit, Commit, Finish
from distgraph.errors import Truncated
from distgraph.streaming.broker import PAUSE, Broker, Limits
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import SEGMENT_OVERHEAD
from distgraph.streaming.transport import Fetched, ReaderKey

from .support import END_BLOB, segment

RUN, TASKS, EVENTS = "run", ("a", "b"), 12
BLOB = len(segment("a", 1).blob) + 8
SIZE = BLOB + SEGMENT_OVERHEAD
LEASE = 5.0


@dataclass
class Reader:
    """A process with one reader, which loses its connection now and then."""

    broker: Broker
    caller: str
    key: ReaderKey
    leased: bool = False
    received: int = 0
    seen: list[object] = field(default_factory=list)
    truncated: bool = False
    left: bool = False

    def __post_init__(self) -> None:
        self.events = Reassembler(RUN)
        self._reported = 0

    @property
    def done(self) -> bool:
        return self.left or self.truncated or self.events.ended

    def fetch(self, now: float, *, lose: bool, report: bool) -> None:
        position = self.events.position
        news = report and position > self._reported
        moved = ((self.key, position),) if news else ()
        self.broker.consumed(self.caller, self.received, moved, now)
        self._reported = max(self._reported, position if news else 0)
        found = self.broker.take(self.caller, now)
        if lose:
            self.broker.listen(self.caller, self.received, now)
        else:
            self.received = self.broker.number_of(self.caller)
            self._take(found)

    def _take(self, found: list[Fetched]) -> None:
        for _, deliveries, error in found:
            known = self.events.position
            fresh = [d for d in deliveries if d.seq + d.segment.count - 1 > known]
            self.seen += [(e.seq, e.task_id, e.pub_seq) for e in self.events.feed(fresh)]
            if error is not None:
                assert isinstance(error, Truncated)
                self.truncated = True


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_reader_sees_the_same_sequence_and_a_gone_one_blocks_nobody(
    data: st.DataObject,
) -> None:
    window, max_bytes = BLOB, 4 * SIZE
    retained = data.draw(st.integers(0, 4))
    limits = Limits(
        max_bytes=max_bytes, retain_bytes=retained * SIZE, retain_events=1000, window=window
    )
    broker, now = Broker(limits, lambda error: END_BLOB), 0.0
    owner = Reader(broker, "owner", ReaderKey(RUN))
    readers = [owner]
    batch = 1
    broker.drive(RUN, "owner", 1, [Admit(task, 1, 1) for task in TASKS], now)
    written = dict.fromkeys(TASKS, 0)
    ended = False
    steps = 0
    while not all(reader.done for reader in readers):
        steps += 1
        assert steps < 3_000, "the readers make no progress"
        acts = ["fetch", "fetch", "tick"]
        acts += ["write"] * (not ended)
        acts += ["open"] * (len(readers) < 4 and not ended)
        # after a while everybody is diligent, so that every example ends
        act = data.draw(st.sampled_from(acts)) if steps < 60 else ("write", "fetch")[steps % 2]
        if act == "tick":
            now += data.draw(st.sampled_from([0.1, LEASE + 1]))
        elif act == "write" and not ended:
            task = TASKS[steps // 2 % 2] if steps >= 60 else data.draw(st.sampled_from(TASKS))
            if written[task] == EVENTS:
                task = next((t for t in TASKS if written[t] < EVENTS), task)
            if written[task] < EVENTS:
                if broker.publish(RUN, [], now) != PAUSE:
                    written[task] += 1
                    broker.publish(RUN, [segment(task, written[task])], now)
            else:
                batch += 1
                ops = [*(Commit(t, 1, EVENTS) for t in TASKS), Finish(END_BLOB)]
                broker.drive(RUN, "owner", batch, ops, now)
                ended = True
        elif act == "open" and not ended:
            n, leased = len(readers), data.draw(st.booleans())
            reader = Reader(broker, f"other-{n}", ReaderKey(RUN, n), leased)
            try:
                broker.open(reader.caller, reader.key, 0, now, lease=LEASE if leased else None)
            except Truncated:
                continue
            readers.append(reader)
        elif steps < 60:
            reader = data.draw(st.sampled_from(readers))
            how = data.draw(st.sampled_from(["take", "take", "lose", "silent", "leave"]))
            if how == "leave" and reader is not owner and not reader.left:
                broker.leave(reader.caller, [reader.key], now)
                reader.left = True
            elif not reader.done:
                reader.fetch(now, lose=how == "lose", report=how != "silent")
        else:
            for reader in readers:  # those with a lease have gone without a word
                if not reader.leased and not reader.done:
                    reader.fetch(now, lose=False, report=True)
            now += LEASE / 10
            for reader in readers:
                reader.left = reader.left or (reader.leased and now > 10 * LEASE)
        live = broker.statistics().get(RUN)
        if live is not None:
            assert live.unread_bytes <= max_bytes + (retained + 1) * SIZE
            assert live.retained_bytes <= retained * SIZE
            assert all(r.in_flight <= window + BLOB for r in broker.readers(RUN))
    assert owner.events.ended
    assert [seq for seq, _, _ in owner.seen] == [*range(1, 2 * EVENTS + 2)]
    for task in TASKS:
        assert [n for _, t, n in owner.seen if t == task] == [*range(1, EVENTS + 1)]
    for reader in readers:
        assert reader.seen == owner.seen[: len(reader.seen)]
        assert reader.events.ended or reader.left or (reader.truncated and reader.leased)
