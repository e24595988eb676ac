"""Running a compiled graph: ``invoke``, ``stream``, ``batch`` and their async forms.

Each call is checked when it is made, not when its first chunk is asked for. A run itself starts
with the first chunk, and ends with the last, or when the iterator is closed.
"""

from __future__ import annotations

import asyncio
import contextvars
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

from distgraph._config import DEFAULT_RECURSION_LIMIT, merge_configs, task_metadata
from distgraph._keys import INTERRUPT, TASK_ID
from distgraph._thread import CHECKPOINT_KEYS, has_own_thread, saver_of, thread_options
from distgraph.backends import resolve
from distgraph.backends.base import END_MODE, Backend, RunPlan
from distgraph.callbacks import CallerCallbacks, shows_tokens
from distgraph.engine.instructions import RunOptions
from distgraph.errors import GraphInterrupt, ParentCommand, RunCancelled
from distgraph.interop import own
from distgraph.runtime import RunControl
from distgraph.serde.exceptions import ShippedError
from distgraph.streaming.envelope import CALLBACK_MODE, Event, StreamEvent
from distgraph.streaming.modes import SKIP, StreamOptions
from distgraph.types import Command, GraphOutput
from distgraph.worker.context import TaskContext, active_task, base_config
from distgraph.worker.protocol import RunInfo, StreamRequest
from distgraph.worker.threads import DaemonExecutor

Version = Literal["v1", "v2"]

_BY_CALLBACK = frozenset({"messages", "tools", CALLBACK_MODE})
"""Modes that reach the run around a graph by the callbacks, whichever thread the graph is on."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One checked call of ``stream`` or ``invoke``."""

    plan: RunPlan
    backend: Backend
    stream: StreamOptions
    parent: TaskContext | None
    """The node whose code made the call: the run is a part of that node's."""
    around: TaskContext | None
    """The same, also where the run has a thread of its own."""
    callbacks: CallerCallbacks

    def chunks(self, event: StreamEvent) -> Iterator[Any]:
        """Turn an event into the caller's chunk, and pass it to the graph around this one."""
        if self.around is not None and (self.parent is not None or event.mode in _BY_CALLBACK):
            wanted = self.around.run.stream
            if event.mode in wanted.modes and (wanted.subgraphs or event.mode == CALLBACK_MODE):
                self.around.emit(Event(event.ns, event.mode, event.payload))
                if event.mode == "messages":
                    self.around.streamed.add(event.payload[0].id)
        if event.mode in ("tasks", "debug"):
            event = event._replace(payload=_with_exceptions(event.payload))
        chunk = self.stream.project(event)
        if chunk is not SKIP:
            yield chunk


def _with_exceptions(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a ``tasks`` or ``debug`` payload with the node's own exception in it again."""
    if isinstance(payload.get("payload"), dict):
        return {**payload, "payload": _with_exceptions(payload["payload"])}
    error = payload.get("error")
    return {**payload, "error": error.rebuild()} if isinstance(error, ShippedError) else payload


def _failure(call: _Call, end: Mapping[str, Any]) -> BaseException | None:
    """Return what a run that did not end well is to raise."""
    status = end["status"]
    if status == "error":
        error: ShippedError = end["error"]
        return error.rebuild()
    if status == "cancelled":
        return RunCancelled(f"run {call.plan.options.run_id} was cancelled")
    if status == "interrupted" and call.parent is not None:  # the node around it asks
        return GraphInterrupt(tuple(end["interrupts"]))
    return ParentCommand(end["value"]) if status == "command" else None


def _run_id(given: Any) -> uuid.UUID:
    if given is None:
        return uuid.uuid4()
    try:
        return given if isinstance(given, uuid.UUID) else uuid.UUID(str(given))
    except ValueError:
        raise ValueError(f"config['run_id'] must be a UUID, got {given!r}") from None


class RunMethods:
    """The methods of a compiled graph that run it."""

    def stream(
        self,
        input: Any,
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        stream_mode: str | Sequence[str] | None = None,
        print_mode: str | Sequence[str] = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Literal["*"] | Sequence[str] | None = None,
        interrupt_after: Literal["*"] | Sequence[str] | None = None,
        durability: str | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Version = "v1",
    ) -> Iterator[Any]:
        """Run the graph and yield its stream.

        Args:
            input: A dict of state keys, an object of the input schema, a ``Command``, or None to
                go on with what the thread holds.
            config: ``tags``, ``metadata``, ``configurable``, ``callbacks``, ``run_name``,
                ``run_id``, ``recursion_limit``, ``max_concurrency``.
            context: Run-scoped value for ``Runtime.context``; a dict becomes the
                ``context_schema``.
            stream_mode: One mode (bare payloads) or a list (``(mode, payload)``). Default
                ``updates``, or ``values`` where a node passes its own config.
            print_mode: Modes whose chunks are also printed.
            output_keys: State keys that ``values`` and ``updates`` show; a str shows its bare
                value.
            interrupt_before: Nodes to stop before, in place of those of ``compile``.
            interrupt_after: Nodes to stop after, in place of those of ``compile``.
            durability: When checkpoints are saved: "async" (default) beside the next step, "sync"
                before it, "exit" at the end only.
            control: By which the run can be asked to stop between two supersteps.
            subgraphs: Also stream what happens in subgraphs: chunks gain a namespace.
            debug: Also print updates and values.
            version: "v1", or "v2" for ``{"type", "ns", "data"}`` chunks.

        Raises:
            ValueError, TypeError: An argument is invalid.
            GraphDrained: The run stopped because ``control`` had asked for it.
            Exception: A node's own exception, with node, step, host and remote traceback as notes.
            RunError: The run ended for a reason that is not the user's code.
        """
        return self._iterate(
            self._call(
                input,
                config,
                context=context,
                stream_mode=stream_mode,
                print_mode=print_mode,
                output_keys=output_keys,
                interrupt_before=interrupt_before,
                interrupt_after=interrupt_after,
                durability=durability,
                control=control,
                subgraphs=subgraphs,
                debug=debug,
                version=version,
            )
        )

    def astream(
        self, input: Any, config: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncIterator[Any]:
        """As ``stream``, for ``async for``."""
        return self._aiterate(self._call(input, config, **options))

    def invoke(
        self,
        input: Any,
        config: Mapping[str, Any] | None = None,
        *,
        stream_mode: str | Sequence[str] = "values",
        version: Version = "v1",
        **options: Any,
    ) -> Any:
        """Run the graph and return its output, or a list of chunks for another ``stream_mode``.

        Takes what ``stream`` takes. With ``version="v2"`` the output is a ``GraphOutput``.
        """
        call, chunks = self._invocation(input, config, stream_mode, version, options)
        end: dict[str, Any] = {}
        for chunk in self._iterate(call, end):
            chunks.append(chunk)
        return self._result(call, chunks, end, stream_mode)

    async def ainvoke(
        self,
        input: Any,
        config: Mapping[str, Any] | None = None,
        *,
        stream_mode: str | Sequence[str] = "values",
        version: Version = "v1",
        **options: Any,
    ) -> Any:
        """As ``invoke``, awaited."""
        call, chunks = self._invocation(input, config, stream_mode, version, options)
        end: dict[str, Any] = {}
        async for chunk in self._aiterate(call, end):
            chunks.append(chunk)
        return self._result(call, chunks, end, stream_mode)

    def batch(
        self,
        inputs: Sequence[Any],
        config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Run the graph on each input, side by side, and return the outputs in order.

        ``config["max_concurrency"]`` bounds how many runs go at once.
        """
        configs = _configs(config, len(inputs))
        if not inputs:
            return []

        def one(value: Any, own: Mapping[str, Any] | None) -> Any:
            try:
                return self.invoke(value, own, **options)
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        workers = min(_batch_width(configs), len(inputs))
        pool = DaemonExecutor(workers, thread_name_prefix="distgraph-batch")
        try:
            jobs = [
                pool.submit(contextvars.copy_context().run, one, value, own)
                for value, own in zip(inputs, configs, strict=True)
            ]
            wait(jobs)
        finally:  # whoever interrupts this does not wait for runs that go on
            pool.shutdown(cancel_futures=True)
        return [job.result() for job in jobs]

    async def abatch(
        self,
        inputs: Sequence[Any],
        config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """As ``batch``, awaited."""
        configs = _configs(config, len(inputs))
        room = asyncio.Semaphore(_batch_width(configs))

        async def one(value: Any, own: Mapping[str, Any] | None) -> Any:
            async with room:
                return await self.ainvoke(value, own, **options)

        jobs = [one(value, own) for value, own in zip(inputs, configs, strict=True)]
        return list(await asyncio.gather(*jobs, return_exceptions=return_exceptions))

    # --- one body for all of them ---------------------------------------------------------------

    def _iterate(self, call: _Call, end: dict[str, Any] | None = None) -> Iterator[Any]:
        tell = call.callbacks
        tell.call(tell.started(call.plan.input))
        handle = call.backend.start(call.plan, is_async=False)
        try:
            while True:
                for event in handle.read():
                    if event.mode == END_MODE:
                        failure = _failure(call, event.payload)
                        if failure is not None:
                            tell.call(tell.failed(failure))
                            raise failure
                        tell.call(tell.ended(event.payload["value"]))
                        if end is not None:
                            end.update(event.payload)
                        return
                    if event.mode == CALLBACK_MODE:
                        tell.call(event.payload)
                    yield from call.chunks(event)
        finally:
            handle.close()

    async def _aiterate(self, call: _Call, end: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        tell = call.callbacks
        await tell.acall(tell.started(call.plan.input))
        handle = call.backend.start(call.plan, is_async=True)
        try:
            while True:
                for event in await handle.aread():
                    if event.mode == END_MODE:
                        failure = _failure(call, event.payload)
                        if failure is not None:
                            await tell.acall(tell.failed(failure))
                            raise failure
                        await tell.acall(tell.ended(event.payload["value"]))
                        if end is not None:
                            end.update(event.payload)
                        return
                    if event.mode == CALLBACK_MODE:
                        await tell.acall(event.payload)
                    for chunk in call.chunks(event):
                        yield chunk
        finally:
            handle.close()

    def _invocation(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        stream_mode: str | Sequence[str],
        version: Version,
        options: dict[str, Any],
    ) -> tuple[_Call, list[Any]]:
        for_output = stream_mode == "values"
        call = self._call(
            input,
            config,
            stream_mode=() if for_output else stream_mode,
            version=version,
            want_output=for_output,
            **options,
        )
        return call, []

    def _result(
        self,
        call: _Call,
        chunks: list[Any],
        end: Mapping[str, Any],
        stream_mode: str | Sequence[str],
    ) -> Any:
        if stream_mode != "values":
            return chunks
        value, interrupts = end["value"], tuple(end["interrupts"])
        if call.stream.version == "v2":
            mapper = getattr(self, "output_mapper", None)
            if mapper is not None and isinstance(value, dict):
                value = mapper(value)
            return GraphOutput(value, interrupts)
        if end["status"] == "interrupted" and interrupts:
            base = value if isinstance(value, dict) else {}
            return {**base, INTERRUPT: list(interrupts)}
        return value

    def _call(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        *,
        context: Any = None,
        stream_mode: str | Sequence[str] | None = None,
        print_mode: str | Sequence[str] = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Literal["*"] | Sequence[str] | None = None,
        interrupt_after: Literal["*"] | Sequence[str] | None = None,
        durability: str | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Version = "v1",
        want_output: bool = False,
    ) -> _Call:
        graph: Any = self
        input = own(input)
        around = active_task()
        parent = None if around is not None and has_own_thread(config) else around
        saver = saver_of(graph, parent)
        if saver is None and durability is not None:
            warnings.warn(
                f"durability={durability!r} has no effect: the graph has no checkpointer",
                stacklevel=3,
            )
        if saver is None and isinstance(input, Command) and input.resume is not None:
            raise RuntimeError(
                "Cannot use Command(resume=...) without checkpointer: it answers a run that was "
                "saved. Compile the graph with a checkpointer"
            )
        inherited = None if around is None else base_config(around)
        if inherited is not None and parent is None:
            inherited = {**inherited, "configurable": {}}
        merged = merge_configs(inherited, graph.config, config)
        ns = () if parent is None else parent.child_namespace()
        stream = StreamOptions.parse(
            stream_mode,
            default="values" if parent is not None and _is_of_a_node(config) else "updates",
            subgraphs=subgraphs,
            version=version,
            debug=graph.debug if debug is None else debug,
            print_mode=print_mode,
            output_mapper=graph.state_mapper if output_keys is None else None,
            state_mapper=graph.state_mapper,
            ns=ns,
        )
        request = stream.request
        if around is not None and around.run.stream.subgraphs:
            outer = around.run.stream.modes
            shared = outer if parent is not None else outer & _BY_CALLBACK
            request = StreamRequest(request.modes | shared, True)
        spec = graph.spec
        if output_keys is None:
            output_keys = spec.output_channels if want_output else spec.stream_channels
        if merged["callbacks"] or (around and CALLBACK_MODE in around.run.stream.modes):
            request = StreamRequest(request.modes | {CALLBACK_MODE}, request.subgraphs)
        run_id = _run_id(merged.get("run_id"))
        options = RunOptions(
            run_id=str(run_id),
            recursion_limit=merged.get("recursion_limit") or DEFAULT_RECURSION_LIMIT,
            stream=request,
            output_keys=_output_keys(output_keys, spec),
            metadata=task_metadata(merged),
            tags=tuple(merged["tags"]),
            ns=ns,
            has_parent=parent is not None,
            interrupt_before=_breakpoints(interrupt_before, spec, "interrupt_before"),
            interrupt_after=_breakpoints(interrupt_after, spec, "interrupt_after"),
            thread=thread_options(saver, merged["configurable"], durability, parent),
            configurable=_of_thread(_public(merged["configurable"])),
        )
        info = RunInfo(
            run_id=options.run_id,
            stream=request,
            configurable=_public(merged["configurable"]),
            tags=options.tags,
            run_name=merged.get("run_name"),
            recursion_limit=options.recursion_limit,
            max_concurrency=merged.get("max_concurrency"),
            context=_context(context, graph.program.context_schema, parent),
            capture="messages" in request.modes
            or (around is not None and around.run.capture)
            or any(map(shows_tokens, merged["callbacks"])),
            saver=saver,
            control=_control(control, around),
        )
        # callbacks are told of the output, whatever is streamed
        told = want_output or bool(merged["callbacks"])
        plan = RunPlan(graph, input, options, info, told, saver)
        # inside a node the graph runs in the node's own process: no worker waits for a child
        backend = resolve(graph.backend if around is None else "local")
        name = merged.get("run_name") or graph.name
        callbacks = CallerCallbacks(merged["callbacks"], name, merged, run_id)
        return _Call(plan, backend, stream, parent, around, callbacks)


def _control(given: Any, around: TaskContext | None) -> RunControl | None:
    """Return the control of a run: that of the run around it, where it is given none."""
    if given is None:
        return RunControl() if around is None else around.runtime.control
    if not isinstance(given, RunControl):
        raise TypeError(
            f"control must be a distgraph.runtime.RunControl, got {type(given).__module__}."
            f"{type(given).__name__}, whose requests nobody would hear of"
        )
    return given


def _public(configurable: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what belongs to the task whose config this is."""
    return {key: v for key, v in configurable.items() if not key.startswith("__pregel_")}


def _of_thread(configurable: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what says at which checkpoint a run is."""
    kept = {key: v for key, v in configurable.items() if key not in CHECKPOINT_KEYS}
    if "thread_id" in kept:
        kept["thread_id"] = str(kept["thread_id"])
    return kept


def _output_keys(keys: str | Sequence[str], spec: Any) -> tuple[str, ...] | str:
    named = (keys,) if isinstance(keys, str) else tuple(keys)
    unknown = [key for key in named if key not in spec.channels]
    if unknown:
        raise ValueError(
            f"output_keys: {', '.join(map(repr, unknown))} not in the graph's state; choose from "
            f"{', '.join(sorted(c for c in spec.channels if ':' not in c and '__' not in c))}"
        )
    return keys if isinstance(keys, str) else named


def _breakpoints(
    nodes: Literal["*"] | Sequence[str] | None, spec: Any, option: str
) -> tuple[str, ...] | Literal["*"] | None:
    if nodes is None or nodes == "*":
        return nodes
    unknown = [name for name in nodes if name not in spec.nodes]
    if unknown:
        raise ValueError(
            f"{option}: no node {', '.join(map(repr, unknown))} in graph {spec.name!r}; choose "
            f"from {', '.join(sorted(spec.nodes))}"
        )
    return tuple(nodes)


def _context(context: Any, schema: type[Any] | None, parent: TaskContext | None) -> Any:
    if context is None and parent is not None:
        return parent.run.context
    built = schema is not None and (is_dataclass(schema) or hasattr(schema, "model_fields"))
    return schema(**context) if built and isinstance(context, Mapping) else context  # type: ignore[misc]


def _is_of_a_node(config: Mapping[str, Any] | None) -> bool:
    """Whether the config is one that a node was given, and passed on."""
    return config is not None and TASK_ID in config.get("configurable", {})


def _configs(
    config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, count: int
) -> list[Mapping[str, Any] | None]:
    if config is None or isinstance(config, Mapping):
        return [config] * count
    if len(config) != count:
        raise ValueError(f"{count} inputs need {count} configs or one, got {len(config)}")
    return list(config)


def _batch_width(configs: Sequence[Mapping[str, Any] | None]) -> int:
    bounds = [c["max_concurrency"] for c in configs if c and c.get("max_concurrency")]
    return min(bounds, default=max(1, min(len(configs), 64)))
