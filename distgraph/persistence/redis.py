"""A cache in Redis: opened by the driver, from the client's connection parameters."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distgraph.persistence.placing import Description

__all__ = ("describe", "open_described")


_CODE = ("credential_provider", "redis_connect_func")
"""Parameters that are code of the owner's process."""


def describe(resource: Any) -> Description | None:
    """Return the description of a cache's server; None if it cannot be determined."""
    client = resource.redis
    if f"{type(client).__module__}.{type(client).__qualname__}" != "redis.client.Redis":
        return None
    pool = client.connection_pool
    given = pool.connection_kwargs
    if any(given.get(name) is not None for name in _CODE):
        return None
    kwargs = {
        name: value
        for name, value in given.items()
        if isinstance(value, (str, int, float, bytes)) and not name.startswith("orig_")
    }
    where = given.get("path") or f"{given.get('host')}:{given.get('port')}"
    settings = {
        "pool": type(pool),
        "connection": pool.connection_class,
        "kwargs": kwargs,
        "max": getattr(pool, "max_connections", None),
        "serde": resource.serde,
        "prefix": resource.prefix,
    }
    return Description("server", "RedisCache", str(where), settings)


def open_described(opens: str, settings: dict[str, Any]) -> tuple[Any, Callable[[], None]]:
    """Make a client; returns the cache, and what closes it. It connects when it is first used."""
    from langgraph.cache.redis import RedisCache

    redis = importlib.import_module("redis")

    kwargs, most = settings["kwargs"], settings["max"]
    sized = {} if most is None else {"max_connections": most}
    pool = settings["pool"](connection_class=settings["connection"], **sized, **kwargs)
    cache: Any = RedisCache(
        redis.Redis(connection_pool=pool), serde=settings["serde"], prefix=settings["prefix"]
    )

    def close() -> None:
        with suppress(Exception):
            pool.disconnect()

    return cache, close
