"""``@task``: a function whose calls are tasks of the engine, each of which gives a future."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from typing_extensions import ParamSpec, Unpack

from distgraph import placement
from distgraph.contract.cache_names import cache_policy_of, calls_of, identity_of
from distgraph.contract.deprecated_arguments import DeprecatedTaskArguments, with_deprecated
from distgraph.contract.retries import policies_of
from distgraph.placement import RayOptions
from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy
from distgraph.worker.calls import Callee
from distgraph.worker.context import current_task
from distgraph.worker.decorated import Decorated, checked_name, is_generator, name_of

__all__ = ("TaskFunction", "TaskFuture", "task")

P = ParamSpec("P")
T = TypeVar("T")


class TaskFuture(Future[T]):
    """The return type of a task call, for type checkers.

    In a coroutine the object is an ``asyncio.Future`` (``await``, ``asyncio.gather``,
    ``as_completed``), anywhere else a ``concurrent.futures.Future`` (``.result()``, ``wait``,
    ``as_completed``).
    """

    def __await__(self) -> Generator[Any, None, T]:
        yield NotImplemented
        return self.result()


class TaskFunction(Generic[P, T]):
    """A function whose calls are tasks. ``@task`` makes it.

    Attributes:
        func: The function, which can be called directly, without a task.
        name: Of the task, in streams and checkpoints.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        name: str | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        ray_options: RayOptions | None = None,
    ) -> None:
        self.name = checked_name(name or name_of(func), "Task")
        what = f"Task `{self.name}`"
        if not callable(func):
            raise TypeError(f"{what} must be a function, got {type(func).__name__}")
        if is_generator(func):
            raise NotImplementedError(
                f"{what}: Generators are not supported in the Functional API. Return a list, or "
                "emit the items with get_stream_writer()"
            )
        self.func = func
        self.decorated = Decorated(func, what)
        self.retry = policies_of(retry_policy)
        self.cache = cache_policy_of(cache_policy)
        self.timeout = TimeoutPolicy.coerce(timeout)
        self.ray_options = placement.validate(ray_options, self.name)
        placement.resolve(self.ray_options, self.decorated.is_async, self.name)
        if "concurrency" in self.ray_options:
            raise ValueError(
                f"{what}: ray_options['concurrency'] makes a pool of workers for a class that is a "
                "node. Bound the run with config={'max_concurrency': …}"
            )
        functools.update_wrapper(self, func)
        self.__name__ = self.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]:
        """Call the task, and return the future of its result.

        Raises:
            RuntimeError: Outside of a run.
            SerializationError: The function or an argument cannot be sent to a worker.
        """
        here = current_task(self.name)
        callee = Callee(
            self.name,
            self.decorated,
            self.decorated.is_async,
            ray_options=self.ray_options,
            retry=self.retry,
            timeout=self.timeout,
            cache=self.cache,
            identity=identity_of(self.func),
        )
        return cast("TaskFuture[T]", here.call(callee, args, kwargs))

    def clear_cache(self, cache: Any) -> None:
        """Delete this task's results from a cache."""
        if self.cache is not None:
            cache.clear((calls_of(identity_of(self.func)),))

    async def aclear_cache(self, cache: Any) -> None:
        """Async variant of ``clear_cache``."""
        if self.cache is not None:
            await cache.aclear((calls_of(identity_of(self.func)),))

    def __reduce__(self) -> Any:
        from distgraph.serde.pickling import found_under

        path = getattr(self.func, "__qualname__", "")
        if found_under(getattr(self.func, "__module__", ""), path) is self:
            return path  # pickle looks it up under this name
        return _unfinished, (), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        return {key: v for key, v in self.__dict__.items() if key not in ("__wrapped__", "__doc__")}

    def __repr__(self) -> str:
        return f"task({self.name})"


def _unfinished() -> TaskFunction[Any, Any]:
    """Return a task without its state: its function may refer to it."""
    return TaskFunction.__new__(TaskFunction)


class TaskDecorator(Protocol):
    """What ``task`` with options returns."""

    @overload
    def __call__(self, func: Callable[P, Awaitable[T]], /) -> TaskFunction[P, T]: ...

    @overload
    def __call__(self, func: Callable[P, T], /) -> TaskFunction[P, T]: ...


@overload
def task(
    func: None = None,
    /,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    ray_options: RayOptions | None = None,
    **deprecated: Unpack[DeprecatedTaskArguments],
) -> TaskDecorator: ...


@overload
def task(func: Callable[P, Awaitable[T]], /) -> TaskFunction[P, T]: ...


@overload
def task(func: Callable[P, T], /) -> TaskFunction[P, T]: ...


def task(
    func: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    ray_options: RayOptions | None = None,
    **deprecated: Unpack[DeprecatedTaskArguments],
) -> Any:
    """Make a task of a function, as a decorator with or without arguments.

    A task is called in an entrypoint, in a node, or in another task. The call returns a future at
    once, and the function runs as a task of its own: on Ray, on any machine with free resources.

    With a checkpointer, a call that has finished does not run again when the run continues. Calls
    are known by the order in which code makes them: this order must not depend on anything that
    differs between runs. Parameters named ``config``, ``writer``, ``store``, ``runtime`` and
    ``previous`` that the call leaves out are filled in.

    Args:
        func: The function, sync or async.
        name: Name of the task. Default: that of the function.
        retry_policy: When a failed call is tried again; of several, the first that names the error.
        cache_policy: How results are cached, where the graph has a cache.
        timeout: How long an attempt may take: seconds, a ``timedelta`` or a ``TimeoutPolicy``.
        ray_options: Where calls run, as ``add_node`` takes them. A sync task that waits for tasks
            which it calls should have ``{"placement": "thread"}``, which holds no CPU.

    Raises:
        ValueError: An argument is invalid.
        NotImplementedError: The function is a generator.
    """

    if deprecated:
        (retry_policy,) = with_deprecated(task, deprecated, retry_policy=retry_policy)
    policy = TimeoutPolicy.coerce(timeout)

    def decorate(function: Callable[..., Any]) -> TaskFunction[Any, Any]:
        return TaskFunction(
            function,
            name=name,
            retry_policy=retry_policy,
            cache_policy=cache_policy,
            timeout=policy,
            ray_options=ray_options,
        )

    return decorate if func is None else decorate(func)
