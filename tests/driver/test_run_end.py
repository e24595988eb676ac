"""The end of a run waits until its data is saved and its cancelled attempts have ended."""

from __future__ import annotations

from distgraph.contract.events import Finish
from distgraph.driver.ports import Group
from distgraph.driver.run_end import RunEnd

DONE = Finish("done", value=1)


def test_an_end_without_anything_to_wait_for_is_due_at_once() -> None:
    end = RunEnd()
    assert (end.is_decided, end.due()) == (False, None)
    end.decide(DONE, is_durable=True)
    assert (end.is_decided, end.due()) == (True, DONE)


def test_an_end_waits_until_the_data_is_durable() -> None:
    end = RunEnd()
    end.decide(DONE, is_durable=False)
    assert end.due() is None
    end.saved()
    assert end.due() == DONE


def test_an_end_waits_for_all_groups_that_were_cancelled() -> None:
    end = RunEnd()
    groups = Group("a", ()), Group("a", ())
    for group in groups:
        end.cancelled(group)
    end.decide(DONE, is_durable=True)
    end.ended(Group("a", ()))  # one that was not cancelled
    end.ended(groups[0])
    assert end.due() is None
    end.ended(groups[1])
    assert end.due() == DONE


def test_a_saver_that_fails_is_the_error_of_a_run_without_another() -> None:
    failure, own = ValueError("no space"), KeyError("x")
    for finish, expected in ((DONE, failure), (Finish("error", error=own), own)):
        end = RunEnd()
        end.decide(finish, is_durable=False)
        end.not_saved(failure)
        assert end.due() == Finish("error", error=expected)


def test_an_end_is_reported_once() -> None:
    end = RunEnd()
    end.decide(DONE, is_durable=True)
    end.reported()
    assert (end.is_decided, end.due()) == (False, None)
