"""What LangGraph's own calls look for in a node's config.

``get_stream_writer``, ``get_runtime``, ``get_store``, ``interrupt``, its ``ToolNode`` and its
graphs find the run they are in by hidden keys of ``config["configurable"]``.
Here these keys are filled for one attempt, from its ``TaskContext``. Nothing of LangGraph is
imported: what is loaded is used, and what is not is stood in for.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from distgraph._internal.keys import NS_SEP
from distgraph._internal.loaded import loaded
from distgraph.contract.stream import Event
from distgraph.errors import RunCancelled
from distgraph.interop import either, own
from distgraph.langgraphs.vocabulary import (
    CALL,
    CHECKPOINTER,
    DURABILITY,
    NODE_ERROR,
    READ,
    REPLAY_STATE,
    RESUME_MAP,
    RESUMING,
    RUNTIME,
    SCRATCHPAD,
    SEND,
    STREAM,
    private_if_loaded,
)
from distgraph.runtime import server_info
from distgraph.worker import langgraph_tasks
from distgraph.worker.decorated import name_of

if TYPE_CHECKING:
    from distgraph.contract.spec import Reader, Write
    from distgraph.worker.context import TaskContext

__all__ = ("offer", "reading")


@dataclass(slots=True)
class Scratchpad:
    """A task's counters, and the answers to its interrupts."""

    step: int
    stop: int
    call_counter: Callable[[], int]
    interrupt_counter: Callable[[], int]
    get_null_resume: Callable[[bool], Any]
    resume: list[Any]
    subgraph_counter: Callable[[], int]


class _OfTask:
    """A function of a task, for the task's config. It does not keep the task, which keeps the
    config: both are freed with the attempt, not by the garbage collector.

    ``late`` is called in its place once they are.
    """

    __slots__ = ("_function", "_late", "_task")

    def __init__(
        self, task: TaskContext, function: Callable[..., Any], late: Callable[..., Any]
    ) -> None:
        self._task, self._function, self._late = weakref.ref(task), function, late

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        task = self._task()
        return (
            self._late(*args, **kwargs) if task is None else self._function(task, *args, **kwargs)
        )


def _nothing(consume: bool = False) -> None:
    """Return the spare answer of an attempt that has ended: a thread of it may go on."""


def _refused(func: Any, input: Any, **options: Any) -> Any:
    raise RunCancelled(
        f"task {name_of(func)!r} was called after the attempt of its node had ended. Let the node "
        "wait for the threads that it starts"
    )


def _scratchpad(task: TaskContext) -> Any:
    """Return the task's scratchpad, of LangGraph's class where that is loaded."""
    cls = private_if_loaded("PregelScratchpad")
    return (cls or Scratchpad)(
        step=task.request.step,
        stop=task.request.stop,
        call_counter=itertools.count().__next__,
        interrupt_counter=_OfTask(
            task, _next_interrupt, itertools.count(len(task.resume_values)).__next__
        ),
        get_null_resume=_OfTask(task, _spare, _nothing),
        resume=task.resume_values,
        subgraph_counter=task.children.__next__,
    )


def _next_interrupt(task: TaskContext) -> int:
    return task.next_interrupt()


def _spare(task: TaskContext, consume: bool = False) -> Any:
    """Return the answer that goes with no interrupt's id, None without one."""
    if not task.null_resume:
        return None
    return task.null_resume.pop() if consume else task.null_resume[0]


class Stream:
    """Where a LangGraph graph that a node invokes puts its own events.

    A graph in this process puts custom events and tokens into the writer and the callbacks instead.
    A ``RemoteGraph`` has no other way: it puts here what its server streams in these modes.
    """

    __slots__ = ("_pass_on", "modes")

    def __init__(self, task: TaskContext) -> None:
        self._pass_on = task.pass_on
        self.modes = set(task.run.shared.stream.modes)

    def __call__(self, chunk: tuple[tuple[str, ...], str, Any]) -> None:
        ns, mode, payload = chunk
        self._pass_on(Event(tuple(ns), mode, _with_own_interrupts(payload)))


def _with_own_interrupts(payload: Any) -> Any:
    if isinstance(payload, dict) and "__interrupt__" in payload:
        return {**payload, "__interrupt__": own(payload["__interrupt__"])}
    return payload


def offer(task: TaskContext) -> None:
    """Add the keys to the config of ``task``, where the module that LangGraph reads is loaded."""
    if "langchain_core.runnables.config" not in sys.modules:
        return
    configurable = task.config["configurable"]
    configurable[RUNTIME] = _runtime(task)
    configurable[SCRATCHPAD] = _scratchpad(task)
    configurable[SEND] = task.sent.extend
    configurable[READ] = reading(task, _read_state(task))
    configurable[CALL] = _OfTask(task, _call, _refused)
    configurable[CHECKPOINTER] = task.run.saver
    _offer_standing(task, configurable)
    if task.request.failed is not None:
        configurable[NODE_ERROR] = _node_error(task)
    configurable.pop(STREAM, None)  # that of a graph around this one
    if task.run.shared.stream.subgraphs:
        configurable[STREAM] = Stream(task)


def _offer_standing(task: TaskContext, configurable: dict[str, Any]) -> None:
    """Tell graphs that the node invokes where the thread stands, and which answers are known."""
    standing = task.request.standing
    if standing is None or task.run.saver is None:
        return
    configurable["checkpoint_map"] = dict(standing.checkpoint_map)
    configurable[DURABILITY] = standing.durability
    if standing.resume_map:
        configurable[RESUME_MAP] = _ById(standing.resume_map, task.taken)
    if standing.resuming is not None:
        configurable[RESUMING] = standing.resuming
    replay = private_if_loaded("ReplayState")
    if standing.replay is not None and replay is not None:
        configurable[REPLAY_STATE] = replay(standing.replay)


class _ById(dict[str, Any]):
    """Answers by interrupt id, which notes those that were looked up."""

    def __init__(self, answers: Mapping[str, Any], taken: set[str]) -> None:
        super().__init__(answers)
        self._taken = taken

    def __getitem__(self, key: str) -> Any:
        self._taken.add(key)
        return super().__getitem__(key)


def _call(task: TaskContext, func: Any, input: Any, **options: Any) -> Any:
    return langgraph_tasks.call(task, func, input, **options)


# --- reading ------------------------------------------------------------------------------------


def reading(task: TaskContext, read: Reader) -> Callable[..., Any]:
    """Return LangGraph's way of reading channels, by ``read``.

    LangGraph's ``ToolNode`` takes the names of all channels from the second argument.
    """
    request = task.request
    names = dict.fromkeys((*request.state, *request.managed))
    return partial(_read, read, names)


def _read(
    read: Reader, names: Mapping[str, None], select: Sequence[str] | str, fresh: bool = False
) -> Any:
    return read(select)


def _read_state(task: TaskContext) -> Reader:
    """Read what travelled with the attempt, before any write of its own."""
    request = task.request

    def read(select: Sequence[str] | str) -> Any:
        if isinstance(select, str):
            return request.managed.get(select, request.state.get(select))
        given = {**request.state, **request.managed}
        return {key: given[key] for key in select if key in given}

    return read


def _node_error(task: TaskContext) -> Any:
    """Return what an error handler handles, in LangGraph's class where that is loaded."""
    told = task.error
    cls = loaded("langgraph.errors", "NodeError")
    if cls is None or told is None:
        return told
    return cls(told.node, either(told.error))


# --- the runtime --------------------------------------------------------------------------------


def _runtime(task: TaskContext) -> Any:
    """Return the task's runtime, of LangGraph's class where that is loaded."""
    module = sys.modules.get("langgraph.runtime")
    cls = getattr(module, "Runtime", None)
    if cls is None:
        return task.runtime
    values: dict[str, Any] = {
        "context": task.run.context,
        "store": task.store,
        "stream_writer": _writer(task),
        "previous": task.previous,
        "heartbeat": task.heartbeat,
        "control": task.control,
        "server_info": server_info(task.run.shared.configurable),
    }
    info = getattr(module, "ExecutionInfo", None)
    if info is not None:
        values["execution_info"] = info(**_known(info, task.position()))
    return cls(**_known(cls, values))


def _known(cls: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values for which a class has fields: releases of LangGraph differ."""
    fields = _fields(cls)
    if fields.issuperset(values):
        return values
    return {name: value for name, value in values.items() if name in fields}


@lru_cache(maxsize=8)
def _fields(cls: type[Any]) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(cls))


def _writer(task: TaskContext) -> Callable[[Any], None]:
    """Return a writer that the nodes of a LangGraph graph inside the task may use as well."""
    if "custom" not in task.run.shared.stream.modes:
        return task.writer
    own_ns, own_writer, pass_on = task.task_ns, task.writer, task.pass_on
    subgraphs = task.run.shared.stream.subgraphs

    def write(payload: Any) -> None:
        core = sys.modules["langchain_core.runnables.config"]
        config = core.var_child_runnable_config.get() or {}
        ns = config.get("configurable", {}).get("checkpoint_ns", own_ns)
        if ns == own_ns:
            own_writer(payload)
        elif subgraphs:
            pass_on(Event(tuple(ns.split(NS_SEP)[:-1]), "custom", payload))

    return write


def own_writes(writes: Iterable[Write]) -> list[Write]:
    """Return writes of LangGraph's writers with our ``Send`` in them."""
    return [(channel, own(value)) for channel, value in writes]
