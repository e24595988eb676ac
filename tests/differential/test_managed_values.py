"""State keys that the engine fills in: ``IsLastStep`` and ``RemainingSteps``."""

import operator
from typing import Annotated

from typing_extensions import TypedDict

MODES = ["values", "updates", "tasks"]


def counting(ns):
    class State(TypedDict, total=False):
        items: Annotated[list, operator.add]
        is_last: ns.IsLastStep
        remaining: ns.RemainingSteps

    def count(state: State):
        return {"items": [(state["remaining"], state["is_last"])]}

    def more(state: State):
        return "count" if state["remaining"] > 2 else ns.END

    return (
        ns.StateGraph(State)
        .add_node("count", count)
        .add_edge(ns.START, "count")
        .add_conditional_edges("count", more, ["count", ns.END])
    )


def test_nodes_and_paths_read_the_steps_that_remain(differ):
    outcome = differ.stream(
        counting, {"items": []}, stream_mode=MODES, config={"recursion_limit": 6}
    )
    assert outcome.error is None


def test_the_last_step_before_the_limit_is_known(differ):
    def build(ns):
        class State(TypedDict, total=False):
            items: Annotated[list, operator.add]
            is_last: ns.IsLastStep

        def loop(state: State):
            return {"items": [state["is_last"]]}

        builder = ns.StateGraph(State).add_node("loop", loop).add_edge(ns.START, "loop")
        return builder.add_edge("loop", "loop")

    outcome = differ.stream(build, {"items": []}, stream_mode=MODES, config={"recursion_limit": 3})
    assert type(outcome.error).__name__ == "GraphRecursionError"
