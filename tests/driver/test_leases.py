"""Which lease serves which group, when leases are requested, and when they end."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.driver import leases as rules
from distgraph.driver.calm import CALM, LOOK_AFTER, LOOK_EVERY
from distgraph.driver.lease_actions import (
    AskOthers,
    Drop,
    End,
    Fail,
    Give,
    Interrupt,
    Late,
    Look,
    Request,
    Withdraw,
)
from distgraph.driver.leases import (
    DEATHS,
    DEMAND,
    HELD_BACK,
    IDLE,
    PATIENCE,
    SURPLUS,
    TASKS,
    TENURE,
    UNSERVED,
    Leases,
    LeaseTerms,
    Phase,
)


@dataclass(eq=False)
class Job:
    name: str


def kinds(actions):
    return [type(action).__name__ for action in actions]


def served_by(leases, needs="n", now=0.0):
    """A lease that has served one group and is idle."""
    (request,) = leases.submit(needs, "run", Job("first"), now)
    leases.opened(request.number, now)
    leases.done(request.number, now)
    return request.number


def submitted(names):
    """Leases to which a group of each name was submitted."""
    leases = Leases()
    for name in names:
        leases.submit("n", "run", Job(name), 0.0, room=2)
    return leases


def test_a_group_without_a_lease_requests_one_and_is_served_by_it():
    leases, job = Leases(), Job("a")
    assert leases.submit("n", "run", job, 0.0) == [Request(1, "n")]
    assert leases.opened(1, 0.1) == [Give(1, job)]
    assert leases.done(1, 0.2) == []


def test_an_idle_lease_takes_the_next_group_at_once():
    leases, job = Leases(), Job("b")
    number = served_by(leases)
    assert leases.submit("n", "run", job, 0.05) == [Give(number, job)]


def test_a_lease_serves_only_its_own_needs():
    leases = Leases()
    served_by(leases)
    assert leases.submit("other", "run", Job("b"), 0.001) == [Request(2, "other")]


def test_free_leases_pull_what_waits():
    leases, jobs = Leases(), [Job(str(n)) for n in range(6)]
    for job in jobs:
        leases.submit("n", "run", job, 0.0, room=2)
    gave = [action for number in (1, 2) for action in leases.opened(number, 0.0)]
    for _ in range(4):
        gave += leases.done(2, 0.1)  # a fast machine
    assert [(action.number, action.job) for action in gave] == [
        (1, jobs[0]),
        *((2, job) for job in jobs[1:]),
    ]


def test_no_more_requests_than_groups_that_wait_and_than_there_is_room_for():
    leases = Leases()
    requests = [leases.submit("n", "run", Job(str(n)), 0.0, room=3) for n in range(5)]
    assert [len(actions) for actions in requests] == [1, 1, 1, 0, 0]
    assert kinds(leases.opened(1, 0.0)) == ["Give"]


def test_more_leases_are_requested_for_groups_that_wait_long_up_to_the_limit():
    leases = Leases(most=3)
    for n in range(9):
        leases.submit("n", "run", Job(str(n)), 0.0)
    leases.opened(1, 0.01)
    leases.done(1, 0.5)  # others still wait
    leases.done(1, 0.9)
    assert leases.deadline() == DEMAND
    assert leases.tick(DEMAND * 0.99) == []
    assert kinds(leases.tick(DEMAND)) == ["Request"] * 3


def test_a_lease_whose_code_waits_for_other_groups_makes_room_for_another():
    leases, job = Leases(), Job("called")
    leases.submit("n", "run", Job("calls"), 0.0)
    leases.opened(1, 0.0)
    assert leases.submit("n", "run", job, 0.0) == []
    assert leases.lend(1, True, 0.0) == [Request(2, "n")]
    assert leases.opened(2, 0.0) == [Give(2, job)]
    assert leases.lend(1, False, 0.0) == []


def test_a_lease_that_comes_too_late_ends_where_another_is_idle():
    leases = submitted("ab")
    leases.opened(1, 0.0)
    leases.done(1, 0.0)
    leases.done(1, 0.0)
    assert leases.opened(2, 0.01) == [End(2)]
    assert leases.submit("n", "run", Job("c"), 0.02) == [Give(1, leases._leases[1].job)]


def test_an_idle_lease_ends_after_its_time_and_not_before():
    leases = Leases()
    number = served_by(leases)
    assert leases.deadline() == IDLE
    assert leases.tick(IDLE * 0.99) == []
    assert leases.tick(IDLE) == [End(number)]
    assert leases.deadline() is None
    assert leases.submit("n", "run", Job("b"), IDLE) == [Request(2, "n")]


def kept(seconds=5.0):
    """Leases of which one is idle since 0, and kept while nobody waits."""
    leases = Leases(keep=seconds)
    return leases, served_by(leases)


def test_an_idle_lease_is_kept_while_the_cluster_reports_that_nobody_waits():
    leases, number = kept()
    looks, now = [], 0.0
    while now < 5.0:
        now = due(leases)
        if leases.tick(now) == [Look()]:
            looks.append(now)
            assert leases.looked(True, now) == []
    assert list(leases.phases()) == []
    assert number == 1
    assert looks == pytest.approx([LOOK_AFTER + LOOK_EVERY * n for n in range(50)])


def due(leases):
    deadline = leases.deadline()
    assert deadline is not None
    return deadline


def test_a_kept_lease_ends_as_soon_as_the_cluster_reports_that_somebody_waits():
    leases, number = kept()
    assert leases.tick(LOOK_AFTER) == [Look()]
    assert leases.looked(True, LOOK_AFTER) == []
    again = LOOK_AFTER + LOOK_EVERY
    assert leases.tick(again - 0.001) == []
    assert leases.tick(again) == [Look()]
    assert leases.looked(False, again + 0.001) == [End(number)]


def test_a_lease_keeps_its_short_idle_time_where_somebody_waits():
    leases, number = kept()
    leases.tick(LOOK_AFTER)
    assert leases.looked(False, LOOK_AFTER) == []
    assert due(leases) == IDLE
    assert leases.tick(IDLE) == [End(number)]


def test_a_report_counts_for_a_moment_where_the_cluster_answers_no_more():
    leases, number = kept()
    leases.tick(LOOK_AFTER)
    leases.looked(True, LOOK_AFTER)
    assert leases.tick(LOOK_AFTER + LOOK_EVERY) == [Look()]
    assert due(leases) == LOOK_AFTER + CALM
    assert leases.tick(LOOK_AFTER + CALM) == [End(number)]


def test_the_tenure_counts_from_the_last_report_that_nobody_waits():
    leases, number = kept()
    leases.tick(LOOK_AFTER)
    leases.looked(True, 0.5)
    leases.submit("n", "run", Job("a"), 0.5)
    assert leases.done(number, 0.499 + TENURE) == []
    leases.submit("n", "run", Job("b"), 0.5 + TENURE)
    assert leases.done(number, 0.5 + TENURE) == [End(number)]


def test_a_lease_whose_group_was_cancelled_ends_behind_it():
    leases, number = kept()
    job = Job("a")
    leases.submit("n", "run", job, 0.01)
    assert leases.cancel("n", "run", job, 0.02) == [Interrupt(number, job)]
    assert leases.done(number, 0.03) == [End(number)]


def test_nobody_looks_while_leases_serve_and_where_none_is_kept():
    leases, number = kept()
    leases.submit("n", "run", Job("a"), 0.0)
    assert leases.tick(1.0) == []
    assert leases.done(number, 0.5) == []
    assert due(leases) == 0.5 + LOOK_AFTER
    leases = Leases()
    served_by(leases)
    assert leases.tick(LOOK_AFTER) == []


def test_workers_of_a_pool_are_no_reason_to_look():
    leases, (number, *_) = pool(Job("a"), keep=5.0)
    leases.opened(number, 0.0)
    leases.done(number, 0.0)
    assert leases.tick(1.0) == []


def test_an_idle_lease_makes_room_for_a_request_of_other_needs_that_is_not_granted():
    leases = Leases()
    number = served_by(leases)
    leases.submit("other", "run", Job("b"), 0.01)
    assert leases.deadline() == pytest.approx(0.01 + UNSERVED)
    assert leases.tick(0.01 + UNSERVED / 2) == []
    assert leases.tick(0.0101 + UNSERVED) == [End(number)]


def test_a_busy_lease_ends_behind_its_group_when_its_tenure_is_over():
    leases, jobs = Leases(), [Job(str(n)) for n in range(3)]
    for job in jobs:
        leases.submit("n", "run", job, 0.0)
    leases.opened(1, 0.0)
    assert leases.done(1, TENURE / 2) == [Give(1, jobs[1])]
    assert leases.done(1, TENURE) == [End(1), Request(2, "n")]
    assert leases.opened(2, TENURE) == [Give(2, jobs[2])]


def test_the_tenure_is_short_while_other_needs_are_not_granted():
    leases = Leases()
    for name in "ab":
        leases.submit("n", "run", Job(name), 0.0)
    leases.opened(1, 0.0)
    leases.submit("other", "run", Job("c"), 0.0)
    assert kinds(leases.done(1, rules.SHORT_TENURE)) == ["End", "Request"]


def test_a_lease_ends_when_its_tenure_is_over_although_no_group_waits_here():
    """Another job of the cluster may wait for its CPU."""
    leases = Leases()
    number = served_by(leases)
    leases.submit("n", "run", Job("b"), 0.05)
    assert leases.done(number, 10 * TENURE) == [End(number)]
    assert kinds(leases.submit("n", "run", Job("c"), 10 * TENURE)) == ["Request"]


def test_a_request_that_is_not_granted_for_long_is_repeated_and_withdrawn_when_no_group_waits():
    leases = Leases()
    first = leases.submit("n", "run", Job("a"), 0.0)
    assert kinds(first) == ["Request"]
    assert Request not in map(type, leases.tick(29.9))
    assert leases.deadline() <= 30.0
    late, again, *_ = leases.tick(30.0)
    assert (late, kinds([again])) == (Late(first[0].number), ["Request"])
    assert Request not in map(type, leases.tick(59.9))
    assert kinds(leases.opened(again.number, 59.9)) == ["Give"]
    assert leases.tick(60.0) == []
    assert leases.tick(59.9 + SURPLUS) == [Withdraw(first[0].number)]


def test_a_request_is_repeated_twice_and_serves_where_it_is_granted_late():
    leases = Leases()
    (first,) = leases.submit("n", "run", Job("a"), 0.0)
    repeated = [
        action
        for second in range(1, 1000)
        for action in leases.tick(float(second))
        if isinstance(action, Request)
    ]
    assert len(repeated) == 2
    assert kinds(leases.opened(first.number, 1000.0)) == ["Give"]


def test_requests_for_workers_of_a_pool_are_not_repeated():
    leases, _ = pool(Job("a"))
    assert [a for second in range(100) for a in leases.tick(float(second))] == []


def test_no_request_is_withdrawn_while_a_group_waits():
    """A cancel of Ray's costs those that wait: machines that are free get no work for seconds."""
    leases, jobs = Leases(most=4), [Job(str(n)) for n in range(6)]
    for job in jobs:
        leases.submit("n", "run", job, 0.0)
    leases.opened(1, 0.1)
    leases.tick(DEMAND)  # four requests
    for at in range(4):
        assert Withdraw not in map(type, leases.done(1, DEMAND + at * SURPLUS))
        assert Withdraw not in map(type, leases.tick(DEMAND + (at + 0.9) * SURPLUS))


def test_requests_in_excess_are_withdrawn_after_a_while():
    leases, jobs = Leases(), [Job(str(n)) for n in range(3)]
    for job in jobs:
        leases.submit("n", "run", job, 0.0, room=3)
    leases.opened(1, 0.0)
    leases.done(1, 0.01)
    leases.done(1, 0.02)
    leases.done(1, 0.03)
    assert leases.tick(0.03 + IDLE) == [End(1)]
    assert leases.deadline() == pytest.approx(0.02 + SURPLUS)
    assert leases.tick(0.02 + SURPLUS) == [Withdraw(3), Withdraw(2)]
    assert leases.opened(2, 12.0) == [End(2)]  # it was granted meanwhile
    assert leases.lost(3, 12.0) == []


def test_a_waiting_group_that_is_cancelled_is_dropped():
    leases, job = Leases(), Job("a")
    leases.submit("n", "run", job, 0.0)
    assert leases.cancel("n", "run", job, 0.0) == [Drop(job)]
    assert leases.tick(SURPLUS) == [Withdraw(1)]
    assert leases.cancel("n", "run", job, 0.0) == []


def test_a_group_that_is_served_is_interrupted():
    leases, job = Leases(), Job("a")
    leases.submit("n", "run", job, 0.0)
    leases.opened(1, 0.0)
    assert leases.cancel("n", "run", job, 0.0) == [Interrupt(1, job)]
    leases.done(1, 0.1)
    assert leases.cancel("n", "run", job, 0.2) == []


def test_a_lease_whose_process_is_to_be_killed_gets_no_other_group():
    leases, jobs = Leases(), [Job("a"), Job("b")]
    for job in jobs:
        leases.submit("n", "run", job, 0.0)
    leases.opened(1, 0.0)
    assert leases.doom(jobs[0]) == 1
    assert leases.done(1, 0.1) == [End(1), Request(2, "n")]
    assert leases.doom(jobs[0]) is None
    assert leases.opened(2, 0.1) == [Give(2, jobs[1])]


def test_a_lease_that_dies_takes_the_group_that_it_serves_with_it():
    leases, job, other = Leases(), Job("a"), Job("b")
    leases.submit("n", "run", job, 0.0)
    leases.opened(1, 0.0)
    leases.submit("n", "run", other, 0.0)
    assert leases.lost(1, 0.1) == [Fail(job), Request(2, "n")]
    assert leases.opened(2, 0.1) == [Give(2, other)]


def test_an_idle_lease_that_dies_fails_nothing():
    leases = Leases()
    number = served_by(leases)
    assert not leases.is_busy(number)
    assert leases.lost(number, 0.01) == []
    assert leases.submit("n", "run", Job("b"), 0.02) == [Request(2, "n")]


def test_a_request_that_dies_is_repeated_and_fails_a_group_when_it_happens_again_and_again():
    leases, job = Leases(), Job("a")
    leases.submit("n", "run", job, 0.0)
    for number in range(1, DEATHS + 1):
        assert leases.lost(number, 0.0) == [Request(number + 1, "n")]
    assert leases.lost(DEATHS + 1, 0.0) == [Fail(job)]


def test_deaths_count_anew_once_a_lease_was_granted():
    leases = Leases()
    leases.submit("n", "run", Job("a"), 0.0)
    for number in range(1, DEATHS + 1):
        leases.lost(number, 0.0)
    leases.opened(DEATHS + 1, 0.0)
    leases.submit("n", "run", Job("b"), 0.0, room=2)
    assert kinds(leases.lost(DEATHS + 2, 0.0)) == ["Request"]


def test_a_request_that_cannot_be_granted_fails_one_group():
    leases, jobs = Leases(), [Job("a"), Job("b")]
    for job in jobs:
        leases.submit("n", "run", job, 0.0)
    assert leases.failed(1, 0.0) == [Fail(jobs[0]), Request(2, "n")]
    assert leases.failed(2, 0.0) == [Fail(jobs[1])]


def test_runs_are_served_in_turn():
    leases = Leases()
    for n in range(3):
        leases.submit("n", "long", Job(f"long {n}"), 0.0)
    leases.submit("n", "short", Job("short"), 0.0)
    names = [action.job.name for action in leases.opened(1, 0.0)]
    for _ in range(3):
        names += [action.job.name for action in leases.done(1, 0.0)]
    assert names == ["long 0", "short", "long 1", "long 2"]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_group_waits_for_at_most_one_of_each_other_run(workers):
    """A long run has a thousand groups that wait, and ten short ones have steps of one group."""
    leases, given, serving, waited = Leases(most=workers), [], deque(), []
    left = {f"short {n}": 20 for n in range(10)}
    submitted = {}

    def do(actions):
        for action in actions:
            if isinstance(action, Request):
                do(leases.opened(action.number, 0.0))
            else:
                name = action.job.name
                if name in left:
                    waited.append(Counter(given[submitted[name] :]))
                given.append(name)
                serving.append(action)

    def submit(name):
        submitted[name] = len(given)
        do(leases.submit("n", name, Job(name), 0.0, room=workers))

    for name in ["long"] * 1000 + list(left):
        submit(name)
    while serving:
        ended = serving.popleft()
        name = ended.job.name
        do(leases.done(ended.number, 0.0))
        if name in left:
            left[name] -= 1
            if left[name]:
                submit(name)
    assert Counter(given) == {"long": 1000, **{f"short {n}": 20 for n in range(10)}}
    assert len(waited) == 200
    assert {max(others.values(), default=0) for others in waited} == {1}
    behind = given[::-1].index("short 9")
    assert behind > 900, "groups of the long run that are served when the short ones have ended"


# --- pools ----------------------------------------------------------------------------------------

POOL = LeaseTerms(idle=5.0, yields=2.0, fewest=2, most=3)


def pool(*jobs, now=0.0, terms=POOL, keep=0.0):
    """A pool to which groups were submitted, and the numbers of its requests."""
    leases = Leases(keep=keep)
    actions = [a for job in jobs for a in leases.submit("p", "run", job, now, 1, terms)]
    return leases, [action.number for action in actions if isinstance(action, Request)]


def test_a_pool_begins_with_its_fewest_workers():
    leases, numbers = pool(Job("a"))
    assert numbers == [1, 2]
    assert kinds(leases.opened(1, 0.0)) == ["Give"]
    assert leases.opened(2, 0.0) == []
    assert leases.tick(SURPLUS) == []


def test_a_pool_has_no_more_than_its_most_workers_however_long_groups_wait():
    leases, numbers = pool(*[Job(str(n)) for n in range(6)])
    assert numbers == [1, 2, 3]
    assert leases.deadline() is None
    assert leases.tick(10 * PATIENCE) == []


def test_a_worker_of_a_pool_goes_on_while_groups_wait():
    leases, _ = pool(*[Job(str(n)) for n in range(6)])
    leases.opened(1, 0.0)
    assert kinds(leases.done(1, 10 * TENURE)) == ["Give"]


def test_workers_of_a_pool_above_its_fewest_end_one_by_one_and_the_others_with_the_pool():
    leases, numbers = pool(*[Job(str(n)) for n in range(3)])
    for number in numbers:
        leases.opened(number, 0.0)
    for now, number in enumerate(numbers):
        leases.done(number, float(now))
    assert leases.deadline() == 5.0
    assert leases.tick(5.0) == [End(1)]
    assert leases.deadline() == 7.0
    assert leases.tick(6.9) == []
    assert leases.tick(7.0) == [End(2), End(3)]


def test_a_worker_of_a_pool_that_starts_late_is_kept_for_the_next_groups():
    leases, _ = pool(*[Job(str(n)) for n in range(3)])
    leases.opened(1, 0.0)
    for _ in range(3):
        leases.done(1, 0.1)
    assert leases.tick(2.0) == []
    assert leases.opened(2, 3.0) == []
    assert leases.opened(3, 3.0) == []
    assert kinds(leases.submit("p", "run", Job("b"), 3.1, 1, POOL)) == ["Give"]


def test_the_fewest_workers_of_a_pool_stay_while_one_of_them_is_used():
    leases, numbers = pool(Job("a"))
    for number in numbers:
        leases.opened(number, 0.0)
    assert leases.tick(100.0) == []
    assert leases.deadline() is None


def test_an_idle_pool_ends_for_a_request_that_is_not_granted_for_a_while():
    leases, (number, *_) = pool(Job("a"), terms=POOL._replace(fewest=1))
    leases.opened(number, 0.0)
    leases.done(number, 1.0)
    leases.submit("n", "run", Job("b"), 1.5)
    assert set(leases.tick(3.4)) == {AskOthers()}
    assert leases.deadline() == 3.5
    assert leases.tick(3.5) == [End(number)]


# --- other drivers -------------------------------------------------------------------------------


def test_other_drivers_are_asked_for_a_lease_while_groups_wait_and_none_is_held():
    leases = Leases()
    leases.submit("n", "run", Job("a"), 10.0)
    asked = []
    now = 10.0
    while now < 16.0:
        now = leases.deadline()
        asked += [now - 10.0 for action in leases.tick(now) if action == AskOthers()]
    assert asked == pytest.approx([PATIENCE * 2**n for n in range(5)] + [3.2, 4.8, 6.4])


def test_other_drivers_are_not_asked_while_a_lease_serves_one_group_after_the_other():
    leases = Leases()
    served_by(leases)
    leases.submit("n", "run", Job("a"), 0.0)
    leases.submit("n", "run", Job("b"), 0.0)
    assert kinds(leases.tick(5.0)) == ["Request"]


def test_groups_that_starve_again_ask_as_soon_as_before():
    leases = Leases()
    leases.submit("n", "run", Job("a"), 0.0)
    for now in (0.1, 0.2, 0.4, 0.8):
        assert AskOthers() in leases.tick(now)
    leases.opened(1, 1.0)
    leases.lost(1, 1.0)
    leases.submit("n", "run", Job("b"), 1.0)
    assert AskOthers() in leases.tick(1.0 + PATIENCE)


def test_an_idle_lease_is_given_back_at_once_and_no_other_is_requested_for_a_moment():
    leases, job = Leases(), Job("next")
    number = served_by(leases)
    assert leases.give_back(0.01) == [End(number)]
    assert leases.submit("n", "run", job, 0.02) == []
    assert leases.deadline() == pytest.approx(0.01 + HELD_BACK)
    assert leases.tick(0.01 + HELD_BACK) == [Request(2, "n")]


def test_of_leases_that_are_busy_the_oldest_is_given_back_behind_its_group():
    leases = submitted("abc")
    leases.opened(2, 0.0)
    leases.opened(1, 0.01)
    assert leases.give_back(0.02) == []
    assert kinds(leases.done(1, 0.03)) == ["Give"]
    assert leases.done(2, 0.03) == [End(2)]
    assert leases.done(1, 0.04) == []


def test_each_driver_that_asks_is_given_another_lease():
    leases = submitted("ab")
    for number in (1, 2):
        leases.opened(number, 0.0)
    leases.give_back(0.0)
    leases.give_back(0.0)
    leases.give_back(0.0)
    assert (leases.done(1, 0.1), leases.done(2, 0.1)) == ([End(1)], [End(2)])
    assert leases.give_back(0.2) == []


def test_a_worker_of_a_pool_is_not_given_back():
    leases, (number, *_) = pool(Job("a"))
    leases.opened(number, 0.0)
    assert leases.give_back(0.1) == []
    assert leases.done(number, 0.2) == []
    assert leases.give_back(0.3) == []


# --- any order -----------------------------------------------------------------------------------


@dataclass
class World:
    """A cluster and its leases: what was requested, what each lease does, what came of groups."""

    data: st.DataObject
    now: float = 0.0
    leases: Leases[Job] = field(default_factory=lambda: Leases(most=4, keep=5.0))
    requested: set[int] = field(default_factory=set)
    running: dict[int, Job | None] = field(default_factory=dict)
    ending: set[int] = field(default_factory=set)
    jobs: list[tuple[str, str, Job]] = field(default_factory=list)
    ends: dict[Job, list[str]] = field(default_factory=dict)
    cancelled: set[Job] = field(default_factory=set)
    lawful: bool = True
    tick_at: float | None = None
    """When the host of the rules looks at them next."""
    looks: bool = False
    """Whether the cluster was asked whether anybody waits."""

    def do(self, actions):
        for action in actions:
            if isinstance(action, Request):
                assert action.number not in self.requested | self.running.keys()
                self.requested.add(action.number)
            elif isinstance(action, (Late, Withdraw)):
                assert action.number in self.requested
            elif isinstance(action, Give):
                assert self.running[action.number] is None
                assert action.number not in self.ending, "a group meets a lease that ends"
                self.running[action.number] = action.job
            elif isinstance(action, End):
                assert self.running[action.number] is None
                self.ending.add(action.number)
            elif isinstance(action, Look):
                assert not self.looks, "two looks at once"
                self.looks = True
            elif isinstance(action, AskOthers):
                assert self.leases.waiting > 0
            elif isinstance(action, Interrupt):
                assert self.running[action.number] is action.job
                assert action.job in self.cancelled
            else:
                self.ended(action.job, kinds([action])[0])
        self.leases.validate()
        self.tick_later()

    def tick_later(self):
        """As the host of the rules does it: what may be due earlier is not overlooked."""
        due = self.leases.deadline()
        if self.tick_at is None or self.leases.may_be_due(self.tick_at, self.now):
            self.tick_at = due if self.tick_at is None else min(self.tick_at, due or self.tick_at)
        assert due is None or self.tick_at <= due

    def tick(self):
        self.tick_at = None
        self.do(self.leases.tick(self.now))

    def ended(self, job, how):
        self.ends.setdefault(job, []).append(how)

    def step(self):
        pick = lambda values: self.data.draw(st.sampled_from(sorted(values)))  # noqa: E731
        busy = {n for n, job in self.running.items() if job is not None}
        what = ["submit", "pass", "give back"]
        what += ["grant", "die requested", "refuse"] * bool(self.requested)
        what += ["lend"] * bool(busy) + ["report"] * 2 * self.looks
        what += ["finish"] * 3 * bool(busy) + ["die"] * bool(self.running)
        what += ["cancel"] * bool(self.jobs)
        chosen = self.data.draw(st.sampled_from(what))
        if chosen == "submit":
            needs, owner = pick("xyp"), pick("rs")
            job = Job(str(len(self.jobs)))
            self.jobs.append((needs, owner, job))
            room = self.data.draw(st.integers(1, 3))
            terms = POOL if needs == "p" else TASKS
            self.do(self.leases.submit(needs, owner, job, self.now, room, terms))
        elif chosen == "pass":
            self.now += self.data.draw(st.sampled_from([0.001, 0.01, 0.06, 0.1, 1.0, 31.0]))
            self.tick()
            due = self.leases.deadline()
            assert due is None or due > self.now - 1e-6, "what is due is not done"
        elif chosen == "give back":
            self.do(self.leases.give_back(self.now))
        elif chosen == "report":
            self.looks = False
            self.do(self.leases.looked(self.data.draw(st.booleans()), self.now))
        elif chosen == "cancel":
            needs, owner, job = self.data.draw(st.sampled_from(self.jobs))
            self.cancelled.add(job)
            self.do(self.leases.cancel(needs, owner, job, self.now))
        elif chosen == "lend":
            lent = self.data.draw(st.booleans())
            self.do(self.leases.lend(pick(busy), lent, self.now))
        else:
            self.happen(chosen, pick(busy if chosen == "finish" else self.those(chosen)))

    def those(self, chosen):
        return set(self.running) if chosen == "die" else self.requested

    def happen(self, chosen, number):
        if chosen == "grant":
            self.requested.discard(number)
            self.running[number] = None
            self.do(self.leases.opened(number, self.now))
        elif chosen == "finish":
            self.ended(self.running[number], "done")
            self.running[number] = None
            self.do(self.leases.done(number, self.now))
        elif chosen == "refuse":
            self.requested.discard(number)
            self.do(self.leases.failed(number, self.now))
        else:
            self.requested.discard(number)
            self.running.pop(number, None)
            self.ending.discard(number)
            self.do(self.leases.lost(number, self.now))

    def settle(self):
        """From here on all is well: everything that waits is served, and all leases end."""
        for _ in range(1000):
            busy = [n for n, job in self.running.items() if job is not None]
            if busy:
                self.happen("finish", busy[0])
            elif self.requested:
                self.happen("grant", min(self.requested))
            elif self.leases.waiting:
                self.now = self.leases.deadline()
                self.tick()
            else:
                break
        self.now += 10.0
        self.tick()


@settings(max_examples=100)
@given(st.data())
def test_in_any_order_each_group_ends_once_and_no_lease_is_left(data):
    world = World(data)
    for _ in range(data.draw(st.integers(1, 40))):
        world.step()
    world.settle()
    for _, _, job in world.jobs:
        assert len(world.ends.get(job, ())) == 1, (job, world.ends.get(job))
    assert world.ending == world.running.keys(), "a lease does not end"
    assert list(world.leases.phases()) == []
    assert world.leases.waiting == 0


def test_the_phases_of_leases_are_shown():
    leases = Leases()
    served_by(leases)
    leases.submit("n", "run", Job("b"), 0.5)
    assert list(leases.phases()) == [(1, Phase.BUSY, 0.5, 1)]
