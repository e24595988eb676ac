"""A call of ``start``: arguments in, a run that no reader owns out."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, cast, get_args

from typing_extensions import TypeVar, Unpack

from distgraph.contract.started_runs import Retention, RunRecord, RunTerms, SlowReader
from distgraph.errors import UnsupportedError
from distgraph.invocation.arguments import RunArguments, check_arguments, show_arguments
from distgraph.invocation.first_reader import follow_for_caller
from distgraph.invocation.prepare import Invocation, prepare, watched
from distgraph.runs import RunHandle
from distgraph.serde.pickling import dumps_data
from distgraph.streaming.limits import retention_from_environment
from distgraph.types import Command

__all__ = ("StartMethods",)

ContextT = TypeVar("ContextT", default=Any)
InputT = TypeVar("InputT", default=Any)

_DAY = 86_400.0
"""Seconds that a detached run may take."""


class StartArguments(RunArguments[ContextT], total=False):
    """Options of ``start``, beside those of a run."""

    detached: bool
    """Whether the run outlives this process (Ray only)."""
    retention: Retention | None
    """How much of the stream is kept for readers."""
    slow_reader: SlowReader
    """What follows where a reader is far behind: "truncate" or "wait"."""
    time_to_live: float | None
    """Seconds after which the run is cancelled if it has not ended."""
    progress: bool
    """Whether the run also reports its attempts, for views."""


_NAMES = tuple(StartArguments.__annotations__)


class StartMethods(Generic[ContextT, InputT]):
    """The methods of a compiled graph that start a run which no reader owns."""

    def start(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[StartArguments[ContextT]],
    ) -> RunHandle:
        """Start a run, and return its handle at once. The run goes on whether it is read or not.

        Args:
            input: As for ``stream``; so are all arguments that are not described here.
            config: As for ``stream``. ``run_id`` names the run for ``attach``.
            detached: Whether the run outlives this process (Ray only).
            retention: How much of the stream is kept for readers. Default: the settings
                ``DISTGRAPH_STREAM_KEPT_EVENTS``, ``_BYTES`` and ``_SECONDS``.
            slow_reader: "truncate": the run never waits for readers; one that is further behind
                than what is kept gets ``Truncated``. "wait": the run pauses while an open reader is
                behind by more than the limits of a stream.
            time_to_live: Seconds after which the run is cancelled if it has not ended. Default:
                none, or 24 hours for a detached run.
            context, stream_mode, print_mode, output_keys: See ``stream``.
            interrupt_before, interrupt_after, durability, control: See ``stream``.
            subgraphs, debug, version: See ``stream``.
            progress: Whether the run also reports its attempts, for ``distgraph.progress`` and
                ``distgraph.timeline`` of the handle. About three events for each attempt, which
                count for ``retention``.

        Raises:
            ValueError, TypeError: An argument is invalid.
            UnsupportedError: The run cannot be detached, or the call is made inside a node.
            RunError: A run with the ``run_id`` of the config is known already.
        """
        check_arguments("start", options, _NAMES)
        call, terms = _plan(self, input, config, is_async=False, **options)
        call.callbacks.call(call.callbacks.started(call.plan.input))
        return _launch(self, call, terms, bool(options.get("detached")), None)

    async def astart(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[StartArguments[ContextT]],
    ) -> RunHandle:
        """Async variant of ``start``. On the local backend, async nodes run on this event loop."""
        check_arguments("astart", options, _NAMES)
        detached = bool(options.get("detached"))
        call, terms = _plan(self, input, config, is_async=True, **options)
        await call.callbacks.acall(call.callbacks.started(call.plan.input))
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(_launch, self, call, terms, detached, loop)


for _method in (StartMethods.start, StartMethods.astart):
    show_arguments(_method, StartArguments)


def _plan(
    graph: Any,
    input: Any,
    config: Mapping[str, Any] | None,
    *,
    detached: bool = False,
    retention: Retention | None = None,
    slow_reader: SlowReader = "truncate",
    time_to_live: float | None = None,
    progress: bool = False,
    is_async: bool,
    **options: Any,
) -> tuple[Invocation, RunTerms]:
    """Check the arguments of ``start``, or of ``astart`` for a caller that awaits the run."""
    if retention is not None and not isinstance(retention, Retention):
        raise TypeError(
            f"retention must be a distgraph.runs.Retention, got {type(retention).__name__}"
        )
    if slow_reader not in get_args(SlowReader):
        raise ValueError(
            f"slow_reader={slow_reader!r}: choose from {', '.join(map(repr, get_args(SlowReader)))}"
        )
    if time_to_live is not None and not time_to_live > 0:
        raise ValueError(f"time_to_live must be a number of seconds above 0, got {time_to_live!r}")
    arguments = cast("RunArguments[Any]", options)
    call = prepare(graph, input, config, arguments, want_result=True, is_async=is_async)
    if progress:
        call = watched(call)
        call = replace(call, face=replace(call.face, reports_progress=True))
    if call.around is not None:
        raise UnsupportedError(
            f"graph {graph.name!r}: start() inside a node, whose process ends no later than the "
            "run around it. Call invoke() or stream() there, or start the run from outside of nodes"
        )
    thread_id = call.plan.options.shared.configurable.get("thread_id")
    record = RunRecord(
        graph=graph.name,
        thread_id=None if thread_id is None else str(thread_id),
        started_at=time.time(),
        host=socket.gethostname(),
        pid=os.getpid(),
        detached=detached,
    )
    if time_to_live is None and detached:
        time_to_live = _DAY
    terms = RunTerms(
        retention=retention or retention_from_environment(),
        slow_reader=slow_reader,
        time_to_live=time_to_live,
        record=dumps_data(record),
    )
    return call, terms


def _launch(
    graph: object,
    call: Invocation,
    terms: RunTerms,
    detached: bool,
    loop: asyncio.AbstractEventLoop | None,
) -> RunHandle:
    # printed once, not by every reader
    face = replace(call.face, stream=replace(call.stream, print_modes=()))
    try:
        if not (detached or call.backend.ready()):
            call.backend.connect()
        run = call.backend.launch(call.plan, terms, face, detached=detached, loop=loop)
    except BaseException as error:
        call.callbacks.call(call.callbacks.failed(error))
        raise
    callbacks = call.callbacks
    if callbacks.info is None and not callbacks.hears and not call.stream.print_modes:
        return RunHandle(run, graph=graph, face=face)
    follower = follow_for_caller(call, run, loop)
    return RunHandle(run, follower=follower, graph=graph, face=face)
