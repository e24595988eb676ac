"""Where a saver, store or cache lives, and what is refused when a graph is compiled."""

import asyncio
import os
import pickle
import sqlite3
import threading

import aiosqlite
import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.cache.sqlite import SqliteCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from distgraph.errors import UnsupportedError
from distgraph.persistence import check, place
from distgraph.persistence.postgres import is_of_this_machine
from distgraph.serde.pickling import loads
from tests.persistence.savers import AsyncOnly, Bound, Rot13


class OwnSaver(SqliteSaver):
    pass


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "a file.db")


@pytest.fixture
def connection(file):
    made = sqlite3.connect(file, check_same_thread=False)
    yield made
    made.close()


@pytest.mark.parametrize("make", [InMemorySaver, InMemoryStore, InMemoryCache, AsyncOnly])
def test_what_is_in_memory_or_unknown_stays_with_its_owner(make):
    resource = make()
    placed = place(resource)
    assert (placed.kind, placed.label) == ("caller", make.__name__)
    assert place(resource) == placed
    another = make()
    assert place(another).key != placed.key


def test_a_sqlite_file_is_placed_by_its_path(connection, file):
    placed = place(SqliteSaver(connection))
    assert (placed.role, placed.kind) == ("checkpointer", "file")
    assert loads(placed.settings)["path"] == os.path.realpath(file)
    assert placed.label == f"SqliteSaver ({os.path.realpath(file)})"
    assert place(SqliteSaver(connection)).key == placed.key
    assert place(SqliteStore(connection)).kind == "file"
    assert place(SqliteCache(path=file)).kind == "file"


def test_a_subclass_is_called_where_it_is(connection):
    assert place(OwnSaver(connection)).kind == "caller"


def test_a_database_in_memory_is_an_object_of_its_owner():
    with sqlite3.connect(":memory:", check_same_thread=False) as connection:
        assert place(SqliteSaver(connection)).kind == "caller"
    assert place(SqliteCache(path=":memory:")).kind == "caller"


def test_a_file_that_was_removed_is_an_object_of_its_owner(connection, file):
    os.remove(file)
    assert place(SqliteSaver(connection)).kind == "caller"


def test_an_async_sqlite_saver_is_opened_by_its_synchronous_form(file):
    async def main():
        async with AsyncSqliteSaver.from_conn_string(file) as saver:
            return place(saver), saver

    placed, saver = asyncio.run(main())
    assert (placed.kind, placed.opener) == ("file", "sqlite:SqliteSaver")
    with pytest.raises(UnsupportedError, match="AsyncSqliteSaver: its connection is closed"):
        place(saver)


def test_an_async_database_in_memory_stays_on_its_loop():
    async def main():
        async with aiosqlite.connect(":memory:") as connection:
            return place(AsyncSqliteSaver(connection)).kind

    assert asyncio.run(main()) == "caller"


def test_a_closed_connection_is_refused(connection):
    saver = SqliteSaver(connection)
    connection.close()
    with pytest.raises(UnsupportedError, match="connection is closed.*from_conn_string"):
        check(saver, "checkpointer", "ray")


def test_a_connection_of_one_thread_in_memory_is_refused():
    with sqlite3.connect(":memory:") as connection:
        with pytest.raises(UnsupportedError, match="check_same_thread=False"):
            check(SqliteSaver(connection), "checkpointer", "ray")
        check(SqliteSaver(connection), "checkpointer", "local")


def test_a_connection_of_another_thread_is_refused(file):
    made = []
    thread = threading.Thread(target=lambda: made.append(SqliteSaver(sqlite3.connect(file))))
    thread.start()
    thread.join()
    with pytest.raises(UnsupportedError, match="only be used by the thread that made it"):
        check(made[0], "checkpointer", "ray")


def test_a_saver_of_a_closed_loop_is_refused():
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(UnsupportedError, match="Bound belongs to an event loop that is closed"):
        check(Bound(loop), "checkpointer", "ray")


def test_the_serializer_is_carried_over(connection):
    serde = EncryptedSerializer(Rot13())
    carried = loads(place(SqliteSaver(connection, serde=serde)).settings)["serde"]
    kind, blob = carried.dumps_typed({"a": 1})
    assert kind == "msgpack+rot"
    assert serde.loads_typed((kind, blob)) == {"a": 1}


def test_the_default_serializer_travels_as_its_settings(connection):
    assert len(place(SqliteSaver(connection)).settings) < 400


def test_a_serializer_that_cannot_travel_keeps_its_saver_here(connection):
    cipher = Rot13()
    cipher.lock = threading.Thread()
    assert place(SqliteSaver(connection, serde=EncryptedSerializer(cipher))).kind == "caller"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (SqliteSaver.from_conn_string("x"), "got a context manager: enter it, as in `with "),
        (AsyncSqliteSaver.from_conn_string("x"), "got an async context manager: enter it"),
        (InMemorySaver, "got the class InMemorySaver: give an instance"),
        (InMemoryStore(), "got InMemoryStore"),
        ("memory", "must be a BaseCheckpointSaver, such as"),
    ],
)
@pytest.mark.parametrize("backend", ["ray", "local"])
def test_what_is_no_saver_is_refused(given, told, backend):
    with pytest.raises(TypeError, match=told):
        check(given, "checkpointer", backend)


@pytest.mark.parametrize("given", [None, True, False])
def test_what_says_whether_to_save_is_left_to_the_graph(given):
    check(given, "checkpointer", "ray")


def test_a_store_may_be_any_object_but_not_an_unopened_one():
    check({"a": 1}, "store", "ray")
    with pytest.raises(TypeError, match="enter it"):
        check(SqliteStore.from_conn_string("x"), "store", "ray")


# --- PostgreSQL -----------------------------------------------------------------------------------


def test_a_postgres_connection_is_placed_by_its_parameters(postgres):
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(postgres.url()) as saver:
        placed = place(saver)
        settings = loads(placed.settings)
    assert (placed.kind, placed.everywhere) == ("server", False)
    assert placed.label == f"PostgresSaver (postgres on 127.0.0.1:{postgres.port})"
    assert f"password={postgres.password}" in settings["conninfo"]
    assert settings["kwargs"] == {"prepare_threshold": 0}
    assert postgres.password not in repr(placed)
    pickle.loads(pickle.dumps(placed))
    with pytest.raises(UnsupportedError, match="PostgresSaver: its connection is closed"):
        place(saver)


def test_a_postgres_pool_is_placed_by_its_parameters(postgres):
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg_pool import ConnectionPool

    kwargs = {"autocommit": True, "prepare_threshold": None}
    with ConnectionPool(postgres.url(), kwargs=kwargs, min_size=0, max_size=7, open=True) as pool:
        settings = loads(place(PostgresSaver(pool)).settings)
    assert settings["conninfo"] == postgres.url()
    assert settings["kwargs"] == {"prepare_threshold": None}
    assert settings["pool"]["max_size"] == 7


def test_a_pool_with_code_of_its_own_stays_with_its_owner(postgres):
    from langgraph.store.postgres import PostgresStore
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(lambda: postgres.url(), open=False)
    assert place(PostgresStore(pool)).kind == "caller"


def test_async_postgres_is_opened_by_its_synchronous_form(postgres):
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async def main():
        async with AsyncPostgresSaver.from_conn_string(postgres.url()) as saver:
            return place(saver)

    assert asyncio.run(main()).opener == "postgres:PostgresSaver"


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("", True),
        ("/var/run/postgresql", True),
        ("localhost", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("db.example.com,localhost", True),
        ("db.example.com", False),
        ("10.0.0.5", False),
    ],
)
def test_a_server_is_of_this_machine_by_its_name(host, here):
    assert is_of_this_machine(host) is here


def test_a_redis_cache_is_placed_by_its_parameters():
    redis = pytest.importorskip("redis")
    from langgraph.cache.redis import RedisCache

    from distgraph.persistence.redis import open_described

    client = redis.Redis("cache.example.com", 6380, db=2, password="secret", socket_timeout=3)
    placed = place(RedisCache(client, prefix="mine:"))
    assert (placed.kind, placed.label) == ("server", "RedisCache (cache.example.com:6380)")
    cache, close = open_described("RedisCache", loads(placed.settings))
    close()
    kwargs = cache.redis.connection_pool.connection_kwargs
    found = [kwargs[name] for name in ("host", "port", "db", "password", "socket_timeout")]
    assert found == ["cache.example.com", 6380, 2, "secret", 3]
    assert cache.prefix == "mine:"
