"""Stand-ins for savers, stores and caches that live in another process."""

from __future__ import annotations

import dataclasses
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial, partialmethod
from random import random
from typing import Any

from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import NOT_PROVIDED, BaseStore

from distgraph.errors import SerializationError
from distgraph.persistence.growing_lists import ForgottenLists, SentLists
from distgraph.persistence.placed import Placed
from distgraph.persistence.remote_resources import SAVE, Reach
from distgraph.serde.configs import Trip

__all__ = ("RemoteCache", "RemoteSaver", "RemoteStore", "stand_in")


class Remote:
    """Base class of proxies: a proxy is pickled as the location of its resource."""

    distgraph_placed: Placed
    _reach: Reach

    def _stand_for(self, placed: Placed, reach: Reach) -> None:
        self.distgraph_placed = placed
        self._reach = reach

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        if self.distgraph_placed.traits.get("awaits"):
            method = self._async_form(method)
        return self._reach(self.distgraph_placed, method, args, kwargs)

    def _async_form(self, method: str) -> str:
        """Return the name of the async method that does what ``method`` does, if the class of
        the original has its own."""
        return f"a{method}" if method in self.distgraph_placed.traits.get("awaited", ()) else method

    async def _acall(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        method = self._async_form(method)
        return await self._reach.acall(self.distgraph_placed, method, args, kwargs)

    async def _aitems(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for item in await self._acall(method, *args, **kwargs):
            yield item

    def __reduce__(self) -> tuple[Callable[[Placed], Any], tuple[Placed]]:
        from distgraph.persistence.opening import arrive

        return arrive, (self.distgraph_placed,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.distgraph_placed.label}>"

    def __getattr__(self, name: str) -> Any:
        """Find what the class of the original has besides LangGraph's interface."""
        if name.startswith("_") or name == "distgraph_placed":
            raise AttributeError(name)
        placed = self.distgraph_placed
        kind = placed.traits.get("own", {}).get(name)
        if kind is None:
            raise AttributeError(
                f"{placed.label} has no method {name!r}, or {name!r} is an attribute of the "
                "instance. It lives in another process: a node can call its methods and read "
                "its properties"
            )
        if kind == "property":
            return self._call(name)
        calls = {"method": self._call, "async": self._acall, "items": self._aitems}
        return partial(calls[kind], name)


class RemoteSerializer:
    """The serializer of a saver or cache of another process. It stays there, and so do its keys."""

    def __init__(self, owner: Remote) -> None:
        self._owner = owner

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Serialize an object; returns its type and the bytes."""
        kind, data = self._owner._call("serde.dumps_typed", obj)
        return kind, data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the object that ``dumps_typed`` serialized."""
        return self._owner._call("serde.loads_typed", data)


class RemoteSaver(Remote, BaseCheckpointSaver[Any]):
    """A checkpoint saver of another process."""

    def __init__(self, placed: Placed, reach: Reach) -> None:
        self._stand_for(placed, reach)
        super().__init__(serde=RemoteSerializer(self))
        self._versions = placed.traits.get("versions", "ask")
        self._lists: SentLists | None = None

    @property
    def config_specs(self) -> Any:
        """The fields of a config that the saver declares."""
        return self._call("config_specs")

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        trip = Trip()
        args, kwargs = trip.leave(args, kwargs)
        return trip.come_back(super()._call(method, *args, **kwargs))

    async def _acall(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        trip = Trip()
        args, kwargs = trip.leave(args, kwargs)
        return trip.come_back(await super()._acall(method, *args, **kwargs))

    def send_tails(self, only_adds: Callable[[str, str], bool]) -> None:
        """Send of a list that grew what is new. One run at a time may save then.

        Args:
            only_adds: See ``SentLists``.
        """
        self._lists = SentLists(only_adds)

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Store a checkpoint; returns the config that names it."""
        lists = self._lists
        if lists is not None:
            try:
                ns = config["configurable"].get("checkpoint_ns", "")
                short = lists.shortened(ns, checkpoint)
                if short is None:
                    return self._call("put", config, checkpoint, metadata, new_versions)
                stored = self._call("put", config, short, metadata, new_versions)
                if type(stored) is not ForgottenLists:
                    return stored
            except SerializationError:  # the error of the whole checkpoint says where
                pass
            except BaseException:
                lists.forget()
                raise
            lists.forget()
        return self._call("put", config, checkpoint, metadata, new_versions)

    def save(self, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Make several calls of ``put`` and ``put_writes`` in their order, in one message.

        After a failure, some of the calls before it were carried out, and none behind it.
        """
        lists, trip = self._lists, Trip()
        given = []
        try:
            for method, args in calls:
                if method == "put" and lists is not None:
                    ns = args[0]["configurable"].get("checkpoint_ns", "")
                    args = (args[0], lists.shortened(ns, args[1]) or args[1], *args[2:])
                if self.distgraph_placed.traits.get("awaits"):
                    method = self._async_form(method)
                given.append((method, trip.leave(args, {})[0]))
            stored = self._reach(self.distgraph_placed, SAVE, given, {})
            if type(stored) is not ForgottenLists:
                return
        except SerializationError:  # the error of the one call says where
            pass
        except BaseException:
            if lists is not None:
                lists.forget()
            raise
        if lists is not None:
            lists.forget()
        for method, args in calls:  # saved twice is saved once
            getattr(self, method)(*args)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Async variant of ``put``."""
        return await self._acall("put", config, checkpoint, metadata, new_versions)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> RemoteSaver:
        """Return a stand-in for the saver's own ``with_allowlist(extra_allowlist)``."""
        known = frozenset(extra_allowlist) | self.distgraph_placed.allowlist
        placed = dataclasses.replace(self.distgraph_placed, allowlist=known)
        return RemoteSaver(placed, self._reach)

    def get_next_version(self, current: Any, channel: None = None) -> Any:
        """Return the next version as the saver numbers versions; calls the saver only if
        necessary."""
        if self._versions == "count":
            return super().get_next_version(current, channel)
        if self._versions == "ask":
            return self._call("get_next_version", current, channel)
        number = current.partition(".")[0] if isinstance(current, str) else current or 0
        return f"{int(number) + 1:032}.{random():016}"

    def list(
        self,
        config: Any,
        *,
        filter: dict[str, Any] | None = None,
        before: Any = None,
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Return the checkpoints, newest first, fetched in one call."""
        return iter(self._call("list", config, filter=filter, before=before, limit=limit))

    async def alist(
        self,
        config: Any,
        *,
        filter: dict[str, Any] | None = None,
        before: Any = None,
        limit: int | None = None,
    ) -> AsyncIterator[Any]:
        """Async variant of ``list``."""
        options = {"filter": filter, "before": before, "limit": limit}
        async for found in self._aitems("list", config, **options):
            yield found

    def put_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store the writes of a task."""
        self._call("put_writes", config, writes, task_id, *([task_path] if task_path else []))

    async def aput_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Async variant of ``put_writes``."""
        path = [task_path] if task_path else []
        await self._acall("put_writes", config, writes, task_id, *path)


class RemoteStore(Remote, BaseStore):
    """A store of another process."""

    __slots__ = ("_reach", "distgraph_placed", "supports_ttl", "ttl_config")

    def __init__(self, placed: Placed, reach: Reach) -> None:
        super().__init__()
        self._stand_for(placed, reach)
        self.supports_ttl = placed.traits.get("supports_ttl", False)
        self.ttl_config = placed.traits.get("ttl_config")

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return super()._call(method, *args, **_given(kwargs))

    async def _acall(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return await super()._acall(method, *args, **_given(kwargs))

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        """Carry out several operations at once."""
        found: list[Any] = self._call("batch", list(ops))
        return found

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        """Async variant of ``batch``."""
        found: list[Any] = await self._acall("batch", list(ops))
        return found


def _given(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Omit arguments with a sentinel default: stores compare sentinels by identity, which copies
    lack."""
    return {name: value for name, value in kwargs.items() if value is not NOT_PROVIDED}


class RemoteCache(Remote, BaseCache[Any]):
    """A cache of another process."""

    def __init__(self, placed: Placed, reach: Reach) -> None:
        self._stand_for(placed, reach)
        super().__init__(serde=RemoteSerializer(self))

    def get(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return the values that there are."""
        found: dict[Any, Any] = self._call("get", list(keys))
        return found

    async def aget(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Async variant of ``get``."""
        found: dict[Any, Any] = await self._acall("get", list(keys))
        return found

    def set(self, pairs: Mapping[Any, tuple[Any, int | None]]) -> None:
        """Store values, each with its seconds until expiry."""
        self._call("set", dict(pairs))

    async def aset(self, pairs: Mapping[Any, tuple[Any, int | None]]) -> None:
        """Async variant of ``set``."""
        await self._acall("set", dict(pairs))

    def clear(self, namespaces: Sequence[Any] | None = None) -> None:
        """Drop the values of namespaces, or all."""
        self._call("clear", namespaces)

    async def aclear(self, namespaces: Sequence[Any] | None = None) -> None:
        """Async variant of ``clear``."""
        await self._acall("clear", namespaces)


def _pass_on(cls: Any, *methods: str) -> None:
    """Add these methods and their async variants to ``cls``, as calls of the remote resource."""
    for method in methods:
        setattr(cls, method, partialmethod(cls._call, method))
        setattr(cls, "a" + method, partialmethod(cls._acall, method))


_pass_on(
    RemoteSaver,
    *("get", "get_tuple", "delete_thread", "delete_for_runs", "copy_thread", "prune"),
    "get_delta_channel_history",
)
# as they are called: what is not given is the store's own default
_pass_on(RemoteStore, "get", "search", "put", "delete", "list_namespaces")

_STAND_INS: dict[str, Callable[[Placed, Reach], Any]] = {
    "checkpointer": RemoteSaver,
    "store": RemoteStore,
    "cache": RemoteCache,
}


def stand_in(placed: Placed, reach: Reach) -> Any:
    """Return a proxy for a saver, store, cache or rate limiter that ``reach`` can access."""
    if placed.role == "limiter":
        from distgraph.persistence.limiters import RemoteLimiter

        return RemoteLimiter(placed, reach)
    if placed.role == "llm_cache":
        from distgraph.persistence.llm_caches import RemoteLLMCache

        return RemoteLLMCache(placed, reach)
    return _STAND_INS[placed.role](placed, reach)
