"""Stand-ins behave as what they stand for."""

import asyncio
import pickle

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import GetOp, PutOp
from langgraph.store.memory import InMemoryStore

from distgraph.persistence import place
from distgraph.persistence.proxies import stand_in
from tests.persistence.savers import Counting, OldSaver, config, saved


class OwnVersions(InMemorySaver):
    def get_next_version(self, current, channel):
        return (current or 0) + 10


class Numbers(BaseCheckpointSaver):
    pass


class Timed(InMemoryStore):
    supports_ttl = True
    ttl_config = {"default_ttl": 5}


@pytest.fixture
def reach():
    return Counting()


def test_versions_are_numbered_without_asking(reach):
    saver = InMemorySaver()
    remote = stand_in(place(saver), reach)
    for current in (None, 3, saver.get_next_version(None, None), f"{41:032}.0.25"):
        number, _, rest = remote.get_next_version(current, None).partition(".")
        expected, _, own_rest = saver.get_next_version(current, None).partition(".")
        assert (number, rest[:2], len(number)) == (expected, own_rest[:2], 32)
    numbers = Numbers()
    counting = stand_in(place(numbers), reach)
    assert [counting.get_next_version(n, None) for n in (None, 1)] == [1, 2]
    assert not reach.calls


def test_versions_of_a_saver_that_is_not_known_are_asked_for(reach):
    saver = OwnVersions()
    assert stand_in(place(saver), reach).get_next_version(2, None) == 12
    assert reach.calls == {"get_next_version": 1}


def test_a_list_comes_in_one_call(reach):
    saver = InMemorySaver()
    remote = stand_in(place(saver), reach)
    for step in range(5):
        saved(saver, step=step, a=step)
    found = remote.list(config(), limit=3, filter={"source": "input"})
    assert next(found).metadata["step"] == 4
    assert [t.metadata["step"] for t in found] == [3, 2]
    assert reach.calls == {"list": 1}


def test_all_that_a_saver_does(reach):
    saver = InMemorySaver()
    remote = stand_in(place(saver), reach)

    async def main():
        first = saved(saver, a=1)
        await remote.aput_writes(first, [("a", 2)], "task", "path")
        assert (await remote.aget_tuple(first)).pending_writes == [("task", "a", 2)]
        assert [t.metadata["step"] async for t in remote.alist(config())] == [-1]
        assert (await remote.aget(config()))["channel_values"] == {"a": 1}
        await remote.adelete_thread("1")
        assert saver.get_tuple(config()) is None

    asyncio.run(main())
    assert remote.get(config()) is None
    history = remote.get_delta_channel_history(config=config(), channels=["a"])
    assert history == {"a": {"writes": []}}


def test_writes_of_a_saver_without_paths(reach):
    saver = OldSaver()
    stand_in(place(saver), reach).put_writes(config(), [("a", 1)], "task")
    assert saver.got == ([("a", 1)], "task")


def test_a_store_keeps_its_own_defaults(reach):
    store = Timed()
    remote = stand_in(place(store), reach)
    assert (remote.supports_ttl, remote.ttl_config) == (True, {"default_ttl": 5})
    remote.put(("a",), "k", {"v": 1})
    remote.put(("a",), "l", {"v": 2}, index=False)
    assert remote.get(("a",), "k", refresh_ttl=False).value == {"v": 1}
    assert [item.key for item in remote.search(("a",), limit=1)] == ["k"]
    assert remote.list_namespaces(max_depth=1) == [("a",)]
    remote.delete(("a",), "k")
    assert remote.batch([GetOp(("a",), "k"), PutOp(("b",), "m", {"v": 3})]) == [None, None]
    assert store.get(("b",), "m").value == {"v": 3}
    with pytest.raises(ValueError, match=r"[Nn]amespace"):
        remote.put((), "k", {})


def test_a_store_awaited(reach):
    store = InMemoryStore()
    remote = stand_in(place(store), reach)

    async def main():
        await remote.aput(("a",), "k", {"v": 1})
        found = await asyncio.gather(*(remote.aget(("a",), "k") for _ in range(20)))
        assert {item.value["v"] for item in found} == {1}
        assert [item.key for item in await remote.asearch(("a",))] == ["k"]
        assert await remote.alist_namespaces() == [("a",)]
        await remote.adelete(("a",), "k")

    asyncio.run(main())
    assert store.get(("a",), "k") is None


def test_a_cache(reach):
    cache = InMemoryCache()
    remote = stand_in(place(cache), reach)
    key = (("ns",), "k")
    remote.set({key: ([1], None)})
    assert cache.get([key]) == remote.get([key]) == {key: [1]}

    async def main():
        await remote.aclear([("ns",)])
        await remote.aset({key: (2, 60)})
        return await remote.aget([key])

    assert asyncio.run(main()) == {key: 2}
    remote.clear()
    assert cache.get([key]) == {}


def test_at_home_a_stand_in_becomes_the_object_again(reach):
    store = InMemoryStore()
    remote = stand_in(place(store), reach)
    assert pickle.loads(pickle.dumps(remote)) is store
    assert place(remote) == place(store)
    assert repr(remote) == "<RemoteStore of InMemoryStore>"
