"""What tracers are told of a node with a trace policy, and what all others are told."""

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.base import BaseTracer

from tests.support.graphs import Items, adds


class Tracer(BaseTracer):
    """Keeps the runs that it was told of, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}

    def _persist_run(self, run: Any) -> None:
        """Nothing is kept elsewhere."""

    def _on_chain_end(self, run: Any) -> None:
        self.seen[run.name] = (run.inputs, run.outputs)


class Handler(BaseCallbackHandler):
    """No tracer."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        if kwargs.get("name") == "traced":
            self.seen.append(inputs)


def fails(value):
    raise ValueError("no")


@pytest.mark.parametrize(
    ("inputs", "outputs", "recorded"),
    [
        (lambda value: {"n": len(value["items"])}, None, ({"n": 1}, {"items": ["made"]})),
        (None, lambda value: {"hidden": True}, ({"items": ["in"]}, {"hidden": True})),
        (fails, fails, ({"items": ["in"]}, {"items": ["made"]})),
    ],
    ids=["inputs", "outputs", "a policy that fails"],
)
def test_tracers_are_told_what_the_policy_makes_of_it(engine, inputs, outputs, recorded):
    policy = engine.TracePolicy(process_inputs=inputs, process_outputs=outputs)
    builder = engine.StateGraph(Items).add_node("traced", adds("made"), trace_policy=policy)
    tracer, handler = Tracer(), Handler()
    graph = engine.compile(builder.add_edge(engine.START, "traced"))
    found = graph.invoke({"items": ["in"]}, {"callbacks": [tracer, handler]})
    assert found == {"items": ["in", "made"]}
    assert tracer.seen["traced"] == recorded
    assert handler.seen == [{"items": ["in"]}]
