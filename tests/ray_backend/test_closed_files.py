"""A node that closes, or replaces, a file of its process which it had not opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from distgraph.errors import WorkerDied
from tests.support.cluster import eventually
from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]

EVENTS, MANY = 20, 200
"""Events of a node before it does harm, and all of them."""

BOUND = 20.0
"""Seconds for a damaged process to end."""


@pytest.fixture(autouse=True)
def without_silence(on_ray: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What only the bound of silence ends lasts longer than a test may."""
    from actors import sessions

    monkeypatch.setenv("DISTGRAPH_SILENCE", "3600")
    sessions.end()
    yield
    sessions.end()


def files(state: Any) -> Any:
    numbers = map(int, os.listdir("/proc/self/fd"))
    return {"items": [sorted(n for n in numbers if os.path.exists(f"/proc/self/fd/{n}"))]}


def closes(state: Any, writer: Any) -> Any:
    for i in range(EVENTS):
        writer(i)
    os.close(state["items"][0])
    for i in range(EVENTS, MANY):
        writer(i)


def replaces(state: Any, writer: Any) -> Any:
    for i in range(EVENTS):
        writer(i)
    with open(os.devnull, "rb+") as other:
        os.dup2(other.fileno(), state["items"][0])
    for i in range(EVENTS, MANY):
        writer(i)


def fine(state: Any, writer: Any) -> Any:
    for i in range(MANY):
        writer(i)
    return {"items": [len(state["items"][0])]}


def awaited(node: Any) -> Any:
    if node is files:

        async def afiles(state: Any) -> Any:
            return files(state)

        return afiles

    async def anode(state: Any, writer: Any) -> Any:
        return node(state, writer)

    return anode


def one(ns: Any, node: Any) -> Any:
    return ns.compile(ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n"))


@pytest.mark.parametrize("kind", ["task", "async"])
@pytest.mark.parametrize("harm", [closes, replaces])
def test_a_node_that_closes_any_one_file_of_its_process_disturbs_no_other(
    on_ray: Any, kind: str, harm: Any
) -> None:
    form = awaited if kind == "async" else lambda node: node
    lists, harms, works = (one(on_ray, form(node)) for node in (files, harm, fine))
    (numbers,) = lists.invoke({"items": []})["items"]
    lost = []
    for number in numbers:
        (present,) = lists.invoke({"items": []})["items"]
        if number not in present:
            continue
        seen: list[int] = []
        try:
            for event in harms.stream({"items": [number]}, stream_mode="custom"):
                seen.append(event)
            assert seen == list(range(MANY))
        except WorkerDied:
            lost.append(number)
            assert seen == list(range(len(seen)))
        blob = b"x" * 3_000_000
        chunks = list(works.stream({"items": [blob]}, stream_mode=["custom", "values"]))
        assert [c for mode, c in chunks if mode == "custom"] == list(range(MANY)), number
        assert chunks[-1] == ("values", {"items": [blob, len(blob)]}), number
    print(f"{len(numbers)} files; the process was lost with {lost}")
    assert len(lost) < 6


def replaces_a_selector(state: Any) -> Any:
    opened = {int(n): os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}
    number = min(n for n, path in opened.items() if path.endswith("anon_inode:[eventpoll]"))
    with open(os.devnull, "rb+") as other:
        os.dup2(other.fileno(), number)
    return {"items": [os.getpid()]}


def process(state: Any) -> Any:
    return {"items": [os.getpid()]}


def has_ended(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("lease", [True, False])
def test_a_process_in_which_a_file_was_replaced_ends_and_takes_no_node_of_the_next_run(
    on_ray: Any, lease: bool
) -> None:
    harms, works = (
        on_ray.compile(
            on_ray.StateGraph(Items)
            .add_node("n", node, ray_options={"lease": lease})
            .add_edge(on_ray.START, "n")
        )
        for node in (replaces_a_selector, process)
    )
    for _ in range(3):
        works.invoke({"items": []})
        (damaged,) = harms.invoke({"items": []})["items"]
        assert works.invoke({"items": []}, {"max_attempts": 1})["items"] != [damaged]
        eventually(partial(has_ended, damaged), "the process has ended", BOUND)
