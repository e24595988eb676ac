"""LangSmith's traces of what runs on workers.

The caller's tracer receives all LangChain runs, like any handler. Here are the things beyond that.
Functions with ``@traceable``, and LangChain runs inside of them, look for the trace that they are a
part of in this process: a stand-in for the tracer shows them one. And they report their runs to a
client themselves: a stand-in for the client forwards that to the caller's, which alone knows the
place of a run in its trace. Code may change the run that it is in, and may switch tracing off: the
caller's tracer receives both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

from distgraph.contract.callbacks import CHANGED, HandlerCall, Trace
from distgraph.worker.forward import IGNORED_BY, forward

__all__ = (
    "begun_elsewhere",
    "change_run",
    "is_tracer",
    "tell_client",
    "traced",
    "traced_as",
    "tracer_stand_in",
)

_TIME = "19700101T000000000000Z"
"""Begins each part of a place in a trace, in place of the time of the run's start."""

_TYPES = {"on_chain_start": "chain", "on_tool_start": "tool", "on_retriever_start": "retriever"}
"""Kinds of the runs in which code of users runs, by the events of their start."""


def tracer_stand_in(relay: Any, run_id: str) -> Any:
    """Return what stands for the caller's tracer in an attempt.

    Args:
        relay: Decides what is forwarded.
        run_id: Of the root graph.
    """
    return _tracer_class()(relay, run_id)


def begun_elsewhere(run: Any, name: str) -> None:
    """Make a run whose start they do not receive known to the stand-ins for tracers.

    ``run`` is LangChain's manager of the run.
    """
    fields = {"run_id": run.run_id, "name": name, "tags": run.tags, "metadata": run.metadata}
    for handler in filter(is_tracer, run.handlers):
        handler.run_map.begin("on_chain_start", (), fields)


def is_tracer(handler: Any) -> bool:
    """Whether a handler stands for a tracer of the caller's."""
    return getattr(handler, "stands_for_tracer", False)


@contextmanager
def traced(config: dict[str, Any]) -> Iterator[None]:
    """Make the run whose callbacks a config has the current one for functions with ``@traceable``.

    Without a tracer nothing changes.
    """
    callbacks = config["callbacks"]
    tracer = next((h for h in callbacks.handlers if is_tracer(h)), None)
    if tracer is None:
        yield
        return
    from langsmith.run_helpers import _set_tracing_context, get_tracing_context

    before = get_tracing_context()
    _set_tracing_context({**before, "parent": tracer.run_map.get(str(callbacks.parent_run_id))})
    try:
        yield
    finally:
        _set_tracing_context(before)


@contextmanager
def traced_as(call: HandlerCall) -> Iterator[None]:
    """Switch tracing off for the call of a run whose code has switched it off."""
    if not call.untraced:
        yield
        return
    from langsmith.run_helpers import _set_tracing_context, get_tracing_context

    before = get_tracing_context()["enabled"]
    _set_tracing_context({"enabled": False})
    try:
        yield
    finally:
        _set_tracing_context({"enabled": before})


def change_run(tracer: Any, run_id: Any, changes: dict[str, Any]) -> None:
    """Change a run of a tracer as the code in it has done."""
    run = tracer.run_map.get(str(run_id))
    if run is not None:
        run.name = changes.get("name", run.name)
        run.tags = [*(run.tags or ()), *changes.get("tags", ())]
        run.metadata.update(changes.get("metadata", {}))
        run.events = [*(run.events or ()), *changes.get("events", ())]


def tell_client(tracer: Any, call: HandlerCall) -> None:
    """Make a call of a tracer's client, with the place that a run has in the tracer's trace."""
    fields = dict(call.kwargs)
    if not is_tracer(tracer):
        run_id = fields.get("id") or fields.get("run_id")
        parent = fields.get("parent_run_id")
        known = tracer.order_map.get(_uuid(parent)) if parent is not None else None
        if known is not None:
            trace_id, place = known
            own = str(fields["dotted_order"]).rsplit(".", 1)[-1]
            fields["trace_id"], fields["dotted_order"] = trace_id, f"{place}.{own}"
            tracer.order_map[_uuid(run_id)] = (trace_id, fields["dotted_order"])
    getattr(tracer.client, call.name)(**fields)


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


class _Client:
    """Stands for the LangSmith client of the caller's tracer."""

    otel_exporter = None

    def __init__(self, relay: Any) -> None:
        self._relay = relay

    def create_run(self, name: str, inputs: Any, run_type: str, **kwargs: Any) -> None:
        """Forward the start of a run."""
        self._forward("create_run", {"name": name, "inputs": inputs, "run_type": run_type} | kwargs)

    def update_run(self, run_id: Any, **kwargs: Any) -> None:
        """Forward the end of a run."""
        self._forward("update_run", {"run_id": run_id, **kwargs})

    def _forward(self, name: str, kwargs: dict[str, Any]) -> None:
        relay = self._relay
        forward(relay.emit, name, (), kwargs, listener=relay.listener.number, client=True)


class _Runs(dict[str, Any]):
    """The runs that a tracer knows: each that is asked for, as far as its place goes.

    Args:
        root: Id of the root graph's run.
        relay: Decides what is forwarded.
        client: Of all runs.
    """

    def __init__(self, root: str, relay: Any, client: _Client) -> None:
        super().__init__()
        self._root = root
        self._relay = relay
        self._trace: Trace = relay.listener.trace
        self._client = client
        self._begun: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, dict[str, Any]] = {}
        """Fields of the runs that were asked for, as code found them."""

    def begin(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what a handler receives about the start of a run."""
        own = kwargs.get("metadata") or {}
        metadata = {**own, **self._trace.metadata, **own}  # in the order of LangChain
        serialized = (args[0] if args else None) or {}
        self._begun[str(kwargs["run_id"])] = {
            "name": kwargs.get("name") or serialized.get("name") or "run",
            "run_type": kwargs.get("run_type") or _TYPES.get(name, "chain"),
            "tags": sorted({*(kwargs.get("tags") or ()), *self._trace.tags}),
            "extra": {"metadata": metadata},
            "inputs": _inputs(args[1]) if name in _TYPES and len(args) > 1 else {},
        }

    def end(self, run_id: UUID) -> None:
        """Forward what code has changed of a run that ends."""
        key = str(run_id)
        self._begun.pop(key, None)
        run, shown = self.pop(key, None), self._shown.pop(key, None)
        changes = None if shown is None else _changes(shown, _fields(run))
        if changes:
            number = self._relay.listener.number
            forward(self._relay.emit, CHANGED, (changes,), {"run_id": run_id}, listener=number)

    def get(self, key: str, default: Any = None) -> Any:
        known = super().get(key)
        if known is None and key != "None":
            from langsmith.run_trees import RunTree

            place = dict.fromkeys((self._trace.trace_id, self._root, key))
            of_run = self._begun.get(key, {"name": "run", "run_type": "chain"})
            if self._trace.project is not None:
                of_run = {**of_run, "project_name": self._trace.project}
            known = self[key] = RunTree(
                id=UUID(key),
                trace_id=UUID(self._trace.trace_id),
                dotted_order=".".join(f"{_TIME}{run_id}" for run_id in place),
                ls_client=self._client,
                **of_run,
            )
            self._shown[key] = _fields(known)
        return known


def _fields(run: Any) -> dict[str, Any]:
    return {
        "name": run.name,
        "tags": list(run.tags or ()),
        "metadata": dict(run.metadata),
        "events": list(run.events or ()),
    }


def _changes(shown: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return what is new in the fields of a run."""
    known = shown["metadata"]
    new = {
        "tags": [tag for tag in now["tags"] if tag not in shown["tags"]],
        "metadata": {k: v for k, v in now["metadata"].items() if k not in known or known[k] != v},
        "events": now["events"][len(shown["events"]) :],
        "name": "" if now["name"] == shown["name"] else now["name"],
    }
    return {field: value for field, value in new.items() if value}


def _inputs(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"input": value}


@lru_cache(maxsize=1)
def _tracer_class() -> type[Any]:
    from langchain_core.tracers.langchain import LangChainTracer

    class TracerStandIn(LangChainTracer):
        stands_for_tracer = True

        def __init__(self, relay: Any, run_id: str) -> None:
            client: Any = _Client(relay)
            trace: Trace = relay.listener.trace
            super().__init__(
                client=client,
                project_name=trace.project,
                tags=list(trace.tags),
            )
            self.tracing_metadata = dict(trace.metadata)  # no argument in older versions
            self.relay = relay
            self.run_map = _Runs(run_id, relay, client)

        def copy_with_metadata_defaults(self, **defaults: Any) -> Any:
            return self

    def noted(name: str) -> Callable[..., None]:
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            if name.endswith("_start"):
                self.run_map.begin(name, args, kwargs)
            elif name.endswith(("_end", "_error")):
                self.run_map.end(kwargs["run_id"])
            if not self.relay.silent:
                self.relay.take(name, args, kwargs)

        return call

    for name in IGNORED_BY:
        setattr(TracerStandIn, name, noted(name))
    return TracerStandIn
