"""``batch`` and ``abatch``: several runs, results in the order of the inputs."""

import asyncio

import pytest

from tests.support.graphs import Numbers, joke, one

TOPICS = [{"topic": t} for t in ("ice", "sun", "sea", "fog")]
JOKES = [
    {"topic": f"{t} and cats", "joke": f"J:{t} and cats"} for t in ("ice", "sun", "sea", "fog")
]


def test_batch(engine):
    assert engine.compile(joke(engine)).batch(TOPICS) == JOKES


def test_abatch(engine):
    assert asyncio.run(engine.compile(joke(engine)).abatch(TOPICS)) == JOKES


def test_a_config_for_each(engine):
    graph = engine.compile(one(engine, _tag, Numbers))
    results = graph.batch([{"n": 1}, {"n": 2}], [{"tags": ["a"]}, {"tags": ["b"]}])
    assert [r["items"] for r in results] == [["a"], ["b"]]


def _tag(state, config):
    return {"items": list(config["tags"])}


def _odd_only(state):
    if state["n"] % 2 == 0:
        raise ValueError(f"{state['n']} is even")
    return {"items": [state["n"]]}


def test_a_failing_run_fails_the_batch(engine):
    with pytest.raises(ValueError, match="2 is even"):
        engine.compile(one(engine, _odd_only, Numbers)).batch([{"n": 1}, {"n": 2}])


def test_return_exceptions(engine):
    graph = engine.compile(one(engine, _odd_only, Numbers))
    good, bad = graph.batch([{"n": 1}, {"n": 2}], return_exceptions=True)
    assert good == {"n": 1, "items": [1]}
    assert type(bad) is ValueError


def test_batch_with_max_concurrency(engine):
    assert engine.compile(joke(engine)).batch(TOPICS, {"max_concurrency": 2}) == JOKES
