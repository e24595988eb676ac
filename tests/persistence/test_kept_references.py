"""References to objects of a cluster in checkpoints that are kept in memory, and on their way."""

import gc
import weakref

import pytest
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from distgraph.contract.cache_names import calls_of
from distgraph.contract.events import Remember
from distgraph.driver.caching import Caches
from distgraph.errors import SerializationError
from distgraph.persistence import sync_or_async
from distgraph.persistence.hosting import HostClient, NoCarrier, host
from distgraph.persistence.placing import place
from distgraph.persistence.proxies import stand_in
from distgraph.serde import reducers

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


class Reference:
    """Stands for a reference of a cluster: it is right only if it is the very same object."""


class Basket:
    """Takes references from one side to the other of a connection within one process."""

    def __init__(self):
        self.lying = {}

    def give(self, to, references):
        self.lying[len(self.lying)] = references
        return len(self.lying) - 1

    def take(self, name):
        return self.lying.pop(name)


@pytest.fixture(autouse=True)
def registered():
    reducers.register_reference(Reference)
    yield
    del reducers._standard[Reference]
    reducers.forget_found()


@pytest.fixture
def basket(monkeypatch):
    made = Basket()
    monkeypatch.setattr(host(), "carrier", made)
    return made


def put(saver, value):
    checkpoint = {**empty_checkpoint(), "channel_values": {"held": value}}
    checkpoint["channel_versions"] = {"held": "1"}
    return sync_or_async.call(saver, "put", (CONFIG, checkpoint, {"step": 1}, {"held": "1"}))


def held(saver):
    return saver.get_tuple(CONFIG).checkpoint["channel_values"]["held"]


def test_a_saver_in_memory_keeps_a_reference_as_long_as_a_checkpoint_refers_to_it():
    saver, reference = InMemorySaver(), Reference()
    seen = weakref.ref(reference)
    put(saver, {"ref": [reference]})
    del reference
    gc.collect()
    assert held(saver)["ref"][0] is seen()
    saver.delete_thread("t")
    gc.collect()
    assert seen() is None


def test_other_savers_of_the_class_are_left_as_they_are():
    put(InMemorySaver(), Reference())
    with pytest.raises(TypeError, match="not msgpack serializable: Reference"):
        InMemorySaver().serde.dumps_typed(Reference())


def test_what_cannot_be_saved_otherwise_stays_an_error_of_the_saver():
    with pytest.raises(TypeError, match="not msgpack serializable: generator"):
        put(InMemorySaver(), (n for n in [1]))


def test_references_travel_to_the_host_of_a_store_and_back(basket):
    store, reference = InMemoryStore(), Reference()
    client = HostClient(host().listen().ticket, "me", basket)
    remote = stand_in(place(store), client)
    remote.put(("a",), "k", {"ref": reference})
    assert store.get(("a",), "k").value["ref"] is reference
    assert remote.get(("a",), "k").value["ref"] is reference
    assert basket.lying == {}
    client.close()


def test_without_a_cluster_references_are_refused_and_the_host_goes_on(monkeypatch):
    monkeypatch.setattr(host(), "carrier", NoCarrier())  # a Ray session of this process has its own
    store, client = InMemoryStore(), HostClient(host().listen().ticket)
    remote = stand_in(place(store), client)
    with pytest.raises(SerializationError, match="cannot leave the process that knows it"):
        remote.put(("a",), "k", {"ref": Reference()})
    store.put(("a",), "k", {"ref": Reference()})
    with pytest.raises(SerializationError, match="cannot leave the process that knows it"):
        remote.get(("a",), "k")
    store.put(("a",), "k", {"plain": 1})
    assert remote.get(("a",), "k").value == {"plain": 1}
    client.close()


def test_a_cache_that_keeps_no_references_says_so():
    class OnDisk(BaseCache):
        def get(self, keys):
            return {}

        async def aget(self, keys):
            return {}

        def set(self, pairs):
            for value, _ in pairs.values():
                self.serde.dumps_typed(value)

        async def aset(self, pairs):
            self.set(pairs)

        def clear(self, namespaces=None): ...

        async def aclear(self, namespaces=None): ...

    caches = Caches({(): OnDisk()})
    key = (("writes", "identity", "embed"), "name")
    caches.keep(Remember((), key, (("table", [1]),)))
    with pytest.raises(SerializationError) as refused:
        caches.keep(Remember((), key, (("size", 1), ("table", [Reference()]))))
    assert str(refused.value).startswith(
        "node 'embed': its write of 'table' holds a reference to an object of the Ray cluster, "
        "which the cache of the graph cannot keep. Use an InMemoryCache,"
    )
    with pytest.raises(SerializationError, match=r"^the result of task 'm\.load' holds"):
        caches.keep(Remember((), (calls_of("m.load"), "name"), (("__return__", Reference()),)))
    with pytest.raises(TypeError):  # nothing to do with references
        caches.keep(Remember((), key, (("table", object()),)))
