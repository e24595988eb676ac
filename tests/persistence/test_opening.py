"""Opening files and servers, and how what lives somewhere travels."""

import dataclasses
import gc
import sqlite3
import threading
from types import SimpleNamespace

import pytest
from langchain_core.messages import HumanMessage
from langgraph.cache.sqlite import SqliteCache
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from distgraph.errors import RunError
from distgraph.persistence import (
    SaverPort,
    cache_for_driver,
    hosting,
    open_resource,
    opening,
    place,
    saver_for_driver,
)
from distgraph.persistence.proxies import RemoteSaver, RemoteStore
from distgraph.serde.pickling import dumps_code, dumps_data, loads
from tests.persistence.savers import Counting, config, saved


class Plain(InMemoryStore):
    """Pickles by itself."""

    def __init__(self):
        self._data = Spaces()
        self._vectors = Spaces()
        self.index_config = self.embeddings = None


class Spaces(dict):
    def __missing__(self, key):
        self[key] = {}
        return self[key]


@pytest.fixture
def elsewhere(monkeypatch):
    """Make this process one that owns nothing, such as a driver's. Returns how it reaches us."""
    reach = Counting()

    def switch():
        monkeypatch.setattr(hosting, "_host", hosting.Host())
        monkeypatch.setattr(opening, "_opened", opening._Opened())
        monkeypatch.setattr(opening, "_provider", lambda: reach)
        return reach

    return switch


@pytest.fixture
def connection(tmp_path):
    made = sqlite3.connect(tmp_path / "a?b.db", check_same_thread=False)
    yield made
    made.close()


def test_the_owner_uses_its_own_object(connection):
    saver, store = SqliteSaver(connection), InMemoryStore()
    assert open_resource(place(saver), Counting()) is saver
    assert open_resource(place(store), Counting()) is store


def test_a_driver_opens_the_file(connection, elsewhere):
    saver = SqliteSaver(connection)
    saved(saver, step=0, a=1)
    placed = place(saver)
    opened = saver_for_driver(placed, elsewhere())
    assert type(opened) is SqliteSaver
    assert opened is not saver
    assert opened.get_tuple(config()).checkpoint["channel_values"] == {"a": 1}
    saved(opened, step=1, a=2)
    assert saver.get_tuple(config()).checkpoint["channel_values"] == {"a": 2}


def test_a_saver_that_a_driver_opens_is_given_whole_lists(connection, elsewhere):
    blob = dumps_code(SqliteSaver(connection))
    elsewhere()
    saver = loads(blob)
    opening.send_tails(saver, lambda ns, name: True)
    items = list(range(99))
    for count in (50, 99):
        given = {**empty_checkpoint(), "channel_values": {"items": items[:count]}}
        saver.put(config(), given, {}, {"items": count})
    assert saver.get_tuple(config()).checkpoint["channel_values"] == {"items": items}


def test_several_saves_in_a_file_are_committed_together(connection, elsewhere):
    blob = dumps_code(SqliteSaver(connection))
    elsewhere()
    saver = loads(blob)
    port = SaverPort.of_run(saver, lambda ns, name: name == "items")
    items = [HumanMessage("a", id=str(number)) for number in range(50)]
    opened, told = opening.called_here(saver), []
    opened.setup()
    opened.conn.set_trace_callback(told.append)
    writes = ("put_writes", (config(checkpoint_id="0"), [("items", items[:1])], "task", ""))
    puts = []
    for count in (49, 50):
        given = {**empty_checkpoint(), "channel_values": {"items": items[:count]}}
        puts.append(("put", (config(), given, {}, {"items": count})))
    port.save([writes, *puts])
    assert [line.split()[0] for line in told] == ["BEGIN", *["INSERT"] * 3, "COMMIT"]
    assert count_of(connection) == (1, 2)
    found = SqliteSaver(connection).get_tuple(config())
    assert found.checkpoint["channel_values"] == {"items": items}
    port.put(*puts[0][1])
    assert told.count("COMMIT") == 2


def test_what_was_saved_before_a_failure_is_committed(connection, elsewhere):
    blob = dumps_code(SqliteSaver(connection))
    elsewhere()
    port = SaverPort.of_run(loads(blob), lambda ns, name: False)
    good = {**empty_checkpoint(), "channel_values": {"a": 1}}
    bad = {**empty_checkpoint(), "channel_values": {"a": object()}}
    with pytest.raises(TypeError, match="not msgpack serializable"):
        port.save([("put", (config(), given, {}, {"a": 1})) for given in (good, bad)])
    assert count_of(connection) == (0, 1)


def count_of(connection):
    """Return how many writes and checkpoints another connection finds in the file."""
    tables = ("writes", "checkpoints")
    return tuple(
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
    )


def test_a_driver_calls_the_object_of_its_caller(elsewhere):
    saver = InMemorySaver()
    placed = place(saver)
    remote = saver_for_driver(placed, elsewhere())
    assert type(remote) is RemoteSaver
    saved(remote, a=1)
    assert saver.get_tuple(config()).checkpoint["channel_values"] == {"a": 1}


def test_a_driver_opens_a_cache(tmp_path, elsewhere):
    cache = SqliteCache(path=str(tmp_path / "cache.db"))
    key = (("ns",), "k")
    cache.set({key: (1, None)})
    assert cache_for_driver(place(cache), elsewhere()).get([key]) == {key: 1}


def test_a_file_is_opened_once_for_all_threads(connection, elsewhere):
    placed = place(SqliteSaver(connection))
    reach = elsewhere()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(open_resource(placed, reach)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_what_nobody_uses_is_closed_when_there_are_many(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(opening, "KEPT", 1)
    connections = [sqlite3.connect(tmp_path / f"{i}.db", check_same_thread=False) for i in range(3)]
    placed = [place(SqliteSaver(connection)) for connection in connections]
    reach = elsewhere()
    used, unused = open_resource(placed[0], reach), open_resource(placed[1], reach).conn
    open_resource(placed[2], reach)
    gc.collect()
    assert used.get_tuple(config()) is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        unused.execute("SELECT 1")
    for connection in connections:
        connection.close()


def test_the_garbage_collector_does_not_wait_for_a_server_that_is_closed(monkeypatch):
    class Found:
        def __init__(self):
            self.circle = self

    began, go, closed = threading.Event(), threading.Event(), threading.Event()

    def close():
        began.set()
        go.wait(20)
        closed.set()

    monkeypatch.setattr(opening, "_open", lambda placed: (Found(), close))
    opened = opening._Opened()
    opened.get(SimpleNamespace(key="1"))
    opened._kept.clear()
    gc.collect()
    assert began.wait(60)
    assert not closed.is_set()
    go.set()
    assert closed.wait(60)


def test_a_file_that_is_not_there_is_never_made(tmp_path, connection, elsewhere):
    placed = place(SqliteSaver(connection))
    missing = str(tmp_path / "missing.db")
    settings = dumps_code({**loads(placed.settings), "path": missing})
    with pytest.raises(RunError, match=r"SqliteSaver \(.*a\?b.db\) cannot be opened on host"):
        open_resource(dataclasses.replace(placed, settings=settings), elsewhere())
    assert not (tmp_path / "missing.db").exists()


def test_a_store_in_a_file_keeps_its_settings(connection, elsewhere):
    connection.isolation_level = None
    store = SqliteStore(connection, ttl={"default_ttl": 60})
    store.setup()
    store.put(("a",), "k", {"v": 1})
    opened = open_resource(place(store), elsewhere())
    assert opened.ttl_config == {"default_ttl": 60}
    assert opened.get(("a",), "k").value == {"v": 1}
    opened.put(("a",), "l", {"v": 2})
    assert store.get(("a",), "l").value == {"v": 2}


def test_what_a_function_captures_is_not_copied(elsewhere):
    store = InMemoryStore()
    blob = dumps_code(lambda: store.put(("a",), "k", {"v": 1}))
    elsewhere()
    loads(blob)()
    assert store.get(("a",), "k").value == {"v": 1}


def test_one_that_could_be_copied_is_not(elsewhere):
    store = Plain()
    place(store)
    blob = dumps_data({"store": store})
    elsewhere()
    loads(blob)["store"].put(("a",), "k", {"v": 1})
    assert store.get(("a",), "k").value == {"v": 1}


def test_a_file_is_called_where_it_may_be_opened(connection, elsewhere):
    saver = SqliteSaver(connection)
    blob = dumps_data({"saver": saver})
    reach = elsewhere()
    remote = loads(blob)["saver"]
    assert type(remote) is RemoteSaver
    saved(remote, a=1)
    assert saver.get_tuple(config()).checkpoint["channel_values"] == {"a": 1}
    assert not reach.calls


def test_what_a_node_makes_itself_is_copied(elsewhere):
    elsewhere()
    store = InMemoryStore()
    store._vectors = {}
    store._data = {}
    copy = loads(dumps_code(store))
    assert type(copy) is InMemoryStore
    assert copy is not store


def test_a_stand_in_that_nothing_can_reach_says_so(elsewhere, monkeypatch):
    blob = dumps_data(InMemoryStore())
    elsewhere()
    monkeypatch.setattr(opening, "_provider", None)
    remote = loads(blob)
    assert type(remote) is RemoteStore
    with pytest.raises(RunError, match="InMemoryStore belongs to another process"):
        remote.get(("a",), "k")


def test_a_serializer_keeps_its_settings():
    serde = JsonPlusSerializer(
        pickle_fallback=True, allowed_msgpack_modules=[("tests.persistence.savers", "Rot13")]
    )
    blob = dumps_code(serde)
    carried = loads(blob)
    assert len(blob) < 400
    for name in ("pickle_fallback", "_allowed_json_modules", "_allowed_msgpack_modules"):
        assert getattr(carried, name) == getattr(serde, name)
    assert carried.loads_typed(serde.dumps_typed({"a": {1, 2}})) == {"a": {1, 2}}


# --- PostgreSQL -----------------------------------------------------------------------------------


def test_a_driver_connects_to_postgres(postgres, elsewhere):
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(postgres.new_database()) as saver:
        saver.setup()
        placed = place(saver)
        opened = saver_for_driver(placed, elsewhere())
        assert type(opened) is PostgresSaver
        first = saved(opened, step=0, a=1)
        opened.put_writes(first, [("a", 2)], "task", "path")
        found = saver.get_tuple(config())
    assert found.checkpoint["channel_values"] == {"a": 1}
    assert found.pending_writes == [("task", "a", 2)]
    opened.conn.close()


def test_a_store_in_postgres(postgres, elsewhere):
    from langgraph.store.postgres import PostgresStore

    url = postgres.new_database()
    with PostgresStore.from_conn_string(url, pool_config={"min_size": 1, "max_size": 2}) as store:
        store.setup()
        placed = place(store)
        opened = open_resource(placed, elsewhere())
        opened.put(("a",), "k", {"v": 1})
        assert store.get(("a",), "k").value == {"v": 1}
    opened.conn.close()


def test_a_shallow_saver_stays_one(postgres, elsewhere):
    from langgraph.checkpoint.postgres.shallow import ShallowPostgresSaver

    with (
        pytest.warns(DeprecationWarning),
        ShallowPostgresSaver.from_conn_string(postgres.url()) as saver,
    ):
        placed = place(saver)
    with pytest.warns(DeprecationWarning):
        opened = open_resource(placed, elsewhere())
    assert type(opened) is ShallowPostgresSaver
    opened.conn.close()


def test_a_server_that_refuses_is_named_without_its_password(postgres, elsewhere):
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(postgres.url(password="wr0ng"), open=False)
    told = r"PostgresSaver \(postgres on 127.0.0.1:\d+\) cannot be opened.*authentication failed"
    with pytest.raises(RunError, match=f"(?s){told}") as caught:
        open_resource(place(PostgresSaver(pool)), elsewhere())
    assert "wr0ng" not in str(caught.value)
