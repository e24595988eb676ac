"""Deciding where a saver, store or cache lives.

The driver opens a file, because it runs on the machine of the caller. Each process that needs a
server connects to the server. Everything else (in memory, or of a class that is
not known here) is one object in the process of its owner, and is called there.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from distgraph.errors import UnsupportedError
from distgraph.persistence import hosting, sync_or_async
from distgraph.persistence.kept_references import keeps_references
from distgraph.persistence.placed import Kind, Placed, Role
from distgraph.serde.pickling import dumps_code

__all__ = ("Description", "any_elsewhere", "check", "place", "role_of")


class Description(NamedTuple):
    """Description of a resource by the module for its kind of database."""

    kind: Kind
    opens: str
    """Name of the class to open."""
    detail: str
    settings: dict[str, Any]
    everywhere: bool = False


def settings_of(resource: Any) -> dict[str, Any]:
    """Return the arguments with which a saver, store or cache is opened again."""
    if not sync_or_async.type_name(resource).endswith("Store"):
        return {"serde": resource.serde}
    index = getattr(resource, "index_config", None)
    return {
        "deserializer": getattr(resource, "_deserializer", None),
        "index": index and {k: v for k, v in index.items() if not k.startswith("__")},
        "ttl": getattr(resource, "ttl_config", None),
    }


_KNOWN = {
    "langgraph.checkpoint.sqlite.SqliteSaver": "sqlite",
    "langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver": "sqlite",
    "langgraph.store.sqlite.base.SqliteStore": "sqlite",
    "langgraph.store.sqlite.aio.AsyncSqliteStore": "sqlite",
    "langgraph.cache.sqlite.SqliteCache": "sqlite",
    "langgraph.checkpoint.postgres.PostgresSaver": "postgres",
    "langgraph.checkpoint.postgres.aio.AsyncPostgresSaver": "postgres",
    "langgraph.checkpoint.postgres.shallow.ShallowPostgresSaver": "postgres",
    "langgraph.checkpoint.postgres.shallow.AsyncShallowPostgresSaver": "postgres",
    "langgraph.store.postgres.base.PostgresStore": "postgres",
    "langgraph.store.postgres.aio.AsyncPostgresStore": "postgres",
    "langgraph.cache.redis.RedisCache": "redis",
}
"""Exact classes that are opened elsewhere, and the module here that knows how. A subclass may keep
more than its base knows of: it is called where it is."""

_BASES: dict[str, Role] = {
    "langgraph.checkpoint.base.BaseCheckpointSaver": "checkpointer",
    "langgraph.store.base.BaseStore": "store",
    "langgraph.cache.base.BaseCache": "cache",
    "langchain_core.rate_limiters.BaseRateLimiter": "limiter",
    "langchain_core.caches.BaseCache": "llm_cache",
}

_REMEDIES: dict[Role, str] = {
    "checkpointer": "a BaseCheckpointSaver, such as InMemorySaver(), SqliteSaver or PostgresSaver",
    "store": "a BaseStore, such as InMemoryStore(), SqliteStore or PostgresStore",
    "cache": "a BaseCache, such as InMemoryCache() or SqliteCache(path=...)",
    "limiter": "a BaseRateLimiter, such as InMemoryRateLimiter()",
    "llm_cache": "a BaseCache of langchain_core, such as InMemoryCache()",
}


def _names(cls: type) -> list[str]:
    return [f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__]


def role_of(resource: object) -> Role | None:
    """Return the role of a resource by its class; None for other objects."""
    for name in _names(type(resource)):
        if name in _BASES:
            return _BASES[name]
    return None


def check(resource: Any, role: Role, backend: Any) -> None:
    """Refuse what cannot work with a backend, when the graph is compiled.

    Args:
        resource: What was given. None, True and False are left to the caller.
        role: Under which option of ``compile``.
        backend: Name of the backend, or the backend.

    Raises:
        TypeError: It is none of LangGraph's savers, stores or caches.
        UnsupportedError: It cannot work on this backend; the message has the remedy.
    """
    if resource is None or isinstance(resource, bool):
        return
    found = role_of(resource)
    if found is None and role == "store" and not _is_unopened(resource):
        return  # LangGraph takes any object for a store: it travels as data
    if found != role:
        raise TypeError(
            f"Invalid {role} provided: it must be {_REMEDIES[role]}, got {_class_name(resource)}"
        )
    if getattr(backend, "name", backend) != "local":
        place(resource)


def _is_unopened(resource: Any) -> bool:
    return sync_or_async.type_name(resource).endswith("GeneratorContextManager")


def _class_name(resource: Any) -> str:
    name = sync_or_async.type_name(resource)
    if hasattr(resource, "__enter__") and name == "_GeneratorContextManager":
        return (
            "a context manager: enter it, as in `with SqliteSaver.from_conn_string(...) as saver:`"
        )
    if hasattr(resource, "__aenter__") and name == "_AsyncGeneratorContextManager":
        return (
            "an async context manager: enter it, as in "
            "`async with AsyncSqliteSaver.from_conn_string(...) as saver:`"
        )
    if isinstance(resource, type):
        return f"the class {resource.__qualname__}: give an instance of it"
    return name


def place(resource: Any) -> Placed:
    """Decide where a saver, store or cache lives, as seen from the process that made it.

    Raises:
        TypeError: It is none of these.
        UnsupportedError: It can be used neither elsewhere nor from other threads of this process.
    """
    already = getattr(resource, "distgraph_placed", None)
    if isinstance(already, Placed):
        return already
    role = role_of(resource)
    if role is None:
        raise TypeError(
            f"{_class_name(resource)} is no checkpoint saver, store or cache of LangGraph"
        )
    name = sync_or_async.type_name(resource)
    traits = _traits(resource, role)
    module = _KNOWN.get(_names(type(resource))[0])
    if module is not None:
        described: Description | None = _module(module).describe(resource)
        settings = None if described is None else _pickled(described.settings)
        if described is not None and settings is not None:
            opener = f"{module}:{described.opens}"
            key = hashlib.sha256(opener.encode() + settings).hexdigest()
            hosting.host().know(key, resource)
            global _any_elsewhere
            _any_elsewhere = True
            return Placed(
                role=role,
                kind=described.kind,
                key=key,
                label=f"{name} ({described.detail})",
                opener=opener,
                settings=settings,
                traits=traits,
                everywhere=described.everywhere,
            )
        if hasattr(_module(module), "check_threads"):
            _module(module).check_threads(resource)
    _check_loop(resource, name)
    key = hosting.host().hold(resource)
    return Placed(role=role, kind="caller", key=key, label=name, traits=traits)


_any_elsewhere = False


def any_elsewhere() -> bool:
    """Whether another process has opened a saver, store or cache of this one, or may do so."""
    return _any_elsewhere


def _module(name: str) -> Any:
    return importlib.import_module(f"distgraph.persistence.{name}")


def _pickled(settings: dict[str, Any]) -> bytes | None:
    """Return the settings as bytes, None where a part of them exists in this process only."""
    try:
        return dumps_code(settings)
    except Exception:
        return None


def _check_loop(resource: Any, name: str) -> None:
    loop = sync_or_async.loop_of(resource)
    if loop is not None and loop.is_closed():
        raise UnsupportedError(
            f"{name} belongs to an event loop that is closed. Make it, and run the graph, within "
            "one asyncio.run(...), or use its synchronous counterpart"
        )


_ASK_AGAIN = 0.1
"""Seconds between two requests to a rate limiter that does not state its polling interval."""


def _traits(resource: Any, role: Role) -> dict[str, Any]:
    cls: Any = type(resource)
    traits: dict[str, Any] = {"own": own} if (own := _own(cls)) else {}
    if role in ("checkpointer", "store", "cache") and (
        awaited := sync_or_async.own_async_methods(cls)
    ):
        traits["awaited"] = awaited
    if role == "checkpointer":
        traits["versions"] = _versions(resource)
        if keeps_references(resource):
            traits["keeps_references"] = True
    elif role == "limiter":
        traits["interval"] = getattr(resource, "check_every_n_seconds", _ASK_AGAIN)
    elif role == "store":
        traits["supports_ttl"] = bool(getattr(resource, "supports_ttl", False))
        traits["ttl_config"] = getattr(resource, "ttl_config", None)
    return traits


Own = Literal["method", "async", "items", "property"]
"""Kind of a class attribute: a method, an awaited method, an async iterator, or a property."""


@lru_cache(maxsize=256)
def _own(cls: type) -> Mapping[str, Own]:
    """Return the public methods and properties of a class that LangGraph's base lacks."""
    found: dict[str, Own] = {}
    for base in cls.__mro__:
        if f"{base.__module__}.{base.__qualname__}" in _BASES:
            return {name: kind for name, kind in found.items() if not hasattr(base, name)}
        for name, value in vars(base).items():
            kind = None if name.startswith("_") else _kind(value)
            if kind is not None:
                found.setdefault(name, kind)
    return found


def _kind(value: Any) -> Own | None:
    function = getattr(value, "__func__", value)
    if isinstance(value, (property, cached_property)):
        return "property"
    if inspect.iscoroutinefunction(function):
        return "async"
    if inspect.isasyncgenfunction(function):
        return "items"
    return "method" if callable(function) else None


_TEXT_VERSIONS = (
    "langgraph.checkpoint.memory",
    "langgraph.checkpoint.sqlite",
    "langgraph.checkpoint.postgres",
)


def _versions(saver: Any) -> Literal["count", "text", "ask"]:
    """Return how a saver numbers the versions of channels."""
    for cls in type(saver).__mro__:
        if "get_next_version" in cls.__dict__:
            if cls.__module__ == "langgraph.checkpoint.base":
                return "count"
            return "text" if cls.__module__.startswith(_TEXT_VERSIONS) else "ask"
    return "ask"
