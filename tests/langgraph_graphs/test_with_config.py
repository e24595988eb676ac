"""What ``with_config`` sets on a LangGraph graph that is a node of another one."""

from tests.differential.test_with_config import RUN, configured, heard
from tests.langgraph_graphs.support import Distributed, Reference, newest, same

pytestmark = newest


def test_nodes_inside_see_it(backend):
    modes = ["updates", "tasks", "messages"]
    for config in ({}, RUN):
        same(backend, configured, {"seen": []}, stream_mode=modes, subgraphs=True, config=config)


def test_its_callbacks_hear_of_what_is_inside(backend):
    for config in ({}, RUN):
        assert heard(Distributed(backend), config=config) == heard(Reference(), config=config)
