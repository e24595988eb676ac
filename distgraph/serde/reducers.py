"""Which types travel by a rule of their own, and which must not travel at all.

Types of other packages are recognised by the names in their MRO, never by importing the package.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import sys
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from distgraph.errors import SerializationError

T = TypeVar("T")
Reduce = Callable[[Any], Any]
"""Returns what ``__reduce__`` may return, ``NotImplemented`` for the ordinary way, or raises."""

_IN_NODE = "create it inside the node"
_PER_PROCESS = (
    "create it inside the node; or, if one for each worker process will do, say so with "
    "distgraph.register_serializer"
)

_REFUSED: dict[str, tuple[str, str]] = {
    "_thread.lock": ("a lock", _PER_PROCESS),
    "_thread.RLock": ("a lock", _PER_PROCESS),
    "threading._RLock": ("a lock", _PER_PROCESS),
    "threading.Condition": ("a condition variable", _PER_PROCESS),
    "threading.Event": ("a threading event", _PER_PROCESS),
    "threading.Semaphore": ("a semaphore", _PER_PROCESS),
    "threading.Barrier": ("a thread barrier", _PER_PROCESS),
    "threading.Thread": ("a running thread", _IN_NODE),
    "_thread._local": ("thread-local storage", _IN_NODE),
    "queue.Queue": ("a queue between threads", _PER_PROCESS),
    "_queue.SimpleQueue": ("a queue between threads", _PER_PROCESS),
    "asyncio.locks.Lock": ("a lock", _PER_PROCESS),
    "asyncio.locks.Event": ("an asyncio event", _PER_PROCESS),
    "asyncio.locks.Condition": ("a condition variable", _PER_PROCESS),
    "asyncio.locks.Semaphore": ("a semaphore", _PER_PROCESS),
    "asyncio.locks.Barrier": ("a barrier", _PER_PROCESS),
    "asyncio.queues.Queue": ("a queue between coroutines", _PER_PROCESS),
    "_asyncio.Future": ("a future", "await it first"),
    "asyncio.events.AbstractEventLoop": ("an event loop", _IN_NODE),
    "concurrent.futures._base.Future": ("a future", "wait for its result first"),
    "concurrent.futures._base.Executor": ("an executor", _IN_NODE),
    "_contextvars.ContextVar": (
        "a context variable",
        "define it in an importable module, not in __main__ or a closure",
    ),
    "_contextvars.Context": ("a context", _IN_NODE),
    "_io.TextIOWrapper": ("an open file", "pass its path and open it inside the node"),
    "_io._BufferedIOBase": ("an open file", "pass its path and open it inside the node"),
    "_io._RawIOBase": ("an open file", "pass its path and open it inside the node"),
    "mmap.mmap": ("a memory map", "pass the file's path and map it inside the node"),
    "_socket.socket": ("an open socket", "connect inside the node"),
    "_ssl._SSLContext": ("a TLS context", _IN_NODE),
    "sqlite3.Connection": ("an open database connection", "connect inside the node"),
    "sqlite3.Cursor": ("a database cursor", "connect inside the node"),
    "subprocess.Popen": ("a running process", "start it inside the node"),
    "builtins.generator": ("a generator", "pass a list, or create it inside the node"),
    "builtins.async_generator": ("a generator", "pass a list, or create it inside the node"),
    "builtins.coroutine": ("a coroutine", "await it first"),
}
"""By the qualified name of a type or of one of its bases: what it is, and the remedy."""

_SILENT = ("asyncio.locks", "asyncio.queues")
"""Modules of refused types that plain pickle would copy without a word."""

_HOW = ("__reduce__", "__reduce_ex__", "__getstate__")
_MAY_TRAVEL = frozenset({"_io.BytesIO", "_io.StringIO"})
_STANDARD_STREAMS = ("stdin", "stdout", "stderr")

_registered: dict[type, Reduce] = {}
_noted: weakref.WeakSet[type] = weakref.WeakSet()
_standard: dict[type, Reduce] = {}
_found: weakref.WeakKeyDictionary[type, tuple[Reduce | None]] = weakref.WeakKeyDictionary()


_rules: list[Callable[[type], Reduce | None]] = []


def register_rule(rule: Callable[[type], Reduce | None]) -> None:
    """Add a rule that other packages bring: it returns how instances of a class are reduced."""
    _rules.append(rule)


def register_serializer(
    cls: type[T], reduce: Callable[[T], tuple[Callable[..., Any], tuple[Any, ...]]]
) -> None:
    """Tell how instances of ``cls`` and its subclasses travel to workers and back.

    ``reduce(obj)`` returns ``(make, args)``: the receiver calls ``make(*args)``. ``make`` may be a
    function of ``__main__`` or a lambda; ``args`` must themselves be picklable. It goes before the
    type's own pickling and before every rule of distgraph. Register before the graph first runs.

    Raises:
        TypeError: ``cls`` is not a class, or ``reduce`` is not callable.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer needs a class, got {cls!r}")
    if not callable(reduce):
        raise TypeError(f"register_serializer needs a callable for {cls.__qualname__}")
    _registered[cls] = reduce
    _found.clear()
    _tables.clear()


def note(cls: type) -> None:
    """Have the plain pickler, too, go by the rule for ``cls``, which it could pickle without it."""
    if cls not in _noted:
        _noted.add(cls)
        _tables.clear()


def find(cls: type) -> Reduce | None:
    """Return the rule for instances of ``cls``, or None where ordinary pickling holds."""
    try:
        return _found[cls][0]
    except (KeyError, TypeError):
        pass
    rule = _search(cls)
    try:
        _found[cls] = (rule,)
    except TypeError:  # a type without weak references
        pass
    return rule


def _search(cls: type) -> Reduce | None:
    for base in cls.__mro__:
        if base in _registered:
            return _registered[base]
    if cls in _standard:
        return _standard[cls]
    library_rule = _library_rule(cls)
    if library_rule is not None:
        return library_rule
    # In MRO order what is closest to the type decides: a user's subclass of a queue that says how
    # it is pickled is taken at its word.
    for base in cls.__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in _MAY_TRAVEL:
            return None
        if name in _REFUSED:
            return _refuse(name)
        if any(isinstance(base.__dict__.get(how), FunctionType) for how in _HOW):
            return None
    return None


def _reduce_exception(exc: BaseException) -> Any:
    """Reduce an exception whose ``__init__`` need not take what ``args`` holds."""
    return _exception, (type(exc), exc.args, exc.__dict__)


def _exception(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    exc = cls.__new__(cls, *args)
    exc.args = args
    exc.__dict__.update(state)
    return exc


def _library_rule(cls: type) -> Reduce | None:
    if issubclass(cls, BaseException):
        own_init = isinstance(getattr(cls, "__init__", None), FunctionType)
        own_rule = any(isinstance(getattr(cls, how, None), FunctionType) for how in _HOW)
        return _reduce_exception if own_init and not own_rule else None
    names = {(base.__module__.partition(".")[0], base.__name__) for base in cls.__mro__}
    for rule in _rules:
        if (reduce := rule(cls)) is not None:
            return reduce
    if hasattr(cls, "__pydantic_fields__") and names & {
        ("langchain_core", "Runnable"),
        ("langchain_core", "Embeddings"),
    }:
        from distgraph.serde import models

        return models.reduce_model
    if any(
        b.__name__ == "BaseClient" and b.__module__.endswith("._base_client") for b in cls.__mro__
    ):
        from distgraph.serde import clients

        return clients.reduce_api_client
    if names & {("httpx", "BaseClient"), ("httpx2", "BaseClient")}:
        from distgraph.serde import clients

        return clients.reduce_httpx
    return None


def _reduce_cached_function(wrapper: Any) -> Any:
    """Reduce a function behind ``lru_cache``, which otherwise travels by its name alone."""
    from distgraph.serde.pickling import named_by_module

    if named_by_module(wrapper):
        return NotImplemented
    return _cached_function, (wrapper.__wrapped__, wrapper.cache_parameters())


def _cached_function(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _reduce_cached_property(cached: Any) -> Any:
    """Reduce a ``cached_property``, which holds a lock before Python 3.12."""
    return _cached_property, (cached.func, cached.attrname)


def _cached_property(function: Any, name: str | None) -> Any:
    cached: Any = functools.cached_property(function)
    cached.attrname = name
    return cached


_SENTINELS = (
    ("langgraph.pregel._write", "PASSTHROUGH"),
    ("langgraph.pregel._write", "SKIP_WRITE"),
    ("langgraph._internal._typing", "MISSING"),
)
"""Bare objects that code compares by identity: a copy would be another value."""


def _reduce_sentinel(obj: object) -> Any:
    """Reduce a bare ``object()`` to its name, where it is one that is known to be compared."""
    for module, name in _SENTINELS:
        if getattr(sys.modules.get(module), name, None) is obj:
            return _named, (module, name)
    return NotImplemented


def _named(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _refuse(name: str) -> Reduce:
    what, remedy = _REFUSED[name]

    def reduce(obj: Any) -> Any:
        for stream in _STANDARD_STREAMS:
            if obj is getattr(sys, stream, None):
                return getattr, (sys, stream)
        raise SerializationError(f"{what} exists in one process only. Remedy: {remedy}")

    return reduce


def _own_table() -> dict[type, Reduce]:
    """Return the rules by exact type that plain pickle must be told: it would not fail itself."""
    table: dict[type, Reduce] = {}
    for module in _SILENT:
        for value in vars(sys.modules.get(module, object)).values():
            if isinstance(value, type) and (rule := find(value)) is not None:
                table[value] = rule
    for cls in (*_with_subclasses(), *_noted):
        if (rule := find(cls)) is not None:
            table[cls] = rule
    return table


def _with_subclasses() -> list[type]:
    """Return the registered classes and all that derives from them by now."""
    classes = dict.fromkeys(_registered)
    todo = list(classes)
    while todo:
        subclasses: list[type] = type.__subclasses__(todo.pop())
        for cls in subclasses:
            if cls not in classes:
                classes[cls] = None
                todo.append(cls)
    return list(classes)


_standard[type(functools.lru_cache(len))] = _reduce_cached_function
_standard[functools.cached_property] = _reduce_cached_property
_standard[object] = _reduce_sentinel

_tables: dict[Any, dict[type, Reduce]] = {}


def dispatch_table() -> dict[type, Reduce]:
    """Return the table that the plain pickler works with: ``copyreg``'s and the rules above."""
    key: Any = (len(copyreg.dispatch_table), "asyncio.locks" in sys.modules)
    if _registered:
        key = (*key, *_with_subclasses())
    table = _tables.get(key)
    if table is None:
        _tables.clear()
        table = _tables[key] = {**copyreg.dispatch_table, **_own_table()}
    return table
