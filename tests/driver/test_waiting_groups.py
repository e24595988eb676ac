"""Groups that wait for a lease are taken in turn for each owner, and in order within one."""

from __future__ import annotations

from distgraph.driver.waiting_groups import WaitingGroups


def groups(*waiting: str) -> WaitingGroups[str]:
    """Return groups that wait. The first character of each is its owner."""
    made: WaitingGroups[str] = WaitingGroups(0.0)
    for group in waiting:
        made.add(group[0], group)
    return made


def taken(waiting: WaitingGroups[str]) -> list[str]:
    return [waiting.take() for _ in range(len(waiting))]


def test_owners_have_their_turns_and_groups_of_one_keep_their_order() -> None:
    assert taken(groups("a1", "a2", "a3", "b1", "c1", "b2")) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_an_owner_without_groups_has_its_next_turn_behind_the_others() -> None:
    waiting = groups("a1", "b1", "b2")
    assert waiting.take() == "a1"
    waiting.add("a", "a2")
    assert taken(waiting) == ["b1", "a2", "b2"]


def test_a_group_that_is_removed_is_not_taken() -> None:
    waiting = groups("a1", "a2", "b1")
    assert waiting.discard("a", "a1") and waiting.discard("b", "b1")
    assert (len(waiting), taken(waiting), len(waiting)) == (1, ["a2"], 0)


def test_a_group_that_does_not_wait_cannot_be_removed() -> None:
    waiting = groups("a1")
    assert not waiting.discard("a", "a2")
    assert not waiting.discard("b", "a1")
    assert taken(waiting) == ["a1"]
