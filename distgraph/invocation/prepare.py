"""From the arguments of ``stream`` or ``invoke`` to a run that is checked and complete."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal, get_args

from distgraph import spans
from distgraph._internal import settings
from distgraph._internal.config import default_recursion_limit, merge_configs, task_metadata
from distgraph._internal.ids import new_run_id
from distgraph._internal.keys import POSITION, TASK_ID
from distgraph._internal.mistakes import nearest, warn_at_call, warn_once
from distgraph.backends import resolve
from distgraph.backends.base import Backend, RunPlan
from distgraph.callbacks import CallerCallbacks
from distgraph.constants import START
from distgraph.contract.attempt import RunInfo, SharedRunOptions
from distgraph.contract.events import RunOptions
from distgraph.contract.progress import PROGRESS_MODE
from distgraph.contract.spec import GraphProgram, GraphSpec
from distgraph.contract.stream import CALLBACK_MODE, StreamRequest
from distgraph.interop import own
from distgraph.invocation.arguments import RunArguments
from distgraph.invocation.controls import adopted
from distgraph.invocation.run_output import RunFace
from distgraph.invocation.thread import has_own_thread, saver_of, thread_options
from distgraph.langgraphs.vocabulary import RUNTIME, is_private_key
from distgraph.loss_policy import LossPolicy, checked_losses, default_losses
from distgraph.runtime import RunControl
from distgraph.serde.exceptions import add_notes
from distgraph.streaming.modes import StreamOptions
from distgraph.types import Command, Durability
from distgraph.warnings import LangGraphDeprecatedSinceV10
from distgraph.worker.context import TaskContext, active_task, base_config

__all__ = ("BY_CALLBACK", "Invocation", "prepare", "run_namespace", "watched")

BY_CALLBACK = frozenset({"messages", "tools"})
"""Modes that reach the run around a graph by the callbacks, whichever thread the graph is on."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One checked call of ``stream`` or ``invoke``."""

    plan: RunPlan
    backend: Backend
    stream: StreamOptions
    parent: TaskContext | None
    """The node whose code made the call: the run is a part of that node's."""
    around: TaskContext | None
    """The same, also where the run has a thread of its own."""
    callbacks: CallerCallbacks
    face: RunFace


def prepare(
    graph: Any,
    input: Any,
    config: Mapping[str, Any] | None,
    arguments: RunArguments[Any],
    *,
    want_output: bool = False,
    want_result: bool = False,
    message_events: bool = False,
    ns: tuple[str, ...] | None = None,
    is_async: bool = False,
) -> Invocation:
    """Check a call, and complete it by what the node around it and the graph's config say.

    Raises what ``RunMethods.stream`` raises.

    Args:
        want_output: Whether the terminal event carries the output, and modes show what it has.
        want_result: Whether the terminal event carries the output, beside what modes show.
        message_events: Whether mode ``messages`` shows the events of chat models.
        ns: What ``run_namespace`` returned for this call, None to ask it.
        is_async: Whether the caller awaits the run.
    """
    context, output_keys = arguments.get("context"), arguments.get("output_keys")
    durability = _durability(arguments)
    debug = arguments.get("debug")
    input = own(input)
    around = active_task(config)
    if around is None:
        settings.check()
    parent = None if around is not None and has_own_thread(config) else around
    saver = saver_of(graph, parent)
    if saver is None and durability in get_args(Durability):  # others are refused below
        warn_at_call(f"durability={durability!r} has no effect: the graph has no checkpointer")
    if saver is None and isinstance(input, Command) and input.resume is not None:
        raise RuntimeError(
            "Cannot use Command(resume=...) without checkpointer: it answers a run that was "
            "saved. Compile the graph with a checkpointer"
        )
    inherited = base_config(around)
    if inherited is not None and (has_own_thread(config) or has_own_thread(graph.config)):
        inherited = {**inherited, "configurable": {}}
    merged = merge_configs(inherited, graph.config, config)
    run_id = _run_id(merged.get("run_id"))
    slot = None if around is not None else merged["configurable"].get(RUNTIME)
    if slot is not None:  # a server hands context and store over in LangGraph's place for them
        context = getattr(slot, "context", None) if context is None else context
        if getattr(slot, "store", None) is not None and slot.store is not graph.store:
            graph = graph.copy({"store": slot.store})
    name = merged.get("run_name") or graph.name
    callbacks = CallerCallbacks(
        {**merged, "metadata": task_metadata(merged)}, name, run_id, graph.inner_callbacks()
    )
    ns = run_namespace(graph, config) if ns is None else ns
    stream = StreamOptions.parse(
        arguments.get("stream_mode"),
        default="values" if parent is not None and _is_of_a_node(config) else graph.stream_mode,
        subgraphs=arguments.get("subgraphs", False),
        version=arguments.get("version", "v1"),
        debug=graph.debug if debug is None else debug,
        print_mode=arguments.get("print_mode", ()),
        output_mapper=graph.state_mapper if output_keys is None else None,
        state_mapper=graph.state_mapper,
        message_events=message_events,
    )
    heard = callbacks.info is not None
    request = _request(stream.request, around, parent, calls_back=heard)
    spec = graph.spec
    if around is None:
        warn_once(_ignored_keys(spec, input))
    result_keys = spec.output_channels if want_result and output_keys is None else None
    if output_keys is None:
        output_keys = spec.output_channels if want_output else spec.stream_channels
    shared = SharedRunOptions(
        run_id=str(run_id),
        stream=request,
        recursion_limit=merged.get("recursion_limit") or default_recursion_limit(),
        max_concurrency=merged.get("max_concurrency"),
        tags=tuple(merged["tags"]),
        configurable=_public(merged["configurable"]),
        losses=_losses(merged),
        callbacks=callbacks.info,
        awaits=is_async,
        trace=spans.caller_trace(),
    )
    stream = replace(stream, numbered=_resets(shared.losses, graph.program))
    options = RunOptions(
        shared,
        output_keys=_output_keys(output_keys, spec),
        result_keys=None if result_keys is None else _output_keys(result_keys, spec),
        metadata=_of_tasks(task_metadata(merged)),
        ns=ns,
        has_parent=parent is not None,
        interrupt_before=_breakpoints(arguments, spec, "interrupt_before"),
        interrupt_after=_breakpoints(arguments, spec, "interrupt_after"),
        thread=thread_options(saver, merged["configurable"], durability, parent),
        # callbacks are told of the output, whatever is streamed
        want_output=want_output or want_result or callbacks.hears,
    )
    info = RunInfo(
        shared,
        context=_context(context, graph.program.context_schema, parent),
        capture="messages" in request.modes
        or (around is not None and around.run.capture)
        or callbacks.shows_tokens,
        saver=saver,
        control=_control(arguments.get("control"), around),
    )
    plan = RunPlan(graph, input, options, info)
    # inside a node the graph runs in the node's own process: no worker waits for a child
    backend = resolve(graph.backend if around is None else "local")
    face = RunFace(
        run_id=str(run_id),
        stream=stream,
        ns=ns,
        is_in_node=parent is not None,
        is_remote=getattr(backend, "name", "") == "ray",
        output_mapper=getattr(graph, "output_mapper", None),
    )
    return Invocation(plan, backend, stream, parent, around, callbacks, face)


def watched(call: Invocation) -> Invocation:
    """Return a call whose run also streams ``PROGRESS_MODE``; the caller's chunks stay the same."""
    asked = call.plan.options.shared.stream
    request = replace(asked, modes=asked.modes | {PROGRESS_MODE})
    shared = replace(call.plan.options.shared, stream=request)
    options = replace(call.plan.options, shared=shared)
    info = replace(call.plan.info, shared=shared)
    return replace(call, plan=replace(call.plan, options=options, info=info))


def run_namespace(graph: Any, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the namespace of the run that a call of a graph with this config starts.

    Ask once for a run.

    () outside of a node, and where the config names a thread of its own.
    """
    around = active_task(config)
    if around is None or has_own_thread(config):
        return ()
    ns: tuple[str, ...] = graph.spec.own_namespace(around.child_namespace())
    return ns


def _request(
    own: StreamRequest, around: TaskContext | None, parent: TaskContext | None, *, calls_back: bool
) -> StreamRequest:
    """Return what the run is to stream: also what the run around it looks at."""
    modes, subgraphs, events = own.modes, own.subgraphs, own.message_events
    if around is not None and around.run.shared.stream.subgraphs:
        outer = around.run.shared.stream.modes - {PROGRESS_MODE}
        if "messages" not in own.modes:
            events = around.run.shared.stream.message_events
        modes |= outer if parent is not None else outer & BY_CALLBACK
        subgraphs = True
    if calls_back:
        modes |= {CALLBACK_MODE}
    return StreamRequest(modes, subgraphs, events)


def _losses(config: Mapping[str, Any]) -> LossPolicy:
    checked_losses(config, "config")
    return default_losses().of(config)


def _resets(losses: LossPolicy, program: GraphProgram) -> bool:
    """Whether a lost attempt of some node may leave void events in the stream."""
    if losses.on_lost_attempt == "reset":
        return True
    if any(
        losses.of(n.ray_options).on_lost_attempt == "reset" for n in program.spec.nodes.values()
    ):
        return True
    return any(_resets(losses, child) for child in program.subgraphs.values())


def _durability(arguments: RunArguments[Any]) -> Durability | None:
    """Return when checkpoints are saved, also where the argument has its name of before."""
    durability = arguments.get("durability")
    during = arguments.get("checkpoint_during")
    if during is None:
        return durability
    warn_at_call(
        "`checkpoint_during` is deprecated and will be removed. Please use `durability` instead.",
        LangGraphDeprecatedSinceV10,
    )
    if durability is not None:
        raise ValueError(
            "Cannot use both `checkpoint_during` and `durability` parameters. Please use "
            "`durability` instead."
        )
    return "async" if during else "exit"


def _run_id(given: Any) -> uuid.UUID:
    if given is None:
        return new_run_id()
    try:
        return given if isinstance(given, uuid.UUID) else uuid.UUID(str(given))
    except ValueError:
        raise ValueError(f"config['run_id'] must be a UUID, got {given!r}") from None


def _control(given: Any, around: TaskContext | None) -> RunControl | None:
    """Return the control of a run: that of the run around it, where it is given none."""
    if given is None:
        return RunControl() if around is None else around.runtime.control
    if not isinstance(given, RunControl):
        theirs = adopted(given)
        if theirs is not None:
            return theirs
        raise TypeError(
            f"control must be a distgraph.runtime.RunControl, got {type(given).__module__}."
            f"{type(given).__name__}, whose requests nobody would receive"
        )
    return given


def _public(configurable: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what belongs to the task whose config this is."""
    return {key: v for key, v in configurable.items() if not is_private_key(key)}


def _of_tasks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what says in which task around it a graph runs."""
    return {key: value for key, value in metadata.items() if key not in POSITION}


def _ignored_keys(spec: GraphSpec, input: Any) -> list[str]:
    """Return a message for each key of an input that is no state key."""
    known = spec.stream_channels
    if spec.input_channels != START or isinstance(known, str) or not isinstance(input, dict):
        return []
    return [
        f"graph {spec.name!r}: the input has {key!r}, which is no state key and is ignored."
        f"{nearest(key, known)}"
        for key in input
        if key not in known and key not in spec.managed
    ]


def _output_keys(keys: str | Sequence[str], spec: GraphSpec) -> tuple[str, ...] | str:
    named = (keys,) if isinstance(keys, str) else tuple(keys)
    unknown = [key for key in named if key not in spec.channels]
    if unknown:
        known = sorted(c for c in spec.channels if ":" not in c and "__" not in c)
        raise ValueError(
            f"output_keys: {', '.join(map(repr, unknown))} not in the graph's state; choose from "
            f"{', '.join(known)}.{nearest(unknown[0], known)}"
        )
    return keys if isinstance(keys, str) else named


def _breakpoints(
    arguments: RunArguments[Any],
    spec: GraphSpec,
    option: Literal["interrupt_before", "interrupt_after"],
) -> tuple[str, ...] | Literal["*"] | None:
    nodes = arguments.get(option)
    if nodes is None or nodes == "*":
        return nodes
    unknown = [name for name in nodes if name not in spec.nodes]
    if unknown:
        known = sorted(name for name in spec.nodes if name != START)
        raise ValueError(
            f"{option}: no node {', '.join(map(repr, unknown))} in graph {spec.name!r}; choose "
            f"from {', '.join(known)}.{nearest(unknown[0], known)}"
        )
    return tuple(nodes)


def _context(context: Any, schema: type[Any] | None, parent: TaskContext | None) -> Any:
    if context is None and parent is not None:
        return parent.run.context
    built = schema is not None and (is_dataclass(schema) or hasattr(schema, "model_fields"))
    if schema is None or not built or not isinstance(context, Mapping):
        return context
    try:
        return schema(**context)
    except Exception as error:
        made = f"context= of this run is a dict, from which {schema.__qualname__} is made"
        add_notes(error, (made,))
        raise


def _is_of_a_node(config: Mapping[str, Any] | None) -> bool:
    """Whether the config is one that a node was given, and passed on."""
    return config is not None and TASK_ID in config.get("configurable", {})
