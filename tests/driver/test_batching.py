"""Which attempts travel together. Time is whatever the test says."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.driver.batching import LARGEST, LEAST, PATIENCE, SHORT, TARGET, Batcher, Durations

Group = tuple[Hashable, list[Any]]


def batcher(slots: int = 4, bound: int | None = None, **known: float) -> Batcher[Any]:
    durations = Durations()
    for node, duration in known.items():
        durations.note(node, duration)
    return Batcher(durations, slots, bound)


def sizes(groups: list[Group]) -> list[int]:
    return [len(items) for _, items in groups]


def items(groups: list[Group]) -> list[Any]:
    return [item for _, members in groups for item in members]


# --- what is known of a node ----------------------------------------------------------------------


def test_a_duration_is_smoothed() -> None:
    durations = Durations()
    assert durations.get("n") is None
    durations.note("n", 0.001)
    assert durations.get("n") == 0.001
    durations.note("n", 0.002)
    assert durations.get("n") == pytest.approx(0.0013)


def test_a_slow_attempt_counts_at_once() -> None:
    durations = Durations()
    durations.note("n", 0.001)
    durations.note("n", 1.0)
    assert durations.get("n") == 1.0


def test_the_mean_of_a_group_counts_as_often_as_it_has_attempts() -> None:
    durations, one_by_one = Durations(), Durations()
    for known in (durations, one_by_one):
        known.note("n", 0.001)
    durations.note("n", 0.002, 3)
    for _ in range(3):
        one_by_one.note("n", 0.002)
    assert durations.get("n") == pytest.approx(one_by_one.get("n"))


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_short_attempt_that_waited_for_a_core_does_not_send_the_rest_alone(at: int) -> None:
    one = batcher(slots=2, n=0.0001)
    one.add("n", range(10))
    assert sum(sizes(one.take(0.0))) == 10
    taken = [0.0001] * 10
    taken[at] = 0.01  # the mean is 1.09 ms
    one.ended("n", taken)
    one.add("n", range(400))
    groups = one.take(0.0)
    assert (sizes(groups)[0], len(groups)) == (47, 21)


def test_a_group_that_is_slow_on_average_sends_the_rest_alone() -> None:
    one = batcher(slots=2, n=0.0001)
    one.add("n", range(10))
    one.take(0.0)
    one.ended("n", [0.1, *[0.0001] * 9])
    one.add("n", range(40))
    assert sizes(one.take(0.0)) == [1] * 40


# --- unknown nodes --------------------------------------------------------------------------------


def test_a_narrow_step_of_an_unknown_node_goes_out_one_by_one() -> None:
    one = batcher(slots=4)
    one.add("n", range(4))
    assert one.take(0.0) == [("n", [0]), ("n", [1]), ("n", [2]), ("n", [3])]
    assert one.deadline() is None


def test_of_a_wide_step_as_many_probes_go_ahead_as_there_are_slots() -> None:
    one = batcher(slots=4)
    one.add("n", range(100))
    assert items(one.take(7.0)) == [0, 1, 2, 3]
    assert one.deadline() == 7.0 + PATIENCE
    assert one.take(7.0 + PATIENCE / 2) == []


def test_the_first_result_of_a_short_node_sends_the_rest_in_batches() -> None:
    one = batcher(slots=4)
    one.add("n", range(100))
    one.take(0.0)
    one.ended("n", [0.0001])
    groups = one.take(0.001)
    assert items(groups) == list(range(4, 100))
    assert max(sizes(groups)) == 12  # ceil(96 / (2 * 4))
    assert len(groups) < 40
    assert one.deadline() is None


def test_the_first_result_of_a_long_node_sends_the_rest_alone() -> None:
    one = batcher(slots=4)
    one.add("n", range(100))
    one.take(0.0)
    one.ended("n", [1.0])
    groups = one.take(0.001)
    assert items(groups) == list(range(4, 100))
    assert set(sizes(groups)) == {1}


def test_behind_the_patience_the_rest_goes_out_alone() -> None:
    one = batcher(slots=4)
    one.add("n", range(100))
    one.take(0.0)
    deadline = one.deadline()
    assert deadline is not None
    groups = one.take(deadline)
    assert items(groups) == list(range(4, 100))
    assert set(sizes(groups)) == {1}
    assert one.deadline() is None


def test_probes_that_were_lost_are_sent_again() -> None:
    one = batcher(slots=2)
    one.add("n", range(10))
    assert items(one.take(0.0)) == [0, 1]
    one.ended("n", [])
    one.ended("n", [])
    assert items(one.take(5.0)) == [2, 3]
    assert one.deadline() == 5.0 + PATIENCE


def test_a_node_is_probed_once_for_all_runs_of_a_driver() -> None:
    durations = Durations()
    first, second = Batcher[int](durations, 2), Batcher[int](durations, 2)
    first.add("n", range(10))
    first.take(0.0)
    first.ended("n", [0.0001])
    second.add("n", range(10))
    assert items(second.take(0.0)) == list(range(10))


# --- known nodes ----------------------------------------------------------------------------------


def test_a_batch_takes_no_longer_than_its_target() -> None:
    one = batcher(slots=1, n=0.004)
    one.add("n", range(1000))
    groups = one.take(0.0)
    assert items(groups) == list(range(1000))
    assert max(sizes(groups)) * 0.004 <= TARGET
    assert max(sizes(groups)) == 12


def test_batches_leave_every_slot_two_of_them() -> None:
    one = batcher(slots=4, n=0.0001)
    one.add("n", range(80))
    assert max(sizes(one.take(0.0))) == 10


def test_a_batch_has_no_more_attempts_than_the_largest() -> None:
    one = batcher(slots=1, n=0.00001)
    one.add("n", range(1000))
    assert max(sizes(one.take(0.0))) == LARGEST


def test_behind_as_many_attempts_as_asked_for_no_further_group_is_taken() -> None:
    one = batcher(slots=2, n=1.0)
    one.add("n", range(7))
    assert items(one.take(0.0, 3)) == [0, 1, 2]
    assert items(one.take(0.0, 3)) == [3, 4, 5]
    assert items(one.take(0.0, 3)) == [6]
    assert one.take(0.0, 3) == []


def test_a_group_that_exceeds_what_was_asked_for_is_taken_whole() -> None:
    one = batcher(slots=1, n=0.0001)
    one.add("n", range(40))
    assert sizes(one.take(0.0, 1)) == [20]


@pytest.mark.parametrize("duration", [SHORT, 2 * SHORT, 10.0])
def test_an_attempt_that_is_not_short_goes_alone(duration: float) -> None:
    one = batcher(slots=2, n=duration)
    one.add("n", range(50))
    assert set(sizes(one.take(0.0))) == {1}


def test_no_more_than_the_slots_go_alone_however_short() -> None:
    one = batcher(slots=4, n=0.0001)
    one.add("n", range(4))
    assert sizes(one.take(0.0)) == [1, 1, 1, 1]


def test_a_batch_is_worth_sending_as_far_as_there_is_work() -> None:
    one = batcher(slots=16, n=LEAST / 10)
    one.add("n", range(64))
    assert sizes(one.take(0.0)) == [10] * 6 + [4]
    one.add("n", range(16))
    assert sizes(one.take(0.0)) == [1] * 16
    two = batcher(slots=2, n=LEAST / 10)
    two.add("n", range(64))
    assert sizes(two.take(0.0)) == [16, 12, 10, 10, 10, 6]


def test_what_is_never_batched_goes_alone_and_is_not_probed() -> None:
    one = batcher(slots=2, n=0.0001)
    one.add("n", range(50), alone=True)
    one.add("unknown", range(50), alone=True)
    assert sizes(one.take(0.0)) == [1] * 100
    assert one.deadline() is None


def test_a_node_of_no_measurable_duration_is_batched_by_what_is_fair() -> None:
    one = batcher(slots=2, n=0.0)
    one.add("n", range(100))
    assert max(sizes(one.take(0.0))) == 25


# --- the bound ------------------------------------------------------------------------------------


def test_no_more_groups_are_in_flight_than_the_bound() -> None:
    one = batcher(slots=8, bound=2)
    one.add("a", range(3))
    one.add("b", range(10, 13))
    assert items(one.take(0.0)) == [0, 1]
    assert one.take(100.0) == []
    one.ended("a", [1.0])
    assert items(one.take(100.0)) == [2]


def test_under_a_bound_attempts_go_in_the_order_in_which_they_came() -> None:
    one = batcher(slots=8, bound=1)
    for number, node in enumerate("abab"):
        one.add(node, [number])
    sent = []
    while groups := one.take(0.0):
        sent += items(groups)
        one.ended(groups[0][0], [1.0])
    assert sent == [0, 1, 2, 3]


def test_a_node_that_is_never_without_work_does_not_keep_others_waiting() -> None:
    one = batcher(slots=8, bound=1)
    one.add("loop", [0, 1])
    one.add("other", ["other"])
    sent = []
    for number in range(2, 6):
        ((node, members),) = one.take(0.0)
        sent += members
        one.ended(node, [1.0])
        if node == "loop":
            one.add("loop", [number])
    assert sent[:3] == [0, 1, "other"]


def test_nothing_is_due_while_the_bound_is_reached() -> None:
    # a driver that is told of a deadline in the past would ask again, and again, and again
    one = batcher(slots=2, bound=2)
    one.add("n", range(10))
    assert items(one.take(0.0)) == [0, 1]
    assert one.deadline() is None
    one.ended("n", [])
    assert one.deadline() is not None


def test_a_node_s_own_bound_holds_for_its_groups_alone() -> None:
    one = batcher(slots=8, bounded=1.0)
    one.add("bounded", range(5), bound=2)
    one.add("free", range(10, 15), alone=True)
    assert items(one.take(0.0)) == [0, 1, 10, 11, 12, 13, 14]
    assert one.take(100.0) == []
    one.ended("bounded", [1.0])
    assert items(one.take(100.0)) == [2]


def test_nothing_is_due_while_a_node_s_own_bound_is_reached() -> None:
    one = batcher(slots=4)
    one.add("n", range(10), bound=1)
    assert items(one.take(0.0)) == [0]
    assert one.deadline() is None
    one.ended("n", [1.0])
    assert items(one.take(100.0)) == [1]


def test_a_node_s_own_bound_outlasts_what_waits_for_it() -> None:
    one = batcher(slots=4, n=1.0)
    one.add("n", [0], bound=1)
    assert items(one.take(0.0)) == [0]
    one.add("n", [1], bound=1)
    assert one.take(1.0) == []
    one.ended("n", [1.0])
    assert items(one.take(1.0)) == [1]
    one.ended("n", [1.0])
    assert one._queues == {}


# --- leaving --------------------------------------------------------------------------------------


def test_a_discarded_attempt_is_not_sent() -> None:
    one = batcher(slots=2)
    one.add("n", range(5))
    one.take(0.0)
    assert one.discard(3)
    assert not one.discard(3)
    assert not one.discard(0), "it has been sent"
    assert one.waiting() == [2, 4]
    one.ended("n", [1.0])
    assert items(one.take(0.0)) == [2, 4]


def test_discarding_all_that_waits_leaves_nothing_due() -> None:
    one = batcher(slots=1)
    one.add("n", range(3))
    one.take(0.0)
    assert one.discard(1) and one.discard(2)
    assert one.deadline() is None
    assert one.take(100.0) == []
    one.ended("n", [0.001])
    assert one._queues == {}


def test_cleared_nothing_waits_and_what_is_out_may_come_back() -> None:
    one = batcher(slots=2)
    one.add("n", range(10))
    one.take(0.0)
    one.clear()
    assert one.waiting() == [] and one.take(100.0) == [] and one.deadline() is None
    one.ended("n", [0.001])
    one.ended("n", [])
    assert one._queues == {} and one._in_flight == 0


# --- whole runs -----------------------------------------------------------------------------------


@dataclass
class Cluster:
    """Runs groups for as long as their nodes take, and loses some."""

    batcher: Batcher[Any]
    durations: dict[str, float]
    lose: set[int]
    now: float = 0.0
    own: dict[str, int | None] = field(default_factory=dict)
    out: list[tuple[float, int, Group]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    peak: int = 0
    count: int = 0

    def take(self) -> None:
        groups = self.batcher.take(self.now)
        for node, members in groups:
            assert members
            known = self.batcher._durations.get(node)
            if known is None or known >= SHORT:
                assert len(members) == 1
            else:
                assert len(members) == 1 or len(members) * known <= TARGET * 1.0001
            self.sent += members
            self.count += 1
            done = self.now + self.durations[str(node)] * len(members)
            heapq.heappush(self.out, (done, self.count, (node, members)))
        self.peak = max(self.peak, len(self.out))
        for name, bound in self.own.items():
            assert bound is None or bound >= sum(node == name for _, _, (node, _) in self.out)

    def step(self) -> bool:
        """Go on to what happens next. Return whether anything does."""
        deadline = self.batcher.deadline()
        if deadline is not None and (not self.out or deadline < self.out[0][0]):
            assert deadline > self.now, "the driver would spin"
            self.now = deadline
        elif self.out:
            done, number, (node, members) = heapq.heappop(self.out)
            self.now = max(self.now, done)
            took = [] if number in self.lose else [self.durations[str(node)]] * len(members)
            self.batcher.ended(node, took)
        else:
            return False
        self.take()
        return True


@settings(max_examples=200, deadline=None)
@given(
    durations=st.dictionaries(
        st.sampled_from("abcd"),
        st.sampled_from([0.0, 0.0001, 0.004, 0.005, 0.1, 2.0]),
        min_size=1,
    ),
    slots=st.integers(0, 6),
    bound=st.none() | st.integers(1, 5),
    lose=st.sets(st.integers(1, 30)),
    data=st.data(),
)
def test_every_attempt_is_sent_once_in_order_within_the_bound(
    durations: dict[str, float],
    slots: int,
    bound: int | None,
    lose: set[int],
    data: st.DataObject,
) -> None:
    own = {node: data.draw(st.sampled_from([None, None, 1, 2])) for node in sorted(durations)}
    cluster = Cluster(Batcher(Durations(), slots, bound), durations, lose, own=own)
    added: dict[str, list[Any]] = {node: [] for node in durations}
    dropped: list[Any] = []
    for _ in range(data.draw(st.integers(1, 5))):
        node = data.draw(st.sampled_from(sorted(durations)))
        fresh = [(node, len(added[node]) + i) for i in range(data.draw(st.integers(0, 40)))]
        added[node] += fresh
        cluster.batcher.add(node, fresh, bound=own[node])
        cluster.take()
        for _ in range(data.draw(st.integers(0, 10))):
            cluster.step()
        waiting = cluster.batcher.waiting()
        if waiting and data.draw(st.booleans()):
            dropped.append(data.draw(st.sampled_from(waiting)))
            assert cluster.batcher.discard(dropped[-1])
    while cluster.step():
        pass
    for node, members in added.items():
        sent = [item for item in cluster.sent if item[0] == node]
        assert sent == [item for item in members if item not in dropped]
    assert bound is None or cluster.peak <= bound
    assert cluster.batcher.waiting() == []
    assert cluster.batcher.deadline() is None
    assert cluster.batcher._queues == {}, "queues left behind"
    assert cluster.batcher._in_flight == 0


# --- a bound that several nodes share -------------------------------------------------------------


def test_nodes_of_a_scope_share_its_bound() -> None:
    several = batcher(a=1.0, b=1.0, c=1.0)
    several.add("a", ["a1", "a2"], scope=("graph", 2))
    several.add("b", ["b1"], scope=("graph", 2))
    several.add("c", ["c1"])
    assert items(several.take(0.0)) == ["a1", "a2", "c1"]
    assert several.take(1.0) == []
    several.ended("a", [1.0])
    assert items(several.take(2.0)) == ["b1"]
    several.ended("a", [1.0])
    several.ended("b", [1.0])
    several.add("b", ["b2", "b3", "b4"], scope=("graph", 2))
    assert items(several.take(3.0)) == ["b2", "b3"]


def test_the_bound_of_a_run_comes_before_that_of_a_scope() -> None:
    several = batcher(bound=2, a=1.0)
    several.add("a", ["a1", "a2", "a3"], scope=("graph", 1))
    assert items(several.take(0.0)) == ["a1", "a2"]
