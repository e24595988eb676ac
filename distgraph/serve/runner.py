"""The life of runs: created, queued, started, cancelled, ended. No request owns a run."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from distgraph.errors import DistgraphError, RunCancelled, RunError, RunNotFound
from distgraph.langgraphs.vocabulary import STRICT_RESUME
from distgraph.runs import RunHandle
from distgraph.serve.checkpoints import Checkpoints
from distgraph.serve.conditions import Filters
from distgraph.serve.database import Conflict
from distgraph.serve.encoding import plain
from distgraph.serve.errors import RequestError
from distgraph.serve.expiry import TimeToLive
from distgraph.serve.graphs import Graph, Graphs, assistant_id_of
from distgraph.serve.handles import Handles
from distgraph.serve.records import Assistant, Run, RunStatus, Thread, new_id, now
from distgraph.serve.registry import Registry, ThreadNotFound
from distgraph.serve.repeating import repeat
from distgraph.serve.run_requests import RunRequest
from distgraph.serve.states import shown_interrupt
from distgraph.serve.thread_log import describe
from distgraph.serve.users import User
from distgraph.serve.watching import Changes
from distgraph.serve.webhooks import Webhooks

__all__ = ("Runner", "run_config")

logger = logging.getLogger("distgraph")

BEAT = 3.0
"""Seconds between two signs of life of a server process."""

SILENCE = 15.0
"""Seconds without a sign of life after which other processes take over the runs of one."""

KEPT = 60.0
"""Seconds for which a thread of a run without a thread is kept after its end."""

UNKNOWN_LAST = 1 << 24
"""Numbers that a run takes in its thread's log when its own log is lost: later numbers are greater
than all that readers have seen."""

_ENDING = 3.0
"""Seconds for runs of the local backend to end with the server."""

_PRIVATE = "__"

_OF_USER = "langgraph_auth_"
"""How the keys of ``configurable`` begin that say who the user is."""


class Runner:
    """Creates runs, starts them in turn, and notes their ends.

    Args:
        registry: Threads and runs.
        graphs: The graphs.
        handles: The handles of runs.
        changes: Reports changes of threads.
        checkpoints: What the savers of threads can do beside runs.
        detached: Whether runs outlive this process: on Ray, with savers that others can open.
        sole: Whether this is the only server process of the registry.
        ttl: The time to live of new threads; None: they are kept.
        webhooks: Sends webhooks.
    """

    def __init__(
        self,
        registry: Registry,
        graphs: Graphs,
        handles: Handles,
        changes: Changes,
        checkpoints: Checkpoints,
        *,
        detached: bool,
        sole: bool,
        ttl: TimeToLive | None = None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self.registry = registry
        self.graphs = graphs
        self.handles = handles
        self.changes = changes
        self.checkpoints = checkpoints
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{new_id()}"
        self._detached = detached
        self._sole = sole
        self._ttl = ttl
        self._webhooks = webhooks or Webhooks()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False
        self._first = True
        self._going: dict[str, RunHandle] = {}
        """The runs that this process has started, and that have not ended."""

    # --- creating ---------------------------------------------------------------------------------

    async def assistant(self, name: str, filters: Filters = None) -> Assistant:
        """Return an assistant by its id, or by the name of its graph.

        Raises:
            RequestError: 422: there is none.
        """
        known = assistant_id_of(name) if name in self.graphs else name
        found = await self.registry.assistants.get(known, filters)
        if found is None or found.graph_id not in self.graphs:
            raise RequestError(
                422,
                f"Invalid assistant: '{name}'. Must be either: a valid assistant UUID, or one of "
                f"the registered graphs: {', '.join(sorted(self.graphs))}",
            )
        return found

    async def permitted_assistant(self, name: str, filters: Filters) -> Assistant:
        """Return an assistant that the filters permit; the server's own are for everybody.

        Raises:
            RequestError: 422: there is none.
        """
        assistant = await self.assistant(name)
        if assistant.assistant_id == assistant_id_of(assistant.graph_id):
            return assistant
        return await self.assistant(name, filters)

    async def create(
        self,
        thread_id: str | None,
        request: RunRequest,
        *,
        filters: Filters = None,
        metadata: Mapping[str, Any] | None = None,
        user: Mapping[str, Any] | None = None,
        assistant_filters: Filters = None,
        headers: Mapping[str, str] | None = None,
    ) -> Run:
        """Create a run on a thread, or on a thread of its own, and start it when it is its turn.

        Args:
            thread_id: The thread; None for a run without a thread.
            request: What is to run.
            filters: Conditions on the thread, of the authorization.
            metadata: Metadata of the thread where it is created.
            user: The user, for the run's config.
            assistant_filters: Conditions on the assistant, unless it is one of the server's own.
            headers: Headers of the request, for the run's config.

        Raises:
            RequestError: 404: no such thread; 409: the thread is busy; 422: no such assistant.
        """
        assistant = await self.permitted_assistant(request.assistant_id, assistant_filters)
        request.engine_input()  # a wrong command is refused now
        temporary = thread_id is None
        made = known = None
        if thread_id is None:
            thread_id = new_id()
            made = self.new_thread(thread_id, metadata, temporary=request.on_completion == "delete")
        else:
            known = await self.registry.thread(thread_id, filters)
        if made is None and known is None:
            exists = await self.registry.thread(thread_id) is not None
            if exists or request.if_not_exists != "create":
                raise RequestError(404, "Thread or assistant not found.")
            with suppress(Conflict):
                await self.registry.add_thread(self.new_thread(thread_id, metadata))
        strategy = request.multitask_strategy
        run_metadata = {
            **assistant.metadata,
            **({} if known is None else known.metadata),
            "graph_id": assistant.graph_id,
            "assistant_id": assistant.assistant_id,
            **request.metadata,
        }
        run = Run(
            run_id=new_id(),
            thread_id=thread_id,
            assistant_id=assistant.assistant_id,
            graph_id=assistant.graph_id,
            created_at=now(),
            updated_at=now(),
            metadata=run_metadata,
            kwargs=plain(
                {**request.kwargs(), "temporary": temporary, "user": user, "headers": headers}
            ),
            multitask_strategy=strategy,
            owner=self.owner,
            start_at=time.time() + request.after_seconds if request.after_seconds else 0.0,
        )
        if strategy in ("interrupt", "rollback"):
            for active in await self.registry.active_runs(thread_id):
                await self.cancel(active, rollback=strategy == "rollback")
        try:
            added = await self.registry.add_run(
                run, only_if_idle=strategy == "reject", thread=made, claim=True
            )
        except ThreadNotFound:  # deleted meanwhile
            raise RequestError(404, "Thread or assistant not found.") from None
        if added is None:
            raise RequestError(
                409,
                "Thread is already running a task. Wait for it to finish or choose a different "
                "multitask strategy.",
            )
        if added.base is None:
            self.advance_later(added)
        else:
            self.handles.expect(added.run_id)
            self._spawn(self._carry_out(added, assistant))
        return added

    def new_thread(
        self, thread_id: str, metadata: Mapping[str, Any] | None, *, temporary: bool = False
    ) -> Thread:
        """Return a thread that is to be added to the registry."""
        stamp, ttl = now(), None if temporary else self._ttl
        return Thread(
            thread_id,
            stamp,
            stamp,
            stamp,
            dict(metadata or {}),
            temporary=temporary,
            **({} if ttl is None else ttl.columns()),
        )

    # --- starting ---------------------------------------------------------------------------------

    def advance_later(self, run: Run) -> None:
        """Start a run of a thread when it is its turn, and not before its time."""
        delay = run.start_at - time.time()
        if delay <= 0:
            self._spawn(self._advance(run.thread_id))
            return
        loop = asyncio.get_running_loop()
        self._timers[run.run_id] = loop.call_later(
            delay + 0.001, self._due, run.run_id, run.thread_id
        )

    def _due(self, run_id: str, thread_id: str) -> None:
        self._timers.pop(run_id, None)
        self._spawn(self._advance(thread_id))

    async def _advance(self, thread_id: str) -> None:
        """Start the thread's next run, if none runs."""
        run = await self.registry.claim(thread_id, self.owner)
        if run is not None:
            self.handles.expect(run.run_id)
            await self._carry_out(run, await self.registry.assistants.get(run.assistant_id))

    async def _carry_out(self, run: Run, assistant: Assistant | None) -> None:
        """Start a run that this process has claimed, and note its end."""
        try:
            async with AsyncExitStack() as stack:
                try:
                    handle = await self._start(run, assistant, stack)
                except asyncio.CancelledError:
                    raise
                except BaseException as error:
                    await self._end(run, error, last=1)
                    return
                self.handles.started(run.run_id, handle)
                self._going[run.run_id] = handle
                await self.follow(run)
                self._going.pop(run.run_id, None)
        finally:
            self.handles.failed(run.run_id)  # readers then find the end of a run without a handle

    async def _start(self, run: Run, assistant: Assistant | None, stack: AsyncExitStack) -> Any:
        request = RunRequest.of(run.kwargs)
        config = run_config(run, request, assistant)
        if "events" in request.stream_mode:
            from distgraph.serve.callback_view import Listening

            config["callbacks"] = [Listening()]
        graph = await stack.enter_async_context(self.graphs.opened(run.graph_id, config))
        if request.command is not None and request.command.get("resume") is not None:
            await _check_question(graph, config)
        context = request.context
        if context is None and assistant is not None and assistant.context:
            context = assistant.context
        elif isinstance(context, dict) and assistant is not None:
            context = {**assistant.context, **context}
        if context is None and graph.program.context_schema is not None:
            context = dict(request.config.get("configurable") or {}) or None
        options: dict[str, Any] = {
            "context": context,
            "stream_mode": list(request.engine_modes()),
            "subgraphs": request.stream_subgraphs or bool(request.more_modes),
            "interrupt_before": _nodes(request.interrupt_before),
            "interrupt_after": _nodes(request.interrupt_after),
        }
        if request.durability is not None:
            options["durability"] = request.durability
        if self._detached:
            options["detached"] = True
        return await graph.astart(request.engine_input(), config, **options)

    async def follow(self, run: Run) -> None:
        """Wait for the end of a run that has been started, and note it."""
        error: BaseException | None = None
        try:
            handle = await self.handles.get(run)
            await handle.aresult()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            error = failure
        last = UNKNOWN_LAST
        with suppress(DistgraphError, UnboundLocalError):
            seen = handle.end_seq
            last = (await handle.ainfo()).last if seen is None else seen
        await self._end(run, error, last=last)

    async def _end(self, run: Run, error: BaseException | None, *, last: int) -> None:
        """Note the end of a run, and start the next of its thread."""
        current = await self.registry.run(run.run_id)
        if current is None:
            self._spawn(self._advance(run.thread_id))
            return
        status: RunStatus = "success"
        failure = None
        if isinstance(error, RunCancelled) or (error is not None and current.ends):
            status = "interrupted"
        elif error is not None:
            status, failure = "error", describe(error)
            log = logger.warning if isinstance(error, (DistgraphError, OSError)) else logger.info
            log("run %s failed: %s: %s", run.run_id, failure["error"], failure["message"])
        if current.ends == "rollback":
            await self.checkpoints.delete_run(run.thread_id, run.run_id)
        left = await self.thread_state(run.thread_id, run.graph_id)
        if status == "error":
            left["status"] = "error"
        elif status == "interrupted" and current.ends != "rollback":
            left["status"] = "interrupted"
        if failure is not None and failure["error"] == "UnknownInterruptError":
            left["status"] = "interrupted"  # nothing was answered: the thread is as it was
        else:
            left["error"] = failure
        ended = await self.registry.finish(
            run,
            status,
            last=last,
            thread=left,
            error=failure,
            delete=current.ends == "rollback",
        )
        if ended.more:
            self._spawn(self._advance(run.thread_id))
        webhook = run.kwargs.get("webhook")
        if ended.first and webhook:
            noted = await self.registry.run(run.run_id) or replace(current, status=status)
            sent = self._webhooks.send(str(webhook), noted, left.get("values"), failure)
            self._spawn(sent)

    async def thread_state(self, thread_id: str, graph_id: str) -> dict[str, Any]:
        """Return the columns of a thread that show its saved state."""
        config = {"configurable": {"thread_id": thread_id}}
        try:
            async with self.graphs.opened(graph_id, config) as graph:
                return await state_columns(graph, thread_id)
        except Exception as error:
            logger.warning(
                "the state of thread %s cannot be read: %s: %s",
                thread_id,
                type(error).__name__,
                error,
            )
            return {"status": "idle"}

    # --- cancelling -------------------------------------------------------------------------------

    async def cancel(self, run: Run, *, rollback: bool = False, wait: bool = False) -> None:
        """End a run. A run that has ended stays as it is, except that ``rollback`` deletes it.

        Args:
            rollback: Delete the run and its checkpoints too.
            wait: Return once it has ended.

        Raises:
            RequestError: 503: a stream broker that may know the run does not answer.
        """
        how = "rollback" if rollback else "interrupt"
        await self.registry.request_end(run.run_id, how)
        current = await self.registry.run(run.run_id)
        if current is None or not current.is_active:
            return
        timer = self._timers.pop(run.run_id, None)
        if timer is not None:
            timer.cancel()
        if current.status == "pending":
            left = await self.thread_state(run.thread_id, run.graph_id)
            left.setdefault("status", "idle")  # it has done nothing to the thread
            # one that has been claimed meanwhile has its own end
            if current.base is None:
                ended = await self.registry.finish(
                    current,
                    "interrupted",
                    last=0,
                    thread=left,
                    delete=rollback,
                    if_unclaimed=True,
                )
                if ended.more:
                    self._spawn(self._advance(run.thread_id))
                if ended.first:
                    return
        try:
            handle = await self.handles.get(replace(current, status="running"))
        except RunNotFound:
            pass
        except RunError as error:
            raise RequestError(503, str(error)) from None
        else:
            with suppress(RunError):
                await handle.acancel()
        if wait:
            await self.ended(run)

    async def ended(self, run: Run) -> Run | None:
        """Wait until a run has ended, and return it as the registry has it; None if deleted."""
        with self.changes.watch(run.thread_id) as watch:
            while True:
                current = await self.registry.run(run.run_id)
                if current is None or not current.is_active:
                    return current
                await watch.changed()

    async def started(self, run: Run) -> Run | None:
        """Wait until a run has started or ended, and return it; None if deleted."""
        if run.base is not None:
            return run
        with self.changes.watch(run.thread_id) as watch:
            while True:
                current = await self.registry.run(run.run_id)
                if current is None or current.base is not None or not current.is_active:
                    return current
                await watch.changed()

    # --- the process ------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Take over the runs of processes that are gone, until cancelled."""
        await repeat(self._look, BEAT, "the registry cannot be read or written")

    async def _look(self) -> None:
        await self.registry.seen(self.owner)
        if self._first or not self._sole:
            await self._adopt(0.0 if self._sole else SILENCE)
        await self._forget()
        self._first = False

    async def _adopt(self, silence: float) -> None:
        for run in await self.registry.adopt(self.owner, silence):
            if run.status == "running" and self._sole:
                error = ServerStopped("the server stopped while the run was going on")
                self._spawn(self._end(run, error, last=UNKNOWN_LAST))
            elif run.status == "running":
                self._spawn(self.follow(run))
            else:
                self.advance_later(run)

    async def _forget(self) -> None:
        before = datetime.now(timezone.utc) - timedelta(seconds=KEPT)
        for thread_id in await self.registry.forgotten_threads(before.isoformat()):
            await self.checkpoints.delete_thread(thread_id)
            await self.registry.delete_thread(thread_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a run cannot be carried on", exc_info=task.exception())

    async def close(self) -> None:
        """Stop. Runs of the local backend end; detached runs go on."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self._detached:
            ends = [asyncio.ensure_future(h.acancel(wait=True)) for h in self._going.values()]
            if ends:
                await asyncio.wait(ends, timeout=_ENDING)


class ServerStopped(Exception):
    """A run of the local backend ended with the server's process."""


class NothingToResume(Exception):
    """A command answers a question, and the thread has none."""


async def _check_question(graph: Graph, config: Mapping[str, Any]) -> None:
    state = await graph.aget_state(config)
    if not state.next:
        thread_id = config["configurable"]["thread_id"]
        raise NothingToResume(
            f"command.resume: thread {thread_id} has no question that waits for an answer, and no "
            "step that waits to be continued. Send input to start a run"
        )


async def state_columns(graph: Graph, thread_id: str) -> dict[str, Any]:
    """Return the columns of a thread that show its saved state."""
    state = await graph.aget_state({"configurable": {"thread_id": thread_id}})
    if state.created_at is None:
        return {"status": "idle"}
    interrupts = {
        task.id: [shown_interrupt(i) for i in task.interrupts]
        for task in state.tasks
        if task.interrupts
    }
    return {
        "status": "interrupted" if state.next else "idle",
        "values": plain(state.values),
        "interrupts": plain(interrupts),
        "state_updated_at": now(),
    }


def run_config(run: Run, request: RunRequest, assistant: Assistant | None) -> dict[str, Any]:
    """Return the config with which a run is started."""
    base: Mapping[str, Any] = assistant.config if assistant is not None else {}
    given = request.config
    ids = {
        "thread_id": run.thread_id,
        "run_id": run.run_id,
        "graph_id": run.graph_id,
        "assistant_id": run.assistant_id,
    }
    user = run.kwargs.get("user")
    if user:
        ids["user_id"] = user["identity"]
    context = request.context if isinstance(request.context, dict) else {}
    configurable = {
        **(base.get("configurable") or {}),
        **context,  # for graphs that do not know contexts
        **(given.get("configurable") or {}),
        **(run.kwargs.get("headers") or {}),
        **request.checkpoint,
        **ids,
    }
    # a client must not say who its user is
    configurable = {k: v for k, v in configurable.items() if not k.startswith(_OF_USER)}
    if user:
        configurable["langgraph_auth_user"] = User(user)
        configurable["langgraph_auth_user_id"] = user["identity"]
        configurable["langgraph_auth_permissions"] = list(user.get("permissions") or ())
    configurable = {k: v for k, v in configurable.items() if not k.startswith(_PRIVATE)}
    if request.strict_resume:
        configurable[STRICT_RESUME] = True
    config: dict[str, Any] = {
        "configurable": configurable,
        "metadata": {**(base.get("metadata") or {}), **(given.get("metadata") or {})}
        | dict(run.metadata)
        | ids,
        "tags": [*(base.get("tags") or ()), *(given.get("tags") or ())],
        "run_id": run.run_id,
        "run_name": given.get("run_name") or base.get("run_name") or run.graph_id,
    }
    for key in ("recursion_limit", "max_concurrency"):
        value = given.get(key, base.get(key))
        if value is not None:
            config[key] = value
    return config


def _nodes(given: Any) -> Any:
    return list(given) if isinstance(given, tuple) else given
