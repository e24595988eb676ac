"""Savers and stores in PostgreSQL: each process connects with the connection parameters."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from distgraph.errors import UnsupportedError
from distgraph.persistence.placing import Description, settings_of
from distgraph.persistence.sync_or_async import type_name

__all__ = ("describe", "is_of_this_machine", "open_described")

_CONNECT = 10
"""Seconds to connect, where the parameters do not say."""

_IDLE = 60.0
"""Seconds after which a connection that is not used is closed."""

_MOST = 4
"""Connections of one process, where the owner's connection was not a pool."""

_CLOSE = 1.0
"""Seconds that a pool's threads have to end."""

_POOL = ("max_lifetime", "reconnect_timeout", "timeout")
"""Settings of a connection pool that are copied, besides the size."""


def describe(resource: Any) -> Description | None:
    """Return the description of a saver's or store's server; None if it cannot be determined.

    Raises:
        UnsupportedError: The resource's connection is closed.
    """
    name = type_name(resource)
    reached = _of_pool(resource.conn) if _is_pool(resource.conn) else _of_one(resource.conn, name)
    if reached is None:
        return None
    from psycopg.conninfo import conninfo_to_dict

    settings = {**reached, **settings_of(resource)}
    parameters = conninfo_to_dict(settings["conninfo"])
    parameters |= {k: v for k, v in settings["kwargs"].items() if k in ("host", "port", "dbname")}
    host = str(parameters.get("hostaddr") or parameters.get("host") or "")
    where = f"{parameters.get('dbname') or 'default database'} on {host or 'a local socket'}"
    if parameters.get("port"):
        where += f":{parameters['port']}"
    opens = name.removeprefix("Async")
    return Description("server", opens, where, settings, everywhere=not is_of_this_machine(host))


def _is_pool(connection: Any) -> bool:
    return hasattr(connection, "conninfo") and hasattr(connection, "max_size")


def _is_plain(cls: type) -> bool:
    return cls.__name__ in ("Connection", "AsyncConnection") and cls.__module__.startswith(
        "psycopg"
    )


def _of_one(connection: Any, name: str) -> dict[str, Any] | None:
    if not _is_plain(type(connection)):
        return None
    if connection.closed:
        raise UnsupportedError(
            f"{name}: its connection is closed. Compile and run the graph inside of "
            f"`with {name}.from_conn_string(...)`, or give a ConnectionPool"
        )
    from psycopg.conninfo import make_conninfo

    encoding = connection.info.encoding
    given = {
        option.keyword.decode(): option.val.decode(encoding)
        for option in connection.pgconn.info
        if option.val is not None and option.val != option.compiled
    }
    if given.get("host"):  # psycopg has resolved it: elsewhere, or later, it may be another
        given.pop("hostaddr", None)
    return {
        "conninfo": make_conninfo(**given),
        "kwargs": {"prepare_threshold": connection.prepare_threshold},
        "pool": {"max_size": _MOST},
    }


def _of_pool(pool: Any) -> dict[str, Any] | None:
    kwargs = pool.kwargs or {}
    own_code = (
        pool.conninfo,
        kwargs,
        getattr(pool, "_configure", None),
        getattr(pool, "_reset", None),
    )
    if any(map(callable, own_code)) or not _is_plain(pool.connection_class):
        return None  # what is more than parameters stays where it is
    kept = {option: getattr(pool, option) for option in _POOL if hasattr(pool, option)}
    return {
        "conninfo": pool.conninfo,
        "kwargs": {k: v for k, v in kwargs.items() if k not in ("autocommit", "row_factory")},
        "pool": {**kept, "max_size": pool.max_size},
    }


def is_of_this_machine(host: str) -> bool:
    """Whether the host name of a server is valid on this machine only, such as ``localhost``."""
    names = [name.strip() for name in host.split(",")]
    return any(_is_local(name) for name in names)


def _is_local(name: str) -> bool:
    if not name or name.startswith(("/", "@")) or name.partition(".")[0] == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def open_described(opens: str, settings: dict[str, Any]) -> tuple[Any, Callable[[], None]]:
    """Connect; returns the saver or store, and what closes it."""
    import psycopg
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    kwargs: dict[str, Any] = {
        "prepare_threshold": 0,
        "connect_timeout": _CONNECT,
        **settings["kwargs"],
        "autocommit": True,
        "row_factory": dict_row,
    }
    # a pool would report only a timeout, not the cause
    psycopg.connect(settings["conninfo"], **kwargs).close()
    pool: Any = ConnectionPool(
        settings["conninfo"],
        kwargs=kwargs,
        min_size=0,
        max_idle=_IDLE,
        num_workers=1,
        open=True,
        name="distgraph",
        check=ConnectionPool.check_connection,
        **settings["pool"],
    )
    made: Any
    if opens == "PostgresStore":
        from langgraph.store.postgres import PostgresStore

        options = {k: settings[k] for k in ("deserializer", "index", "ttl")}
        made = PostgresStore(pool, **options)
    elif opens == "ShallowPostgresSaver":
        from langgraph.checkpoint.postgres.shallow import ShallowPostgresSaver

        made = ShallowPostgresSaver(pool, serde=settings["serde"])
    else:
        from langgraph.checkpoint.postgres import PostgresSaver

        made = PostgresSaver(pool, serde=settings["serde"])
    return made, lambda: pool.close(_CLOSE)
