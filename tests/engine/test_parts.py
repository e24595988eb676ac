"""A node whose work falls into parts: each an attempt of its own, one update at the end."""

import operator
import threading
import time
from dataclasses import dataclass
from typing import Annotated

import pytest
from typing_extensions import TypedDict

from distgraph.config import get_stream_writer
from distgraph.contract.spec import Part, PartOptions
from distgraph.graph import START, StateGraph


class State(TypedDict):
    words: list[str]
    out: Annotated[list, operator.add]


@dataclass(frozen=True)
class Words:
    """One part a word; a word in capitals reads the state."""

    limit: float | None = None
    bound: int | None = None

    def parts(self, value):
        if value["words"] == ["whole"]:
            return None
        return [Part(word, word.lower(), word.isupper()) for word in value["words"]]

    def options(self, key):
        return PartOptions(
            is_async=key.startswith("async"), timeout=self.limit, max_concurrency=self.bound
        )

    def timed_out(self, part, seconds):
        return f"{part.input} took more than {seconds} s"

    def join(self, value, parts, results):
        assert value["words"] == [part.input for part in parts]
        return {"out": list(results)}


class Worker:
    """The node: what it does with a part is in ``does``."""

    def __init__(self, does, split=None):
        self.does = does
        self.split = split or Words()

    def distgraph_split(self):
        return self.split

    def distgraph_part(self, word, state, context):
        return self.does(word, state)

    def __call__(self, state):
        return {"out": ["run as a whole"]}


def graph(does, split=None, **edges):
    builder = StateGraph(State).add_node("work", Worker(does, split)).add_edge(START, "work")
    if "path" in edges:
        builder.add_node("after", lambda s: {"out": ["after"]})
        builder.add_conditional_edges("work", edges["path"])
    return builder.compile(backend="local")


def test_results_come_in_the_order_of_the_parts_as_one_update():
    turns = [threading.Event() for _ in range(3)]
    turns[2].set()

    def backwards(word, state):
        at = int(word)
        turns[at].wait(10)
        if at:
            turns[at - 1].set()
        return f"did {word}"

    chunks = list(graph(backwards).stream({"words": ["0", "1", "2"], "out": []}))
    assert chunks == [{"work": {"out": ["did 0", "did 1", "did 2"]}}]


def test_no_parts_is_an_empty_result_and_none_runs_the_node_whole():
    built = graph(lambda word, state: word)
    assert list(built.stream({"words": [], "out": []})) == [{"work": {"out": []}}]
    assert list(built.stream({"words": ["whole"], "out": []})) == [
        {"work": {"out": ["run as a whole"]}}
    ]


def test_only_a_part_that_asks_gets_the_state():
    result = graph(lambda word, state: state and state["words"]).invoke(
        {"words": ["plain", "ASKS"], "out": []}
    )
    assert result["out"] == [None, ["plain", "ASKS"]]


def test_events_of_all_parts_precede_the_update():
    def writes(word, state):
        writer = get_stream_writer()
        for i in range(20):
            writer((word, i))
        return word

    words = ["a", "b", "c"]
    chunks = list(
        graph(writes).stream({"words": words, "out": []}, stream_mode=["custom", "updates"])
    )
    assert chunks[-1] == ("updates", {"work": {"out": words}})
    for word in words:
        own = [payload for _, payload in chunks[:-1] if payload[0] == word]
        assert own == [(word, i) for i in range(20)]


def test_a_conditional_edge_reads_what_the_parts_gave():
    built = graph(lambda word, state: word, path=lambda s: "after" if s["out"] == ["x"] else "?")
    assert built.invoke({"words": ["x"], "out": []})["out"] == ["x", "after"]


def test_a_part_that_raises_fails_the_node():
    def fails(word, state):
        if word == "bad":
            raise LookupError("no such word")
        return word

    with pytest.raises(LookupError, match="no such word") as caught:
        graph(fails).invoke({"words": ["good", "bad"], "out": []})
    assert "task with name 'work'" in caught.value.__notes__[0]


def test_a_split_that_raises_fails_the_node():
    with pytest.raises(KeyError, match="words"):
        graph(lambda word, state: word).invoke({"out": []})


def test_a_part_over_its_time_is_replaced_and_the_others_are_kept():
    def works(word, state):
        if word == "slow":
            time.sleep(30)
        return word

    result = graph(works, Words(limit=0.2)).invoke({"words": ["a", "slow", "b"], "out": []})
    assert result["out"] == ["a", "slow took more than 0.2 s", "b"]


def test_async_parts_run_side_by_side_and_end_in_time():
    import asyncio

    both = threading.Barrier(2)

    async def works(word, state):
        if word == "async slow":
            await asyncio.sleep(30)
        await asyncio.to_thread(both.wait, 10)
        return word

    words = ["async a", "async slow", "async b"]
    result = graph(works, Words(limit=1.0)).invoke({"words": words, "out": []})
    assert result["out"] == ["async a", "async slow took more than 1.0 s", "async b"]


def test_a_write_that_code_inside_a_part_makes_by_itself_is_kept():
    from distgraph.worker.context import active_task

    def sends(word, state):
        active_task().sent.append(("out", [f"sent by {word}"]))
        return word

    result = graph(sends).invoke({"words": ["a", "b"], "out": []})
    assert result["out"] == ["sent by a", "sent by b", "a", "b"]
