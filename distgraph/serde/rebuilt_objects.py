"""Objects that a worker gets with their settings, and without what they have opened."""

from __future__ import annotations

import functools
import importlib
import random
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from distgraph.concurrency.forking import free_in_forks
from distgraph.errors import SerializationError
from distgraph.serde import live

__all__ = ("RULES",)


# --- the standard library ------------------------------------------------------------------------


def _reduce_system_random(source: Any) -> Any:
    return (random.SystemRandom if type(source) is random.SystemRandom else type(source)), ()


def _reduce_weak_method(reference: Any) -> Any:
    return _weak_method, (reference(),)


class _Gone:
    """Owner of a weak reference's method that has gone already."""

    def method(self) -> None: ...


class _HoldingMethod(weakref.WeakMethod[Any]):
    """A reference that keeps its object: at the receiver nothing else may refer to it."""

    held: Any


def _weak_method(method: Any) -> Any:
    if method is None:
        return weakref.WeakMethod(_Gone().method)
    reference = _HoldingMethod(method)
    reference.held = method
    return reference


def _reduce_file_handler(handler: Any) -> Any:
    """Reduce a log handler to its path: the receiver opens the file at the first record.

    It appends, whatever the original did: the file is not to be emptied by each process.
    """
    state = {**vars(handler), "stream": None, "mode": handler.mode.replace("w", "a")}
    return _with_state, (type(handler), state)


def _with_state(cls: Any, state: dict[str, Any]) -> Any:
    made = cls.__new__(cls)
    made.__dict__.update(state)
    return made


# --- SQLAlchemy ----------------------------------------------------------------------------------


def _check_engine(engine: Any) -> Any:
    """Refuse the engine of a database that exists in the memory of one process."""
    url = engine.url
    if url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    ):
        raise SerializationError(
            "a SQLite database in memory exists in one process only. Remedy: keep it in a file, "
            "or make it in a function with @functools.lru_cache that the nodes call"
        )
    return NotImplemented


def _reduce_pool(pool: Any) -> Any:
    """Reduce a pool of connections to an empty one with the same settings and listeners."""
    return pool.recreate().__reduce_ex__(4)


# --- aiohttp -------------------------------------------------------------------------------------

_SESSION = {
    "base_url": "_base_url",
    "headers": "_default_headers",
    "skip_auto_headers": "_skip_auto_headers",
    "auth": "_default_auth",
    "json_serialize": "_json_serialize",
    "version": "_version",
    "raise_for_status": "_raise_for_status",
    "timeout": "_timeout",
    "auto_decompress": "_auto_decompress",
    "trust_env": "_trust_env",
    "requote_redirect_url": "_requote_redirect_url",
    "read_bufsize": "_read_bufsize",
    "proxy": "_default_proxy",
    "proxy_auth": "_default_proxy_auth",
    "middlewares": "_middlewares",
}
"""Attributes of a session that hold its constructor arguments."""

_CONNECTOR = {
    "limit": "_limit",
    "limit_per_host": "_limit_per_host",
    "ssl": "_ssl",
    "force_close": "_force_close",
    "use_dns_cache": "_use_dns_cache",
}


def _reduce_session(session: Any) -> Any:
    """Reduce an ``aiohttp.ClientSession``: the receiver opens it in the loop that first uses it."""
    cls = type(session)
    if issubclass(cls, _Unopened):
        return _session, object.__getattribute__(session, "__dict__")["_made_from"]
    connector = session._connector
    if connector is None or type(connector).__name__ != "TCPConnector" or session._trace_configs:
        raise SerializationError(
            "an aiohttp session that is closed, or has a connector or traces of its own, exists in "
            "one process only. Remedy: open it in the node that uses it, with `async with "
            "aiohttp.ClientSession() as session:`"
        )
    settings = {k: getattr(session, v) for k, v in _SESSION.items() if hasattr(session, v)}
    settings["headers"] = list(settings["headers"].items())
    settings["skip_auto_headers"] = list(map(str, settings["skip_auto_headers"]))
    settings["cookies"] = {morsel.key: morsel.value for morsel in session.cookie_jar}
    of_connector = {
        k: getattr(connector, v) for k, v in _CONNECTOR.items() if hasattr(connector, v)
    }
    return _session, (cls, settings, of_connector, live.known.token(session))


class _Unopened:
    """Base class of sessions that are opened at their first use."""


@functools.lru_cache(maxsize=16)
def _unopened(cls: Any) -> Any:
    def opened(self: Any) -> Any:
        connector = importlib.import_module("aiohttp").TCPConnector
        _, settings, pooling, _ = object.__getattribute__(self, "__dict__").pop("_made_from")
        self.__class__ = cls
        cls.__init__(self, connector=connector(**pooling), **settings)
        return self

    def find(self: Any, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        with _opening:
            session = opened(self) if isinstance(self, _Unopened) else self
        return getattr(session, name)

    members = {"__getattribute__": find, "__del__": lambda self: None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # aiohttp's, on classes derived from a session
        return type(cls.__name__, (_Unopened, cls), members)


_opening = free_in_forks(threading.RLock())


def _session(*made_from: Any) -> Any:
    def make() -> Any:
        kind = _unopened(made_from[0])
        made = kind.__new__(kind)
        object.__getattribute__(made, "__dict__")["_made_from"] = made_from
        return made

    return live.known.get(made_from[3], make)


# --- redis ----------------------------------------------------------------------------------------

_OF_POOL = frozenset(
    {
        "event_dispatcher",
        "himport_registry",
        "maint_notifications_pool_handler",
        "orig_host_address",
        "orig_socket_connect_timeout",
        "orig_socket_timeout",
        "oss_cluster_maint_notifications_handler",
    }
)
"""Arguments of connections that a pool adds by itself."""

_BLOCKING = ("timeout", "queue_class")
"""Arguments of a pool that waits for a free connection, beside those of every pool."""


def _reduce_redis_pool(pool: Any) -> Any:
    """Reduce a pool of redis: the receiver connects anew."""
    cls = type(pool)
    if cls.__name__ not in ("ConnectionPool", "BlockingConnectionPool"):
        raise SerializationError(
            f"a pool of redis of the class {cls.__qualname__} exists in one process only. Remedy: "
            "make the client in a function with @functools.lru_cache that the node calls"
        )
    kept = {name: vars(pool)[name] for name in _BLOCKING if name in vars(pool)}
    kept |= {k: v for k, v in pool.connection_kwargs.items() if k not in _OF_POOL}
    return _redis_pool, (cls, pool.connection_class, pool.max_connections, kept)


def _redis_pool(cls: Any, connection: Any, most: int, settings: dict[str, Any]) -> Any:
    return cls(connection_class=connection, max_connections=most, **settings)


def _reduce_redis(client: Any) -> Any:
    """Reduce a client of redis. A class derived from it keeps its own attributes."""
    cls = type(client)
    base = next(b for b in cls.__mro__ if b.__name__ == "Redis" and b.__module__ in _REDIS)
    single = bool(getattr(client, "single_connection_client", None))
    single = single or bool(getattr(client, "_single_connection_client", None))
    own = {}
    if cls is not base:
        known = vars(base(connection_pool=client.connection_pool))
        own = {name: value for name, value in vars(client).items() if name not in known}
    closes = getattr(client, "auto_close_connection_pool", False)
    return _redis, (cls, base, client.connection_pool, single, closes, own)


_REDIS = frozenset({"redis.client", "redis.asyncio.client"})


def _redis(cls: Any, base: Any, pool: Any, single: bool, closes: bool, own: Any) -> Any:
    client = cls.__new__(cls)
    base.__init__(client, connection_pool=pool, single_connection_client=single)
    client.auto_close_connection_pool = closes
    client.__dict__.update(own)
    return client


RULES: dict[str, Callable[[Any], Any]] = {
    "random.SystemRandom": _reduce_system_random,
    "weakref.WeakMethod": _reduce_weak_method,
    "logging.FileHandler": _reduce_file_handler,
    "sqlalchemy.engine.base.Engine": _check_engine,
    "sqlalchemy.pool.base.Pool": _reduce_pool,
    "aiohttp.client.ClientSession": _reduce_session,
    "redis.client.Redis": _reduce_redis,
    "redis.asyncio.client.Redis": _reduce_redis,
    "redis.connection.ConnectionPool": _reduce_redis_pool,
    "redis.asyncio.connection.ConnectionPool": _reduce_redis_pool,
}
"""Reduce functions, by the qualified name of a type or of one of its bases."""
