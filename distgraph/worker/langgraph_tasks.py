"""Calls of LangGraph's ``@task`` functions: they become tasks of distgraph's engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distgraph.contract.cache_names import cache_policy_of, identity_of
from distgraph.contract.retries import policies_of
from distgraph.langgraphs.vocabulary import private
from distgraph.types import TimeoutPolicy
from distgraph.worker.calls import Callee
from distgraph.worker.decorated import Decorated, name_of

if TYPE_CHECKING:
    from distgraph.worker.context import TaskContext

__all__ = ("TaskRunnable", "call")


class TaskRunnable(Decorated):
    """A task's function, called as LangGraph calls it: its own runtime is what is filled in."""

    __slots__ = ("_runnable",)

    def __init__(self, func: Any, what: str) -> None:
        super().__init__(func, what)
        sync, awaited = (None, func) if self.is_async else (func, None)
        self._runnable: Any = private("RunnableCallable")(
            sync, awaited, name=name_of(func), explode_args=True, trace=False, recurse=False
        )

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Any) -> Any:
        run = self._runnable.ainvoke if self.is_async else self._runnable.invoke
        return run((args, dict(kwargs)), context.config)

    def __reduce__(self) -> Any:
        return TaskRunnable, (self.func, self.what)


def call(
    task: TaskContext,
    func: Any,
    input: tuple[tuple[Any, ...], Mapping[str, Any]],
    *,
    retry_policy: Any = None,
    cache_policy: Any = None,
    timeout: Any = None,
    callbacks: Any = None,
) -> Any:
    """Start a call from a node's code, and return its future. LangGraph finds this in a config."""
    name = name_of(func)
    target = _runnable(func)
    callee = Callee(
        name,
        target,
        target.is_async,
        retry=policies_of(retry_policy),
        timeout=TimeoutPolicy.coerce(timeout),
        cache=cache_policy_of(cache_policy),
        identity=identity_of(func),
    )
    return task.call(callee, *input, callbacks=callbacks)


@lru_cache(maxsize=256)
def _runnable(func: Any) -> TaskRunnable:
    return TaskRunnable(func, f"Task `{name_of(func)}`")
