"""Objects bound to one process: which ones a worker recreates, and which ones cannot be sent.

A lock, an executor or an event has no content to copy. Its constructor arguments are enough to
create such an object in every process of a graph: *one per process*. Within a process, all
references to one original lead to one object, in all graphs; in the process that created the
original, they lead to the original. An object that represents a resource outside of Python (an open
file, a socket, a running process, a database connection) cannot be recreated and is refused.
A callback handler is refused too: a copy would be called instead of the one that the caller reads.

Types are recognised by the names in their MRO; no module is imported for it.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import secrets
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from distgraph.concurrency.forking import free_in_forks
from distgraph.errors import SerializationError

__all__ = ("ONE_PER_PROCESS", "REFUSED", "Refused", "Remade", "made_anew", "one_per_process")


# --- the tables ----------------------------------------------------------------------------------

_OPEN = (
    "open it in the node, tool or hook that uses it, or in a function with @functools.lru_cache "
    "that these call: each process then opens its own"
)
_CALL = "create it in the node, tool or hook that uses it"


class Refused(NamedTuple):
    """A kind of object that cannot be sent to another process."""

    what: str
    """The kind in words, with an article."""
    remedy: str
    public: str
    """Name that the documentation uses."""
    but: frozenset[str] = frozenset()
    """Qualified names of classes whose own instances, not those of subclasses, are sent."""


class Remade(NamedTuple):
    """A kind of object that every process makes for itself, once for each original."""

    what: str
    """The kind in words, with an article."""
    public: str
    """Name of the class in the documentation; it is called with the settings."""
    settings: Callable[[Any], tuple[Any, ...]]
    """Reads the arguments of the constructor back from an object; may raise."""
    signal: bool = False
    """Whether tasks wait in the object for one another. Such an object is refused in data (state,
    context, config): each reader would get another object, and wait forever."""
    restore: Callable[[Any, Any], None] | None = None
    """Gives a new object what the constructor does not take."""
    keep: Callable[[Any], Any] | None = None
    """Returns what ``restore`` is called with."""


def _none(obj: Any) -> tuple[Any, ...]:
    return ()


def _attributes(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda obj: tuple(getattr(obj, name) for name in names)


def _empty(size: str) -> Callable[[Any], tuple[Any, ...]]:
    def settings(obj: Any) -> tuple[Any, ...]:
        if count := obj.qsize():
            raise SerializationError(
                f"a queue with {count} item{'s' if count > 1 else ''} in it exists in one process "
                "only: every worker process would hand out the same items again. Remedy: leave it "
                "empty, and put the items in where it is used; or pass a list"
            )
        return (getattr(obj, size),) if size else ()

    return settings


def _process_pool(obj: Any) -> tuple[Any, ...]:
    workers, context, initializer, arguments = _attributes(
        "_max_workers", "_mp_context", "_initializer", "_initargs"
    )(obj)
    tasks = getattr(obj, "_max_tasks_per_child", None)  # from Python 3.11 on
    return workers, context.get_start_method(allow_none=True), initializer, arguments, tasks


def _make_process_pool(
    workers: int,
    method: str | None,
    initializer: Any,
    arguments: tuple[Any, ...],
    tasks: int | None,
    *,
    pool: Any = None,
) -> Any:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    options: dict[str, Any] = {} if tasks is None else {"max_tasks_per_child": tasks}
    context = multiprocessing.get_context(method)
    if pool is None:
        pool = ProcessPoolExecutor.__new__(ProcessPoolExecutor)
    ProcessPoolExecutor.__init__(pool, workers, context, initializer, arguments, **options)
    return pool


def _local_settings(obj: Any) -> tuple[Any, ...]:
    if type(obj).__init__ is not object.__init__:
        import inspect

        # what CPython calls the constructor with in each thread: no attribute shows it
        held = gc.get_referents(obj)[1:]
        args = next((item for item in held if isinstance(item, tuple)), ())
        options: dict[str, Any] = next((item for item in held if _are_options(item)), {})
        try:
            inspect.signature(type(obj)).bind(*args, **options)
        except TypeError:
            raise SerializationError(
                f"what the constructor of {type(obj).__qualname__} was given cannot be read back "
                f"from this thread-local storage. Remedy: {_CALL}, or give its constructor defaults"
            ) from None
        if args or options:
            return (args, dict(options))
    return ()


def _are_options(item: Any) -> bool:
    return isinstance(item, dict) and bool(item) and all(isinstance(key, str) for key in item)


def _is_set(obj: Any) -> bool:
    return bool(obj.is_set())


def _set(obj: Any, was_set: bool) -> None:
    if was_set:
        obj.set()


def _is_shut_down(obj: Any) -> bool:
    return bool(getattr(obj, "_shutdown", False) or getattr(obj, "_shutdown_thread", False))


def _shut_down(obj: Any, was_shut_down: bool) -> None:
    if was_shut_down:
        obj.shutdown(wait=False)


def _lock_of_condition(obj: Any) -> tuple[Any, ...]:
    return (obj._lock,)


ONE_PER_PROCESS: dict[str, Remade] = {
    "_thread.lock": Remade("a lock", "threading.Lock", _none),
    "_thread.RLock": Remade("a lock", "threading.RLock", _none),
    "threading._RLock": Remade("a lock", "threading.RLock", _none),
    "threading.Condition": Remade(
        "a condition variable", "threading.Condition", _lock_of_condition, signal=True
    ),
    "threading.Event": Remade(
        "a threading event", "threading.Event", _none, signal=True, keep=_is_set, restore=_set
    ),
    "threading.BoundedSemaphore": Remade(
        "a semaphore", "threading.BoundedSemaphore", _attributes("_initial_value")
    ),
    "threading.Semaphore": Remade("a semaphore", "threading.Semaphore", _attributes("_value")),
    "threading.Barrier": Remade(
        "a thread barrier",
        "threading.Barrier",
        _attributes("_parties", "_action", "_timeout"),
        signal=True,
    ),
    "_thread._local": Remade("thread-local storage", "threading.local", _local_settings),
    "queue.Queue": Remade("a queue between threads", "queue.Queue", _empty("maxsize"), signal=True),
    "queue.LifoQueue": Remade(
        "a queue between threads", "queue.LifoQueue", _empty("maxsize"), signal=True
    ),
    "queue.PriorityQueue": Remade(
        "a queue between threads", "queue.PriorityQueue", _empty("maxsize"), signal=True
    ),
    "_queue.SimpleQueue": Remade(
        "a queue between threads", "queue.SimpleQueue", _empty(""), signal=True
    ),
    "asyncio.locks.Lock": Remade("a lock", "asyncio.Lock", _none),
    "asyncio.locks.Event": Remade(
        "an asyncio event", "asyncio.Event", _none, signal=True, keep=_is_set, restore=_set
    ),
    "asyncio.locks.Condition": Remade(
        "a condition variable", "asyncio.Condition", _lock_of_condition, signal=True
    ),
    "asyncio.locks.BoundedSemaphore": Remade(
        "a semaphore", "asyncio.BoundedSemaphore", _attributes("_bound_value")
    ),
    "asyncio.locks.Semaphore": Remade("a semaphore", "asyncio.Semaphore", _attributes("_value")),
    "asyncio.locks.Barrier": Remade(
        "a barrier", "asyncio.Barrier", _attributes("_parties"), signal=True
    ),
    "asyncio.queues.Queue": Remade(
        "a queue between coroutines", "asyncio.Queue", _empty("_maxsize"), signal=True
    ),
    "asyncio.queues.LifoQueue": Remade(
        "a queue between coroutines", "asyncio.LifoQueue", _empty("_maxsize"), signal=True
    ),
    "asyncio.queues.PriorityQueue": Remade(
        "a queue between coroutines", "asyncio.PriorityQueue", _empty("_maxsize"), signal=True
    ),
    "concurrent.futures.thread.ThreadPoolExecutor": Remade(
        "an executor",
        "concurrent.futures.ThreadPoolExecutor",
        _attributes("_max_workers", "_thread_name_prefix", "_initializer", "_initargs"),
        keep=_is_shut_down,
        restore=_shut_down,
    ),
    "concurrent.futures.process.ProcessPoolExecutor": Remade(
        "an executor",
        "concurrent.futures.ProcessPoolExecutor",
        _process_pool,
        keep=_is_shut_down,
        restore=_shut_down,
    ),
}
"""By the qualified name of a type or of one of its bases."""

REFUSED: dict[str, Refused] = {
    "threading.Thread": Refused("a thread", _CALL, "threading.Thread"),
    "_asyncio.Future": Refused("a future", "await it first", "asyncio.Future"),
    "_asyncio.Task": Refused("a task", "await it first", "asyncio.Task"),
    "asyncio.events.AbstractEventLoop": Refused(
        "an event loop", "call asyncio.get_running_loop() where it is used", "asyncio event loops"
    ),
    "concurrent.futures._base.Future": Refused(
        "a future", "wait for its result first", "concurrent.futures.Future"
    ),
    "concurrent.futures._base.Executor": Refused(
        "an executor", _OPEN, "other concurrent.futures.Executor"
    ),
    "_contextvars.Context": Refused("a context", _CALL, "contextvars.Context"),
    "_contextvars.Token": Refused("a token of a context variable", _CALL, "contextvars.Token"),
    "_io.TextIOWrapper": Refused("an open file", f"pass its path, and {_OPEN}", "open files"),
    "_io._BufferedIOBase": Refused("an open file", f"pass its path, and {_OPEN}", "open files"),
    "_io._RawIOBase": Refused("an open file", f"pass its path, and {_OPEN}", "open files"),
    "mmap.mmap": Refused("a memory map", f"pass the path of the file, and {_OPEN}", "mmap.mmap"),
    "_socket.socket": Refused("an open socket", _OPEN, "socket.socket"),
    "_ssl._SSLContext": Refused("a TLS context", _OPEN, "ssl.SSLContext"),
    "sqlite3.Connection": Refused("an open database connection", _OPEN, "sqlite3.Connection"),
    "sqlite3.Cursor": Refused("a database cursor", _OPEN, "sqlite3.Cursor"),
    "psycopg.BaseConnection": Refused("an open database connection", _OPEN, "psycopg connections"),
    "psycopg._connection_base.BaseConnection": Refused(
        "an open database connection", _OPEN, "psycopg connections"
    ),
    "psycopg._cursor_base.BaseCursor": Refused("a database cursor", _OPEN, "psycopg cursors"),
    "psycopg_pool.base.BasePool": Refused(
        "a pool of database connections", _OPEN, "psycopg_pool pools"
    ),
    "asyncpg.connection.Connection": Refused(
        "an open database connection", _OPEN, "asyncpg.Connection"
    ),
    "asyncpg.pool.Pool": Refused("a pool of database connections", _OPEN, "asyncpg.Pool"),
    "sqlalchemy.engine.base.Connection": Refused(
        "an open database connection", _OPEN, "sqlalchemy.Connection"
    ),
    "sqlalchemy.orm.session.Session": Refused(
        "a database session", _OPEN, "sqlalchemy.orm.Session"
    ),
    "mcp.shared.session.BaseSession": Refused(
        "an open MCP session",
        "load the tools with MultiServerMCPClient(...).get_tools(), whose tools open a session for "
        "each call, or open the session in the node that uses it",
        "mcp.ClientSession",
    ),
    "subprocess.Popen": Refused(
        "a running process", "start it in the node, tool or hook that uses it", "subprocess.Popen"
    ),
    "asyncio.subprocess.Process": Refused(
        "a running process",
        "start it in the node, tool or hook that uses it",
        "asyncio.subprocess.Process",
    ),
    "multiprocessing.process.BaseProcess": Refused(
        "a process", "start it in the node, tool or hook that uses it", "multiprocessing.Process"
    ),
    "multiprocessing.pool.Pool": Refused("a pool of processes", _OPEN, "multiprocessing.Pool"),
    "multiprocessing.synchronize.SemLock": Refused(
        "a lock between processes of one machine",
        "use one of threading, which every worker process has for itself; for one in the whole "
        "cluster, use a Ray actor",
        "locks of multiprocessing",
    ),
    "multiprocessing.queues.Queue": Refused(
        "a queue between processes of one machine",
        "use ray.util.queue.Queue",
        "multiprocessing.Queue",
    ),
    "multiprocessing.queues.SimpleQueue": Refused(
        "a queue between processes of one machine",
        "use ray.util.queue.Queue",
        "multiprocessing.SimpleQueue",
    ),
    "multiprocessing.connection._ConnectionBase": Refused(
        "a pipe between processes", _OPEN, "multiprocessing.Pipe"
    ),
    "langchain_core.callbacks.base.BaseCallbackHandler": Refused(
        "a callback handler",
        "pass it in the config of a run, as in invoke(input, {'callbacks': [handler]}): it "
        "then receives all calls inside the run; or create it in the node or tool that uses it",
        "langchain_core.callbacks.BaseCallbackHandler",
        but=frozenset(
            {
                "langchain_core.callbacks.stdout.StdOutCallbackHandler",
                "langchain_core.callbacks.streaming_stdout.StreamingStdOutCallbackHandler",
            }
        ),
    ),
    "builtins.generator": Refused(
        "a generator", "pass a list, or create it where it is used", "generators"
    ),
    "builtins.async_generator": Refused(
        "a generator", "pass a list, or create it where it is used", "generators"
    ),
    "builtins.coroutine": Refused("a coroutine", "await it first", "coroutines"),
}
"""By the qualified name of a type or of one of its bases."""


# --- at the sender -------------------------------------------------------------------------------


def reduce_as(name: str) -> Callable[[Any], Any]:
    """Return the rule for objects of a type that ``ONE_PER_PROCESS`` has under ``name``."""
    kind = ONE_PER_PROCESS[name]

    def reduce(obj: Any) -> Any:
        cls = type(obj)
        settings = kind.settings(obj)
        token = known.token(obj)
        exact = f"{cls.__module__}.{cls.__qualname__}" == name
        kept = None if kind.keep is None else kind.keep(obj)
        own = None if exact else cls
        extra = {} if exact else _extra(obj, name, settings)
        return one_per_process, (token, name, settings, kept, own, extra)

    return reduce


def refuse_as(name: str) -> Callable[[Any], Any]:
    """Return the rule for objects of a type that ``REFUSED`` has under ``name``."""
    kind = REFUSED[name]

    def reduce(obj: Any) -> Any:
        cls = type(obj)
        known_by_kind = cls.__module__.partition(".")[0] in sys.stdlib_module_names
        which = kind.what if known_by_kind else f"{kind.what} ({cls.__qualname__})"
        raise SerializationError(f"{which} exists in one process only. Remedy: {kind.remedy}")

    return reduce


def refuse_signal(name: str) -> Callable[[Any], Any]:
    """Return the rule for a signal of ``ONE_PER_PROCESS`` in data."""
    kind = ONE_PER_PROCESS[name]

    def reduce(obj: Any) -> Any:
        raise SerializationError(
            f"{kind.what} exists in one process only: in the state, the context or the config of a "
            "run, every reader would get another one. Remedy: pass values through the state, and "
            "stream to the caller with get_stream_writer()"
        )

    return reduce


def _extra(obj: Any, name: str, settings: tuple[Any, ...]) -> dict[str, Any]:
    """Return the attributes that a subclass has added to those of its base."""
    own = getattr(obj, "__dict__", {})
    if not own:
        return {}
    fresh = _make(name, settings, None)
    return {key: value for key, value in own.items() if key not in getattr(fresh, "__dict__", {})}


# --- at the receiver -----------------------------------------------------------------------------


def one_per_process(
    token: str,
    name: str,
    settings: tuple[Any, ...],
    kept: Any,
    cls: type | None,
    extra: dict[str, Any],
) -> Any:
    """Return this process's object for an original: the known one, or a new one.

    Args:
        token: Identifies the original.
        name: Of its kind in ``ONE_PER_PROCESS``.
        settings: Arguments of the kind's constructor.
        kept: What the kind's ``restore`` takes.
        cls: A subclass of the kind's class.
        extra: Attributes that the subclass has added.
    """
    return known.get(token, lambda: made_anew(token, name, settings, kept, cls, extra))


def made_anew(
    token: str,
    name: str,
    settings: tuple[Any, ...],
    kept: Any,
    cls: type | None,
    extra: dict[str, Any],
) -> Any:
    """Return a new object, whether or not this process has one for the original."""
    kind = ONE_PER_PROCESS[name]
    made = _make(name, settings, cls)
    if extra:
        made.__dict__.update(extra)
    if kind.restore is not None:
        kind.restore(made, kept)
    return made


def _make(name: str, settings: tuple[Any, ...], cls: type | None) -> Any:
    if name.endswith(".ProcessPoolExecutor"):
        return _make_process_pool(*settings, pool=None if cls is None else object.__new__(cls))
    if name == "_thread._local":
        args, options = settings or ((), {})
        return threading.local() if cls is None else cls(*args, **options)
    module, _, attribute = ONE_PER_PROCESS[name].public.rpartition(".")
    base = getattr(importlib.import_module(module), attribute)
    if cls is None:
        return base(*settings)
    made: Any = cls.__new__(cls)  # type: ignore[call-overload]
    base.__init__(made, *settings)
    return made


class _Known:
    """The objects of this process that have been sent to another one, or came from one.

    It keeps none of them: an object that nothing refers to is not missed.
    """

    def __init__(self) -> None:
        self._lock = free_in_forks(threading.RLock())
        self._objects: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._tokens: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._count = itertools.count()
        self._process = ""
        self._pid = 0

    def token(self, obj: Any) -> str:
        """Return the id of an object, valid in every process."""
        with self._lock:
            entry = self._tokens.get(id(obj))
            if entry is not None and entry[0]() is obj:
                return entry[1]
            if self._pid != os.getpid():
                self._pid, self._process = os.getpid(), secrets.token_hex(8)
            token = f"{self._process}:{next(self._count)}"
            self._keep(token, obj)
            return token

    def get(self, token: str, make: Callable[[], Any]) -> Any:
        """Return the object with that token; make it where there is none."""
        with self._lock:
            found = self._objects.get(token)
            if found is None:
                found = make()
                self._keep(token, found)
            return found

    def _keep(self, token: str, obj: Any) -> None:
        place = id(obj)
        try:
            reference = weakref.ref(obj, lambda _: self._forget(place, token))
        except TypeError:  # a subclass without weak references
            return
        self._objects[token] = obj
        self._tokens[place] = reference, token

    def _forget(self, place: int, token: str) -> None:
        entry = self._tokens.get(place)
        if entry is not None and entry[1] == token:
            del self._tokens[place]


known = _Known()
