"""Running a compiled graph: ``invoke``, ``stream``, ``batch`` and their async forms.

Arguments are validated by the call, not at the first chunk. The run starts when the first chunk is
requested, and ends with the last chunk, or when the iterator is closed.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from typing import Any

from typing_extensions import Unpack

from distgraph._internal.chat_messages import message_id
from distgraph._internal.mistakes import warn_once
from distgraph._internal.steps import Left, Steps, Wait, afollow, follow
from distgraph.backends.base import END_MODE
from distgraph.concurrency.threads import DaemonExecutor
from distgraph.contract.callbacks import HandlerCall
from distgraph.contract.progress import PROGRESS_MODE
from distgraph.contract.stream import CALLBACK_MODE, Event, StreamEvent
from distgraph.invocation.arguments import RunArguments, check_arguments, show_arguments
from distgraph.invocation.instrumented import (
    in_place_of,
    instrumented_ainvoke,
    instrumented_invoke,
)
from distgraph.invocation.prepare import BY_CALLBACK, Invocation, prepare
from distgraph.invocation.run_stream import AsyncRunStream, RunStream, Within
from distgraph.invocation.starting import ContextT, InputT, StartMethods
from distgraph.streaming.modes import SKIP
from distgraph.types import Command
from distgraph.worker.context import within


class RunMethods(StartMethods[ContextT, InputT]):
    """The methods of a compiled graph that run it."""

    def stream(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments[ContextT]],
    ) -> Generator[Any, None, None]:
        """Run the graph and yield its stream.

        Args:
            input: A dict of state keys, an object of the input schema, a ``Command``, or None to
                continue from the thread's checkpoint.
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
            durability: Time of saving checkpoints: "async" (default) during the next step, "sync"
                before the next step, "exit" only at the end.
            control: Handle for a graceful stop (drain) between two supersteps.
            subgraphs: Also stream the events of subgraphs; chunks then contain a namespace.
            debug: Also print updates and values.
            version: "v1", or "v2" for ``{"type", "ns", "data"}`` chunks.

        Raises:
            ValueError, TypeError: An argument is invalid.
            GraphDrained: The run stopped after ``control.request_drain()``.
            Exception: A node's own exception, with node, step and host as notes.
            RunError: The run ended for a reason that is not the user's code.
        """
        check_arguments("stream", options)
        call = self._prepare(input, config, options)
        within = self._within("stream", input, config, options, is_async=False)
        return RunStream(call, partial(self._steps, is_async=False), within)

    def astream(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments[ContextT]],
    ) -> AsyncGenerator[Any, None]:
        """Async variant of ``stream``."""
        check_arguments("astream", options)
        call = self._prepare(input, config, options, is_async=True)
        within = self._within("astream", input, config, options, is_async=True)
        return AsyncRunStream(call, partial(self._steps, is_async=True), within)

    def invoke(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments[ContextT]],
    ) -> Any:
        """Run the graph and return its output, or a list of chunks for another ``stream_mode``.

        Takes what ``stream`` takes; the default of ``stream_mode`` is "values". With
        ``version="v2"`` the output is a ``GraphOutput``.
        """
        check_arguments("invoke", options)
        instrumented = instrumented_invoke(self._invoke)
        if instrumented is not None:
            return instrumented(self, input, config, **options)
        return follow(self._output(input, config, options, is_async=False))

    async def ainvoke(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments[ContextT]],
    ) -> Any:
        """Async variant of ``invoke``."""
        check_arguments("ainvoke", options)
        instrumented = instrumented_ainvoke(self._ainvoke)
        if instrumented is not None:
            return await instrumented(self, input, config, **options)
        return await afollow(self._output(input, config, options, is_async=True))

    def batch(
        self,
        inputs: Sequence[InputT | Mapping[str, Any] | Command[Any] | None],
        config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Unpack[RunArguments[ContextT]],
    ) -> list[Any]:
        """Run the graph on each input concurrently, and return the outputs in order of the inputs.

        ``config["max_concurrency"]`` limits the number of concurrent runs.
        """
        check_arguments("batch", options)
        configs = _configs(config, inputs)
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
        inputs: Sequence[InputT | Mapping[str, Any] | Command[Any] | None],
        config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Unpack[RunArguments[ContextT]],
    ) -> list[Any]:
        """Async variant of ``batch``."""
        check_arguments("abatch", options)
        configs = _configs(config, inputs)
        room = asyncio.Semaphore(_batch_width(configs))

        async def one(value: Any, own: Mapping[str, Any] | None) -> Any:
            async with room:
                return await self.ainvoke(value, own, **options)

        jobs = [one(value, own) for value, own in zip(inputs, configs, strict=True)]
        return list(await asyncio.gather(*jobs, return_exceptions=return_exceptions))

    # --- one body for all of them ---------------------------------------------------------------

    def _prepare(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        arguments: RunArguments[Any],
        **internal: Any,
    ) -> Invocation:
        return prepare(self, input, config, arguments, **internal)

    def _invoke(
        self, graph: Any, input: Any, config: Any = None, **options: Unpack[RunArguments[Any]]
    ) -> Any:
        return follow(self._output(input, config, options, is_async=False))

    async def _ainvoke(
        self, graph: Any, input: Any, config: Any = None, **options: Unpack[RunArguments[Any]]
    ) -> Any:
        return await afollow(self._output(input, config, options, is_async=True))

    def _within(
        self,
        name: str,
        input: Any,
        config: Mapping[str, Any] | None,
        options: RunArguments[Any],
        *,
        is_async: bool,
    ) -> Within | None:
        if in_place_of(name, follow) is None:
            return None

        def prepare(input: Any, config: Any = None, **options: Unpack[RunArguments[Any]]) -> Any:
            return self._prepare(input, config, options, is_async=is_async)

        def pass_through(own: Callable[..., Any]) -> Any:
            method = in_place_of(name, own) or own
            return method(self, input, config, **options)

        return Within(pass_through, prepare)

    def _steps(
        self,
        call: Invocation,
        *,
        is_async: bool,
        kept: list[Any] | None = None,
        watch: Callable[[StreamEvent], None] | None = None,
    ) -> Generator[Any, Any, Mapping[str, Any]]:
        """Run the graph: yield chunks, and what is to be waited for. Return the run's end.

        ``kept``: where the chunks go, in place of being yielded. ``watch`` is called with every
        event of the stream.
        """
        callbacks = call.callbacks

        def told(news: HandlerCall) -> Wait:
            return Wait(partial(callbacks.call, news), partial(callbacks.acall, news))

        yield told(callbacks.started(call.plan.input))
        handle = None
        face = call.face
        bare, root = face.stream.bare, face.ns
        if watch is not None or call.around is not None:
            bare = frozenset()
        try:
            if not call.backend.ready():
                connect = call.backend.connect
                yield Wait(connect, partial(asyncio.to_thread, connect))
            start = partial(call.backend.start, call.plan, is_async=is_async)
            handle = within(call.around, start)
            events = Wait(handle.read, handle.aread)
            while True:
                for event in (yield events):
                    if event.mode in bare and event.ns == root:  # fast, for tens of thousands
                        if kept is None:
                            yield event.payload
                        else:
                            kept.append(event.payload)
                        continue
                    if watch is not None:
                        watch(event)
                    if event.mode == END_MODE:
                        warn_once(event.payload.get("ignored", ()))
                        if call.parent is not None and event.payload.get("null_resume_taken"):
                            call.parent.take_null_resume()
                        failure = face.failure(event.payload)
                        if failure is not None:
                            raise failure
                        yield told(callbacks.ended(event.payload["value"]))
                        end: Mapping[str, Any] = event.payload
                        return end
                    if event.mode == CALLBACK_MODE:
                        yield told(event.payload)
                        continue
                    if event.mode == PROGRESS_MODE:
                        continue
                    chunk = _chunk(call, event)
                    if chunk is SKIP:
                        continue
                    if kept is None:
                        yield chunk
                    else:
                        kept.append(chunk)
        except GeneratorExit as left:
            try:
                if handle is not None and isinstance(left, Left):
                    yield Wait(handle.close, handle.aclose)
            finally:
                callbacks.call(callbacks.failed(left))  # whoever leaves waits for nothing else
            raise
        except BaseException as error:
            again = None
            if handle is not None:
                try:
                    yield Wait(handle.close, handle.aclose)
                except asyncio.CancelledError as cancelled:  # while it waited
                    again = cancelled
            yield told(callbacks.failed(error))
            if again is not None and not isinstance(error, asyncio.CancelledError):
                raise again from error
            raise
        finally:
            if handle is not None:
                handle.close()

    def _output(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        options: RunArguments[Any],
        *,
        is_async: bool,
    ) -> Steps[Any]:
        """Run the graph to its end, and return what ``invoke`` does."""
        for_output = options.get("stream_mode", "values") == "values"
        if for_output:
            options = {**options, "stream_mode": ()}
        call = self._prepare(input, config, options, want_output=for_output, is_async=is_async)
        chunks: list[Any] = []
        end = yield from self._steps(call, is_async=is_async, kept=chunks)
        if not for_output:
            return chunks
        return call.face.output(end)


for _method in (
    RunMethods.stream,
    RunMethods.astream,
    RunMethods.invoke,
    RunMethods.ainvoke,
    RunMethods.batch,
    RunMethods.abatch,
):
    show_arguments(_method)


def _chunk(call: Invocation, event: StreamEvent) -> Any:
    """Return the caller's chunk for an event, or ``SKIP``; also forward the event to the parent
    run."""
    around = call.around
    if around is not None and (call.parent is not None or event.mode in BY_CALLBACK):
        wanted = around.run.shared.stream
        # as in LangGraph, whoever streams a graph in mode `custom` is the only one who gets it
        own_form = event.mode in call.stream.yielded and (
            event.mode == "custom"
            or (
                event.mode == "messages"
                and call.stream.request.message_events != wanted.message_events
            )
        )
        if event.mode in wanted.modes and wanted.subgraphs and not own_form:
            around.pass_on(Event(event.ns, event.mode, event.payload))
            if event.mode == "messages" and (seen := message_id(event.payload[0])) is not None:
                around.streamed.add(seen)
    return call.face.chunk(event)


def _configs(
    config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, inputs: Sequence[Any]
) -> list[Mapping[str, Any] | None]:
    if isinstance(inputs, (Mapping, str)):
        raise TypeError(f"batch takes a list of inputs, got {type(inputs).__name__}")
    count = len(inputs)
    if config is None or isinstance(config, Mapping):
        return [config] * count
    if len(config) != count:
        raise ValueError(f"{count} inputs need {count} configs or one, got {len(config)}")
    return list(config)


def _batch_width(configs: Sequence[Mapping[str, Any] | None]) -> int:
    bounds = [c["max_concurrency"] for c in configs if c and c.get("max_concurrency")]
    return min(bounds, default=max(1, min(len(configs), 64)))
