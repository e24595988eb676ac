"""LangSmith's traces of what runs on workers.

The caller's tracer receives all LangChain runs, like any handler. Here are the two things beyond
that. Functions with ``@traceable``, and LangChain runs inside of them, look for the trace that they
are a part of in this process: a stand-in for the tracer shows them one. And they report their runs
to a client themselves: a stand-in for the client forwards that to the caller's, which alone knows
the place of a run in its trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

from distgraph.contract.callbacks import HandlerCall
from distgraph.worker.forward import IGNORED_BY, forward, hears

__all__ = ("is_tracer", "tell_client", "traced", "tracer_stand_in")

_TIME = "19700101T000000000000Z"
"""Begins each part of a place in a trace, in place of the time of the run's start."""


def tracer_stand_in(told: Any, run_id: str) -> Any:
    """Return what stands for the caller's tracer in an attempt.

    Args:
        told: Decides what is forwarded.
        run_id: Of the root graph.
    """
    return _tracer_class()(told, run_id)


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


def tell_client(tracer: Any, call: HandlerCall) -> None:
    """Make a call of a tracer's client, with the place that a run has in the tracer's trace."""
    told = dict(call.kwargs)
    if not is_tracer(tracer):
        run_id = told.get("id") or told.get("run_id")
        parent = told.get("parent_run_id")
        known = tracer.order_map.get(_uuid(parent)) if parent is not None else None
        if known is not None:
            trace_id, place = known
            own = str(told["dotted_order"]).rsplit(".", 1)[-1]
            told["trace_id"], told["dotted_order"] = trace_id, f"{place}.{own}"
            tracer.order_map[_uuid(run_id)] = (trace_id, told["dotted_order"])
    getattr(tracer.client, call.name)(**told)


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


class _Client:
    """Stands for the LangSmith client of the caller's tracer."""

    otel_exporter = None

    def __init__(self, told: Any) -> None:
        self._told = told

    def create_run(self, name: str, inputs: Any, run_type: str, **kwargs: Any) -> None:
        """Forward the start of a run."""
        self._forward("create_run", {"name": name, "inputs": inputs, "run_type": run_type} | kwargs)

    def update_run(self, run_id: Any, **kwargs: Any) -> None:
        """Forward the end of a run."""
        self._forward("update_run", {"run_id": run_id, **kwargs})

    def _forward(self, name: str, kwargs: dict[str, Any]) -> None:
        told = self._told
        forward(told.emit, name, (), kwargs, listener=told.listener.number, client=True)


class _Runs(dict[str, Any]):
    """The runs that a tracer knows: each that is asked for, as far as its place goes."""

    def __init__(self, root: str, client: _Client) -> None:
        super().__init__()
        self._root = root
        self._client = client

    def get(self, key: str, default: Any = None) -> Any:
        known = super().get(key)
        if known is None and key != "None":
            from langsmith.run_trees import RunTree

            known = self[key] = RunTree(
                id=UUID(key),
                name="run",
                run_type="chain",
                trace_id=UUID(self._root),
                dotted_order=f"{_TIME}{self._root}.{_TIME}{key}",
                ls_client=self._client,
            )
        return known


@lru_cache(maxsize=1)
def _tracer_class() -> type[Any]:
    from langchain_core.tracers.langchain import LangChainTracer

    class TracerStandIn(LangChainTracer):
        stands_for_tracer = True

        def __init__(self, told: Any, run_id: str) -> None:
            client: Any = _Client(told)
            super().__init__(client=client)
            self.told = told
            self.run_map = _Runs(run_id, client)

        def copy_with_metadata_defaults(self, **defaults: Any) -> Any:
            return self

        @property
        def _silent(self) -> bool:
            return bool(self.told.silent)

        ignore_llm = ignore_retry = ignore_chain = ignore_agent = ignore_retriever = _silent
        ignore_chat_model = ignore_custom_event = _silent

    for name in IGNORED_BY:
        setattr(TracerStandIn, name, hears(name))
    return TracerStandIn
