"""Asking a run to stop, from another process than the one that started it."""

import pickle
import subprocess
import sys

import pytest

from distgraph.errors import RunError
from distgraph.graph import START, StateGraph
from distgraph.runtime import RunControl


def one_node(node):
    return StateGraph(dict).add_node("node", node).add_edge(START, "node")


@pytest.mark.ray
def test_asking_for_the_end_of_another_run_is_an_error_at_that_line(on_ray):
    another = RunControl()

    def node(state):
        another.request_drain("stop")

    graph = on_ray.compile(one_node(node))
    with pytest.raises(RunError, match="nobody in this process listens to this RunControl"):
        graph.invoke({}, control=RunControl())
    assert not another.drain_requested


def test_a_control_that_comes_back_is_the_one_that_went():
    control = RunControl()
    assert pickle.loads(pickle.dumps(control)) is control


def test_in_another_process_the_control_of_run_and_function_are_one():
    control = RunControl()
    control.request_drain("early")
    code = (
        "import pickle, sys\n"
        "run, function = map(pickle.loads, pickle.load(sys.stdin.buffer))\n"
        "assert run is function and run.drain_reason == 'early'\n"
        "told = []\n"
        "leave = run.listen(told.append)\n"
        "function.request_drain('now')\n"
        "assert told == ['early', 'now'], told\n"
    )
    sent = pickle.dumps([pickle.dumps(control), pickle.dumps(control)])
    subprocess.run([sys.executable, "-c", code], input=sent, check=True)
