"""Calling a saver, store or cache by the face that it has: its methods, or their async forms.

Some exist in async form only, and some belong to one event loop. A caller here is a plain
thread that waits; every wait for a loop has a limit.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar

from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import daemon, new_loop
from distgraph.errors import RunError
from distgraph.persistence.kept_references import keep_references

__all__ = (
    "call",
    "has_own",
    "loop_of",
    "own_async_methods",
    "run_on",
    "shared_loop",
    "takes_path",
    "type_name",
)

T = TypeVar("T")

BEGIN = 5.0
"""Seconds after which a loop that has not begun with a call is taken to be blocked or stopped."""

_LOOK = 0.5
"""Seconds between two looks at whether a loop still exists."""

_BASES = frozenset({"BaseCheckpointSaver", "BaseStore", "BaseCache"})


def type_name(resource: object) -> str:
    """Return the name of a resource's class, for errors."""
    return type(resource).__qualname__


def call(
    resource: Any,
    method: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seconds: float | None = None,
) -> Any:
    """Call ``resource.method(*args, **kwargs)``; results that arrive item by item form a list.

    Args:
        resource: A saver, store or cache.
        method: Name of the synchronous method. ``a`` + it is called where that is what works.
        args: Positional arguments.
        kwargs: Keyword arguments.
        seconds: Seconds to wait for the event loop; None for no limit.

    Raises:
        AttributeError: ``method`` is not a public name.
        RunError: The event loop that the resource belongs to does not respond.
    """
    if method.startswith("_"):
        raise AttributeError(f"{type_name(resource)}.{method} cannot be called from elsewhere")
    options = kwargs or {}
    resource, method = _owner(resource, method)
    loop = loop_of(resource)
    if _awaits(resource, method):
        own = partial(_acall_own, resource, method, args, options)
        return run_on(loop or shared_loop(), own, resource, seconds)
    if loop is not None and hasattr(resource, "a" + method):
        return run_on(loop, partial(acall, resource, method, args, options), resource, seconds)
    if not has_own(resource, method) and _only_async(resource, method):
        make = partial(acall, resource, method, args, options)
        return run_on(shared_loop(), make, resource, seconds)
    found = getattr(resource, method)
    if isinstance(getattr(type(resource), method, None), (property, cached_property)):
        return found
    given = _taken(resource, method, args)
    try:
        return _whole(found(*given, **options))
    except TypeError:
        if not keep_references(resource, args, options):
            raise
    return _whole(found(*given, **options))


SERDE = ("serde.dumps_typed", "serde.loads_typed")
"""Methods of a part of a resource that can be called as well."""


def _owner(resource: Any, method: str) -> tuple[Any, str]:
    if method in SERDE:
        return resource.serde, method.partition(".")[2]
    return resource, method


def _awaits(resource: object, method: str) -> bool:
    """Whether the method is async and called by its own name."""
    function = getattr(type(resource), method, None)
    return _is_async(function)


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


async def _acall_own(
    resource: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    result = getattr(resource, method)(*args, **kwargs)
    if hasattr(result, "__aiter__"):
        return [item async for item in result]
    return await result


async def acall(resource: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the async form of ``method``, on the running loop."""
    result = getattr(resource, "a" + method)(*_taken(resource, method, args), **kwargs)
    if hasattr(result, "__aiter__"):
        return [item async for item in result]
    try:
        return await result
    except TypeError:
        if not keep_references(resource, args, kwargs):
            raise
    return await getattr(resource, "a" + method)(*_taken(resource, method, args), **kwargs)


def _taken(resource: object, method: str, args: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments that the resource takes: older savers know no paths of tasks."""
    cls: Any = type(resource)
    return args[:3] if method == "put_writes" and not takes_path(cls) else args


@lru_cache(maxsize=256)
def takes_path(cls: type) -> bool:
    """Whether the methods that store writes take a ``task_path``; older savers do not."""
    method: Any = getattr(cls, "put_writes", None)
    for base in cls.__mro__:
        if base.__module__ == "langgraph.checkpoint.base":
            break
        own = base.__dict__.get("put_writes") or base.__dict__.get("aput_writes")
        if own is not None:
            method = own
            break
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return "task_path" in parameters or bool(
        kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    )


def _whole(result: Any) -> Any:
    return list(result) if hasattr(result, "__next__") else result


def has_own(resource: object, method: str) -> bool:
    """Whether the class of ``resource`` overrides ``method`` of LangGraph's base class."""
    for cls in type(resource).__mro__:
        if method in cls.__dict__:
            return cls.__name__ not in _BASES or not cls.__module__.startswith("langgraph.")
    return False


@lru_cache(maxsize=256)
def own_async_methods(cls: type) -> frozenset[str]:
    """Return the methods that a class of a user has in an async form of its own.

    The async form belongs to the same class as the synchronous one, or to a class derived from it.
    Names are those of the synchronous methods. Classes of LangGraph do the same in both forms.
    """
    found, settled = set(), set()
    for base in cls.__mro__:
        if base.__module__.startswith("langgraph."):
            break
        own = {name for name in vars(base) if not name.startswith("_")}
        for name in own:
            method = name.removeprefix("a")
            if method != name and method not in settled and _is_async(vars(base)[name]):
                found.add(method)
        settled |= own
    return frozenset(found)


def _only_async(resource: object, method: str) -> bool:
    """Whether ``method`` must be called in its async form."""
    if not hasattr(resource, "a" + method):
        return False
    if has_own(resource, "a" + method):  # LangGraph's stores make all synchronous methods of batch
        return not has_own(resource, "batch")
    # what LangGraph's base makes of others is made of the face that exists
    return has_own(resource, "aput") and not has_own(resource, "put")


def loop_of(resource: object) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that a resource belongs to, None for most."""
    for name in ("loop", "_loop"):
        loop = getattr(resource, name, None)
        if isinstance(loop, asyncio.AbstractEventLoop):
            return loop
    return None


@in_forked_process
def _forget_loop() -> None:
    shared_loop.cache_clear()


@lru_cache(maxsize=1)
def shared_loop() -> asyncio.AbstractEventLoop:
    """Return this process's loop for resources that have async methods only."""
    loop = new_loop()
    daemon(loop.run_forever, "distgraph-persistence").start()
    return loop


def run_on(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], Coroutine[Any, Any, T]],
    resource: object,
    seconds: float | None = None,
) -> T:
    """Run a coroutine on the event loop of another thread, and wait for its result.

    Raises:
        asyncio.InvalidStateError: The current thread is the loop's own thread, which would
        deadlock.
        RunError: The loop is closed, blocked or stopped, ended during the call, or did not answer
            within ``seconds``.
    """
    name = type_name(resource)
    if running_loop() is loop:
        raise asyncio.InvalidStateError(
            f"{name} belongs to this event loop, which a synchronous call would block. Use the "
            "async form: ainvoke, astream, aget_state, ..."
        )
    begun, left = threading.Event(), threading.Event()
    jobs: list[Future[T]] = []

    def start() -> None:
        if not left.is_set():
            jobs.append(asyncio.run_coroutine_threadsafe(make(), loop))
            begun.set()

    try:
        loop.call_soon_threadsafe(start)
    except RuntimeError as error:
        raise _gone(name) from error
    if not begun.wait(BEGIN):
        left.set()
        if not jobs:
            raise _gone(name) if loop.is_closed() else _blocked(name)
    future = jobs[0]
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        try:
            return future.result(_LOOK)
        except (FutureTimeout, TimeoutError):
            if future.done():
                return future.result()
        except CancelledError as error:
            raise RunError(
                f"a call of {name} was cancelled together with its event loop"
            ) from error
        if loop.is_closed():
            raise _gone(name)
        if until is not None and time.monotonic() > until:
            future.cancel()
            raise RunError(f"{name} did not answer within {seconds:g} s")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, None without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _blocked(name: str) -> RunError:
    return RunError(
        f"the event loop that {name} belongs to has not taken a call for {BEGIN:g} s: it is "
        "blocked by a synchronous call, or no longer runs. Use the graph's async methods on that "
        f"loop (ainvoke, astream), or the synchronous counterpart of {name}"
    )


def _gone(name: str) -> RunError:
    return RunError(
        f"the event loop that {name} belongs to is closed. Make the saver or store, and run the "
        "graph, within one asyncio.run(...), or use its synchronous counterpart"
    )
