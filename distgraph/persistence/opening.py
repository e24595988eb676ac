"""A saver, store or cache in this process: the object itself, an opened one, or a stand-in."""

from __future__ import annotations

import importlib
import socket
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distgraph.concurrency.collecting import is_collecting
from distgraph.concurrency.forking import free_in_forks
from distgraph.concurrency.threads import elsewhere
from distgraph.errors import RunError
from distgraph.persistence import hosting, sync_or_async
from distgraph.persistence.allowlists import allowing
from distgraph.persistence.placed import Placed
from distgraph.persistence.placing import place, role_of
from distgraph.persistence.remote_resources import Reach
from distgraph.serde import reducers, references
from distgraph.serde.pickling import loads

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = (
    "arrive",
    "cache_for_driver",
    "called_here",
    "open_resource",
    "reduce_resource",
    "save_far",
    "saver_for_driver",
    "send_tails",
    "set_reach",
    "together",
)

KEPT = 16
"""Opened files and servers that are kept while nobody uses them."""


# --- opening ------------------------------------------------------------------------------------


class _Opened:
    """The files and servers that this process has opened: each once, and closed with it."""

    def __init__(self) -> None:
        self._lock = free_in_forks(threading.Lock())
        self._locks: dict[str, threading.Lock] = {}
        self._all: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def get(self, placed: Placed) -> Any:
        with self._lock:
            found = self._find(placed.key)
            turn = self._locks.setdefault(placed.key, threading.Lock())
        if found is not None:
            return found
        with turn:  # two runs may open the resource at once; other resources need not wait
            with self._lock:
                found = self._find(placed.key)
            if found is None:
                found, close = _open(placed)
                weakref.finalize(found, _close, close)
                with self._lock:
                    self._all[placed.key] = found
                    self._find(placed.key)
            return found

    def _find(self, key: str) -> Any:
        found = self._all.get(key)
        if found is not None:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


_opened = _Opened()


def _close(close: Callable[[], None]) -> None:
    """Close a file or a server that nobody uses any more. The garbage collector never waits."""
    if is_collecting():
        elsewhere(close)
    else:
        close()


def _open(placed: Placed) -> tuple[Any, Callable[[], None]]:
    module, _, opens = placed.opener.partition(":")
    try:
        opener = importlib.import_module(f"distgraph.persistence.{module}")
        made: tuple[Any, Callable[[], None]] = opener.open_described(opens, loads(placed.settings))
    except Exception as error:
        raise RunError(
            f"{placed.label} cannot be opened on host {socket.gethostname()}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return made


def open_resource(placed: Placed, reach: Reach) -> Any:
    """Return a saver, store or cache as this process uses it.

    Args:
        placed: Where it lives.
        reach: How this process reaches others, and what it opens by itself.

    Raises:
        RunError: It is opened here, and that failed; names it and this host.
    """
    mine = hosting.host().own(placed.key)
    if mine is None and reach.opens(placed):
        mine = _opened.get(placed)
    if mine is not None:
        return allowing(mine, placed.allowlist)
    from distgraph.persistence.proxies import stand_in

    return stand_in(placed, reach)


def saver_for_driver(placed: Placed, reach: Reach) -> BaseCheckpointSaver[Any]:
    """Return the checkpoint saver of a run, in the process of its driver.

    Raises:
        RunError: It cannot be opened here.
    """
    saver: BaseCheckpointSaver[Any] = open_resource(placed, reach)
    return saver


def send_tails(saver: Any, only_adds: Callable[[str, str], bool]) -> None:
    """Let a run's saver of another process receive of a list that grew what is new.

    Args:
        saver: The saver, as ``saver_for_driver`` returns it.
        only_adds: Whether the reducer of a channel leaves the items of its list as they are, by
            the namespace of a checkpoint and the channel's name.
    """
    if _is_far(saver):
        saver.send_tails(only_adds)


def save_far(saver: Any, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> bool:
    """Make several calls of ``put`` and ``put_writes`` of a saver of another process, in one
    message. Return whether it is such a saver.

    After a failure, some of the calls before it were carried out, and none behind it.
    """
    if not _is_far(saver):
        return False
    saver.save(calls)
    return True


def _is_far(saver: Any) -> bool:
    from distgraph.persistence.proxies import RemoteSaver

    return isinstance(saver, RemoteSaver) and saver.distgraph_placed.kind == "caller"


def together(saver: Any) -> AbstractContextManager[None]:
    """Let what this thread saves in a block become durable at its end, if the saver is opened here
    and can do that."""
    own = called_here(saver)
    begin = getattr(getattr(own, "conn", None), "together", None)
    return nullcontext() if begin is None else begin(own.lock)


def called_here(saver: Any) -> Any:
    """Return the object that is called in this process where a saver is, None where it is called
    in another one.

    Raises:
        RunError: It is opened here, and that failed.
    """
    from distgraph.persistence.proxies import RemoteSaver

    return _here.opened(saver.distgraph_placed) if isinstance(saver, RemoteSaver) else saver


def cache_for_driver(placed: Placed, reach: Reach) -> BaseCache[Any]:
    """Return the cache of a run, in the process of its driver.

    Raises:
        RunError: It cannot be opened here.
    """
    cache: BaseCache[Any] = open_resource(placed, reach)
    return cache


# --- travelling ---------------------------------------------------------------------------------

_provider: Callable[[], Reach] | None = None


def set_reach(provider: Callable[[], Reach]) -> None:
    """Set the function by which code of this process reaches resources of other processes.

    A process without it is one whose own objects are reached by others.
    """
    global _provider
    _provider = provider


class _Here(Reach):
    """Whatever the process has as its way at the moment of a call."""

    def __call__(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        opened = self.opened(placed)
        if opened is not None:
            return sync_or_async.call(opened, method, args, kwargs)
        return self._current(placed)(placed, method, args, kwargs)

    def opened(self, placed: Placed) -> Any:
        """Return what this process has opened, None where that is for another one."""
        if not self._current(placed).opens(placed):
            return None
        return allowing(_opened.get(placed), placed.allowlist)

    async def acall(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        reach = self._current(placed)
        if reach.opens(placed):
            return await super().acall(placed, method, args, kwargs)
        return await reach.acall(placed, method, args, kwargs)

    @staticmethod
    def _current(placed: Placed) -> Reach:
        if _provider is None:
            raise RunError(
                f"{placed.label} belongs to another process, and this one runs no nodes of its "
                "graphs: it cannot be reached from here"
            )
        return _provider()


_here = _Here()


def arrive(placed: Placed) -> Any:
    """Return the saver, store or cache, or a proxy for it, in the process that received
    ``placed``."""
    mine = hosting.host().own(placed.key)
    if mine is not None:
        return allowing(mine, placed.allowlist)
    from distgraph.persistence.proxies import stand_in

    return stand_in(placed, _here)


def awaiting(resource: Any) -> Any:
    """Return a saver or cache as the driver of an awaited run calls it: by the async methods of
    its class, if a user's class has its own."""
    placed = place(resource)
    if placed.kind != "caller" or "awaited" not in placed.traits:
        return resource
    from distgraph.persistence.proxies import stand_in

    return stand_in(replace(placed, traits={**placed.traits, "awaits": True}), _here)


def reduce_resource(resource: Any) -> Any:
    """Reduce a saver, store or cache to its place: it is never copied.

    One that a node has made belongs to that node, and goes the ordinary way.
    """
    if _provider is not None or role_of(resource) is None:
        return NotImplemented
    placed = place(resource)
    if placed.kind == "caller":
        references.note_staying(f"{placed.role} {placed.label}")
    return arrive, (placed,)


def reduce_serializer(serializer: Any) -> Any:
    """Reduce LangGraph's own serializer to its settings; else it would travel with its code."""
    names = ("pickle_fallback", "_allowed_json_modules", "_allowed_msgpack_modules")
    own = vars(serializer)
    if own.get("_custom_unpack_ext_hook", True) or not all(name in own for name in names):
        return NotImplemented
    return _serializer, (type(serializer), *(own[name] for name in names))


def _serializer(cls: Any, pickle_fallback: bool, json: Any, msgpack: Any) -> Any:
    return cls(
        pickle_fallback=pickle_fallback,
        allowed_json_modules=json,
        allowed_msgpack_modules=msgpack,
    )


_SERIALIZER = ("langgraph.checkpoint.serde.jsonplus", "JsonPlusSerializer")


_RESOURCES = {
    ("langgraph", "BaseCheckpointSaver"),
    ("langgraph", "BaseStore"),
    ("langgraph", "BaseCache"),
    ("langchain_core", "BaseRateLimiter"),
    ("langchain_core", "BaseCache"),
}


def _reduce_rule(cls: type) -> Callable[[Any], Any] | None:
    """Return the reduce function for a saver, store, cache or LangGraph serializer; None for
    others."""
    names = {(base.__module__.partition(".")[0], base.__name__) for base in cls.__mro__}
    if names & _RESOURCES:
        return reduce_resource
    return reduce_serializer if (cls.__module__, cls.__name__) == _SERIALIZER else None


reducers.register_rule(_reduce_rule)
