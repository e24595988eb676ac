"""Which of several drivers a run is given to."""

from __future__ import annotations

import pytest

from distgraph.contract.spec import GraphSpec
from distgraph.driver.driver_choice import Choice, drivers_from_environment, ties
from distgraph.graph import START, StateGraph


class Loaded:
    """A node that has a pool of workers."""

    def __call__(self, state: dict) -> None: ...


def plain_node(state: dict) -> None: ...


def spec_of(node: object) -> GraphSpec:
    builder = StateGraph(dict).add_node("work", node)
    inner = builder.add_edge(START, "work").compile(backend="local")
    outer = StateGraph(dict).add_node("inner", inner).add_edge(START, "inner")
    return outer.compile(backend="local").spec


@pytest.mark.parametrize(
    ("live", "chosen"),
    [([0], 0), ([0, 0], 0), ([1, 0], 1), ([2, 1, 1], 1), ([3, 3, 2], 2), ([0, 5, 0], 0)],
)
def test_a_run_goes_to_the_fewest_live_runs_and_then_to_the_lowest_number(live, chosen):
    assert Choice().choose(live) == chosen


def test_a_run_goes_where_a_run_with_a_tie_was():
    choice = Choice()
    assert choice.choose([1, 0], [("thread", "a")]) == 1
    assert choice.choose([0, 9], [("run", "new"), ("thread", "a")]) == 1
    assert choice.choose([0, 9], [("run", "new")]) == 1
    assert choice.choose([0, 9], [("thread", "b")]) == 0


def test_the_first_tie_decides_and_the_others_keep_their_driver():
    choice = Choice()
    choice.choose([1, 0], ["graph"])
    choice.choose([0, 1], ["thread"])
    assert choice.choose([5, 5], ["graph", "thread"]) == 1
    assert choice.choose([5, 5], ["thread"]) == 0


def test_ties_that_were_not_used_for_longest_are_forgotten():
    choice = Choice(remembered=2)
    choice.choose([1, 0], ["old"])
    choice.choose([1, 0], ["used"])
    choice.choose([0, 1], ["old"])
    choice.choose([0, 1], ["new"])
    assert choice.choose([0, 1], ["used"]) == 0  # forgotten
    assert choice.choose([0, 1], ["new"]) == 0


def test_a_run_is_tied_by_its_id_its_thread_and_a_graph_with_a_pool():
    pool, plain = spec_of(Loaded), spec_of(plain_node)
    assert ties("r", None, plain, "digest") == [("run", "r")]
    assert ties("r", 7, plain, "digest") == [("run", "r"), ("thread", "7")]
    tied = [("run", "r"), ("graph", "digest"), ("thread", "t")]
    assert ties("r", "t", pool, "digest") == tied


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_number_of_drivers_that_is_none_is_refused(text, monkeypatch):
    monkeypatch.setenv("DISTGRAPH_DRIVERS", text)
    with pytest.raises(ValueError, match=f"DISTGRAPH_DRIVERS must be a whole number.*{text}"):
        drivers_from_environment()


@pytest.mark.parametrize(("text", "number"), [(None, 1), ("", 1), ("1", 1), (" 4 ", 4)])
def test_there_is_one_driver_unless_the_environment_asks_for_more(text, number, monkeypatch):
    if text is None:
        monkeypatch.delenv("DISTGRAPH_DRIVERS", raising=False)
    else:
        monkeypatch.setenv("DISTGRAPH_DRIVERS", text)
    assert drivers_from_environment() == number
