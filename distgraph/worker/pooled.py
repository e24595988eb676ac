"""Classes as nodes and tools: constructed once a process, called many times.

What is costly to set up (a model on a GPU, an index, a connection) belongs into ``__init__``; the
call is the node. An instance serves one call at a time.
"""

from __future__ import annotations

import functools
import inspect
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distgraph.concurrency.threads import in_thread

__all__ = ("Pooled", "factory_of")

_changed = threading.Condition()
_idle: dict[str, list[Any]] = defaultdict(list)
_made: dict[str, int] = defaultdict(int)


def factory_of(action: Any) -> type[Any] | None:
    """Return the class if ``action`` is one, or a ``functools.partial`` of one."""
    inner = action
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inner if inspect.isclass(inner) else None


class Pooled:
    """Calls an instance of a class that was made before, or makes one.

    Args:
        factory: The class, or a partial of it with the constructor's arguments.
        most: Instances in one process, None for as many as are called at once.
        what: How errors call it.

    Raises:
        TypeError: The class cannot be called, or its constructor wants arguments.
    """

    def __init__(self, factory: Callable[[], Any], most: int | None, what: str) -> None:
        cls = factory_of(factory)
        if cls is None or "__call__" not in dir(cls):
            raise TypeError(
                f"{what}: class {getattr(cls, '__name__', factory)!r} has no __call__, which is "
                "what is done with an input"
            )
        try:
            inspect.signature(factory).bind()
        except TypeError as error:
            raise TypeError(
                f"{what}: {cls.__name__} cannot be constructed without arguments ({error}); bind "
                f"them with functools.partial({cls.__name__}, …)"
            ) from None
        self.factory = factory
        self.most = most
        self.key = uuid.uuid4().hex
        self.__name__ = cls.__name__
        self.__doc__ = cls.__doc__
        # what reads signatures and annotations (injection, tool schemas) sees those of the call
        self.__signature__ = inspect.signature(_bound_call(cls))
        self.is_async = inspect.iscoroutinefunction(cls.__call__)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("__signature__", "__doc__")}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_async:
            return self._acall(args, kwargs)
        with self._instance() as instance:
            return instance(*args, **kwargs)

    async def _acall(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        instance = await in_thread(self._take)
        try:
            return await instance(*args, **kwargs)
        finally:
            self._give_back(instance)

    @contextmanager
    def _instance(self) -> Iterator[Any]:
        instance = self._take()
        try:
            yield instance
        finally:
            self._give_back(instance)

    def _take(self) -> Any:
        with _changed:
            while not _idle[self.key] and self.most is not None and _made[self.key] >= self.most:
                _changed.wait()
            if _idle[self.key]:
                return _idle[self.key].pop()
            _made[self.key] += 1
        try:
            return self.factory()
        except BaseException:
            with _changed:
                _made[self.key] -= 1
                _changed.notify()
            raise

    def _give_back(self, instance: Any) -> None:
        with _changed:
            _idle[self.key].append(instance)
            _changed.notify()


def _bound_call(cls: type[Any]) -> Callable[..., Any]:
    """Return ``cls.__call__`` without ``self``, as ``inspect.signature`` is to see it."""
    call: Callable[..., Any] = cls.__call__
    return functools.partial(call, None)
