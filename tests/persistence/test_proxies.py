"""Stand-ins behave as what they stand for."""

import asyncio
import pickle
from dataclasses import dataclass
from decimal import Decimal

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import NOT_PROVIDED, GetOp, PutOp
from langgraph.store.memory import InMemoryStore

from distgraph.errors import SerializationError
from distgraph.persistence import place
from distgraph.persistence.opening import awaiting
from distgraph.persistence.proxies import stand_in
from tests.persistence.savers import Counting, OldSaver, Rot13, config, saved


class OwnVersions(InMemorySaver):
    def get_next_version(self, current, channel):
        return (current or 0) + 10


class Numbers(BaseCheckpointSaver):
    pass


class Timed(InMemoryStore):
    supports_ttl = True
    ttl_config = {"default_ttl": 5}

    def __init__(self):
        super().__init__()
        self.put_ops = []

    def batch(self, ops):
        ops = list(ops)
        self.put_ops += [op for op in ops if isinstance(op, PutOp)]
        return super().batch(ops)

    async def abatch(self, ops):
        return self.batch(ops)


@pytest.fixture
def reach():
    return Counting()


def test_versions_are_numbered_without_asking(reach):
    saver = InMemorySaver()
    remote = stand_in(place(saver), reach)
    for current in (None, 3, saver.get_next_version(None, None), f"{41:032}.0.25"):
        number, _, rest = remote.get_next_version(current, None).partition(".")
        expected, _, _ = saver.get_next_version(current, None).partition(".")
        assert (number, len(number)) == (expected, 32)
        assert len(rest) >= 16 and 0.0 <= float(rest) < 1.0
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


class Noting(InMemorySaver):
    """Notes the configs that it gets, and returns them."""

    def __init__(self):
        super().__init__()
        self.got = []

    def put(self, config, *args):
        self.got.append(config)
        super().put(config, *args)
        return config

    def get_tuple(self, config):
        self.got.append(config)
        found = super().get_tuple(config)
        return found and found._replace(config=self.got[0])


def unsendable():
    return (item for item in ())


def live_config(**more):
    return {
        "configurable": {
            "thread_id": "1",
            "checkpoint_ns": "",
            "checkpoint_map": {"": "id"},
            "tenant": {"name": "a", "tags": ("x", 1)},
            "amount": Decimal("1.5"),
            "client": unsendable(),
            "__pregel_scratchpad": unsendable(),
            "__pregel_task_id": "task",
        },
        "metadata": {"user": "u", "live": unsendable()},
        "callbacks": unsendable(),
        "tags": ["t"],
        **more,
    }


def test_live_objects_of_a_config_stay_and_come_back(reach):
    saver = Noting()
    remote = stand_in(place(saver), reach)
    config = live_config()
    checkpoint = {**empty_checkpoint(), "channel_values": {"a": 1}, "channel_versions": {"a": "1"}}
    back = remote.put(config, checkpoint, {"source": "input", "step": -1}, {"a": "1"})
    assert back == config
    assert back["configurable"]["client"] is config["configurable"]["client"]
    got = saver.got[0]
    assert got["configurable"]["tenant"] == {"name": "a", "tags": ("x", 1)}
    assert got["configurable"]["amount"] == Decimal("1.5")
    assert got["configurable"]["__pregel_task_id"] == "task"
    kinds = [
        got["configurable"]["client"].kind,
        got["metadata"]["live"].kind,
        got["callbacks"].kind,
    ]
    assert kinds == ["builtins.generator"] * 3
    (found,) = saver.list({"configurable": {"thread_id": "1"}})
    assert {k: found.metadata[k] for k in ("user", "step")} == {"user": "u", "step": -1}


def test_what_stayed_in_an_earlier_call_is_left_out_of_a_config(reach):
    saver = Noting()
    remote = stand_in(place(saver), reach)
    remote.put(live_config(), empty_checkpoint(), {"source": "input", "step": -1}, {})
    again = live_config()
    found = remote.get_tuple(again).config
    assert sorted(found["configurable"]) == [
        "__pregel_task_id",
        *("amount", "checkpoint_map", "checkpoint_ns", "tenant", "thread_id"),
    ]
    assert found["metadata"] == {"user": "u"}
    assert "callbacks" not in found


@pytest.mark.parametrize("method", ["get", "get_tuple", "list", "get_delta_channel_history"])
def test_every_reading_method_takes_a_config_with_live_objects(reach, method):
    saver = InMemorySaver()
    remote = stand_in(place(saver), reach)
    saved(saver, a=1)
    given = {"config": live_config()}
    if method == "get_delta_channel_history":
        given["channels"] = ["a"]
    if method == "list":
        given["before"] = live_config()

    async def awaited():
        result = getattr(remote, "a" + method)(**given)
        return [x async for x in result] if method == "list" else await result

    plain = getattr(saver, method)(**given)
    asked = getattr(remote, method)(**given)
    if method == "list":
        plain, asked = list(plain), list(asked)
    assert repr(asyncio.run(awaited())) == repr(asked) == repr(plain)


def test_writes_take_a_config_with_live_objects_and_values_without(reach):
    saver = InMemorySaver()
    remote = stand_in(place(saver), reach)
    config = live_config()
    config["configurable"]["checkpoint_id"] = saved(saver, a=1)["configurable"]["checkpoint_id"]
    remote.put_writes(config, [("a", 2)], "task")
    asyncio.run(remote.aput_writes(config, [("a", 3)], "other"))
    assert [w[1:] for w in saver.get_tuple(config).pending_writes] == [("a", 3), ("a", 2)]
    with pytest.raises(SerializationError, match="a generator exists in one process only"):
        remote.put_writes(config, [("a", unsendable())], "task")


def test_the_threads_of_a_saver(reach):
    saver = Threads()
    remote = stand_in(place(saver), reach)
    saved(saver, "1", a=1)
    remote.copy_thread("1", "2")
    remote.prune(["2"], strategy="delete")
    asyncio.run(remote.adelete_for_runs(["r"]))
    assert saver.called == [("1", "2"), (["2"], "delete"), ["r"]]


class Threads(InMemorySaver):
    def __init__(self):
        super().__init__()
        self.called = []

    def copy_thread(self, source_thread_id, target_thread_id):
        self.called.append((source_thread_id, target_thread_id))

    def prune(self, thread_ids, *, strategy="keep_latest"):
        self.called.append((thread_ids, strategy))

    def delete_for_runs(self, run_ids):
        self.called.append(run_ids)

    @property
    def config_specs(self):
        return ["spec"]

    def summary(self, *, words=3):
        return "word " * words

    async def asummary(self):
        return "awaited"

    async def awords(self):
        for word in ("one", "two"):
            yield word

    @property
    def size(self):
        return len(self.called)


def test_methods_and_properties_of_the_users_class(reach):
    remote = stand_in(place(Threads()), reach)

    async def words():
        return [await remote.asummary(), *[w async for w in remote.awords()]]

    saver = Threads()
    remote = stand_in(place(saver), reach)
    assert (remote.summary(words=1), remote.size, remote.config_specs) == ("word ", 0, ["spec"])
    assert asyncio.run(words()) == ["awaited", "one", "two"]
    with pytest.raises(AttributeError, match="Threads has no method 'called', or 'called' is an"):
        remote.called.append(1)


def test_the_serializer_of_a_saver_is_used_where_it_is(reach):
    saver = InMemorySaver(serde=EncryptedSerializer(Rot13()))
    remote = stand_in(place(saver), reach)
    written = remote.serde.dumps_typed({"a": 1})
    assert written == saver.serde.dumps_typed({"a": 1})
    assert remote.serde.loads_typed(written) == {"a": 1}
    cache = InMemoryCache(serde=EncryptedSerializer(Rot13()))
    assert stand_in(place(cache), reach).serde.dumps_typed(1) == cache.serde.dumps_typed(1)


@dataclass
class Point:
    x: int


def test_an_allowlist_holds_where_the_saver_is(reach):
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    saved(saver, a=Point(1))
    remote = stand_in(place(saver), reach)
    allowed = remote.with_allowlist([(Point.__module__, "Point")])
    twice = allowed.with_allowlist([("decimal", "Decimal")])
    values = [s.get(config())["channel_values"]["a"] for s in (remote, allowed, twice)]
    assert values == [{"x": 1}, Point(1), Point(1)]
    at_home = pickle.loads(pickle.dumps(twice))
    assert at_home.storage is saver.storage
    assert pickle.loads(pickle.dumps(twice)) is at_home
    assert pickle.loads(pickle.dumps(remote)) is saver


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
    remote.put(("a",), "n", {"v": 4}, ttl=NOT_PROVIDED)
    remote.put(("a",), "o", {"v": 5}, ttl=7)
    asyncio.run(remote.aput(("a",), "p", {"v": 5}, ttl=NOT_PROVIDED))
    assert [op.ttl for op in store.put_ops] == [5, 5, 5, 7, 5]
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


class BothForms(InMemorySaver):
    def __init__(self):
        super().__init__()
        self.noted = []

    def put(self, *args):
        self.noted.append("put")
        return InMemorySaver.put(self, *args)

    async def aput(self, *args):
        self.noted.append("aput")
        return InMemorySaver.put(self, *args)


def test_an_async_form_that_the_class_has_written_is_called_for_awaited_calls(reach):
    saver = BothForms()
    remote = stand_in(place(saver), reach)
    saved(remote)
    asyncio.run(remote.aput(config(), empty_checkpoint(), {"source": "input", "step": -1}, {}))
    assert saver.noted == ["put", "aput"]


def test_the_driver_of_an_awaited_run_calls_the_async_forms_of_a_class_of_the_user(reach):
    saver = BothForms()
    saved(stand_in(awaiting(saver).distgraph_placed, reach))
    assert saver.noted == ["aput"]
    plain = InMemorySaver()
    assert awaiting(plain) is plain


class Stamping(InMemoryStore):
    async def aput(self, namespace, key, value, *args, **kwargs):
        await super().aput(namespace, key, {**value, "stamped": True}, *args, **kwargs)


def test_a_store_with_one_async_method_of_its_own_keeps_its_synchronous_ones(reach):
    store = Stamping()
    remote = stand_in(place(store), reach)
    remote.put(("n",), "sync", {})
    asyncio.run(remote.aput(("n",), "async", {}))
    assert store.get(("n",), "sync").value == {}
    assert store.get(("n",), "async").value == {"stamped": True}
