"""Every block of the streaming guides that builds and streams a graph, with its exact output.

Pending, with the agents (``create_react_agent``, ``create_agent``, ``ToolNode``):
- "Streaming agent progress", "Streaming LLM tokens", "Streaming updates from tools" of the agents'
  guide, sync and async (six blocks), and "Streaming output" (two blocks);
- LangChain's streaming page: agent progress, LLM tokens, custom updates, multiple modes;
- "How to stream data from within a tool": the ReAct agent's custom data and its LLM tokens.
"""

import ast

import pytest

from tests.seeds import blocks
from tests.seeds.programs import run_cells
from tests.support.normalise import normalise

JOKE = {"joke": "This is a joke about ice cream and cats"}
STATE = {"topic": "ice cream and cats", **JOKE}
UPDATES = [{"refine_topic": {"topic": "ice cream and cats"}}, {"generate_joke": JOKE}]
CUSTOM = {"custom_key": "Writing custom data while generating a joke"}
INPUTS = 'inputs = {"topic": "ice cream"}\n'


def printed(text):
    """Read back what was printed, a line a value."""
    return [ast.literal_eval(line) for line in text.splitlines() if line]


def test_values(engine):
    out, _ = run_cells(engine.package, blocks.JOKE_GRAPH, blocks.JOKE_VALUES)
    assert printed(out) == [{"topic": "ice cream"}, {"topic": "ice cream and cats"}, STATE]


def test_updates(engine):
    out, _ = run_cells(engine.package, blocks.JOKE_GRAPH, blocks.JOKE_UPDATES)
    assert printed(out) == UPDATES


def test_debug(engine):
    out, _ = run_cells(engine.package, blocks.JOKE_GRAPH, blocks.JOKE_DEBUG)
    chunks = normalise(printed(out))
    assert [(c["step"], c["type"], c["payload"]["name"]) for c in chunks] == [
        (1, "task", "refine_topic"),
        (1, "task_result", "refine_topic"),
        (2, "task", "generate_joke"),
        (2, "task_result", "generate_joke"),
    ]
    assert chunks[0] == {
        "step": 1,
        "timestamp": "<time>",
        "type": "task",
        "payload": {
            "id": "<uuid-1>",
            "name": "refine_topic",
            "input": {"topic": "ice cream"},
            "triggers": ("branch:to:refine_topic",),
        },
    }
    assert chunks[3]["payload"] == {
        "id": "<uuid-2>",
        "name": "generate_joke",
        "error": None,
        "result": JOKE,
        "interrupts": [],
    }


@pytest.mark.parametrize("block", ["ANY_GRAPH_UPDATES", "ANY_GRAPH_UPDATES_ASYNC"])
def test_the_first_blocks_stream_updates(engine, block):
    out, _ = run_cells(engine.package, blocks.JOKE_GRAPH, INPUTS, getattr(blocks, block))
    assert printed(out) == UPDATES


@pytest.mark.parametrize("block", ["ANY_GRAPH_TWO_MODES", "ANY_GRAPH_TWO_MODES_ASYNC_WHOLE"])
def test_the_first_blocks_stream_two_modes(engine, block):
    cells = blocks.JOKE_GRAPH, blocks.JOKE_CUSTOM_GRAPH, INPUTS, getattr(blocks, block)
    out, _ = run_cells(engine.package, *cells)
    assert printed(out) == [("updates", UPDATES[0]), ("custom", CUSTOM), ("updates", UPDATES[1])]


def test_the_first_blocks_unpack_two_modes(engine):
    cells = blocks.JOKE_GRAPH, blocks.JOKE_CUSTOM_GRAPH, INPUTS, blocks.ANY_GRAPH_TWO_MODES_ASYNC
    out, _ = run_cells(engine.package, *cells)
    assert printed(out) == [UPDATES[0], CUSTOM, UPDATES[1]]


def test_custom(engine):
    cells = blocks.JOKE_GRAPH, blocks.JOKE_CUSTOM_GRAPH, blocks.JOKE_CUSTOM
    out, _ = run_cells(engine.package, *cells)
    assert printed(out) == [CUSTOM]


def test_two_modes(engine):
    cells = blocks.JOKE_GRAPH, blocks.JOKE_CUSTOM_GRAPH, blocks.JOKE_TWO_MODES
    out, _ = run_cells(engine.package, *cells)
    assert [line for line in out.splitlines() if line] == [
        "Stream mode: updates",
        str(UPDATES[0]),
        "Stream mode: custom",
        str(CUSTOM),
        "Stream mode: updates",
        str(UPDATES[1]),
    ]


def test_subgraph_updates(engine):
    out, _ = run_cells(engine.package, blocks.SUBGRAPH, blocks.SUBGRAPH_UPDATES)
    assert printed(out) == [{"node_1": {"foo": "hi! foo"}}, {"node_2": {"foo": "hi! foobar"}}]


NAMESPACES = [
    ((), {"node_1": {"foo": "hi! foo"}}),
    (("node_2:<uuid-1>",), {"subgraph_node_1": {"bar": "bar"}}),
    (("node_2:<uuid-1>",), {"subgraph_node_2": {"foo": "hi! foobar"}}),
    ((), {"node_2": {"foo": "hi! foobar"}}),
]


def test_subgraph_namespaces(engine):
    out, _ = run_cells(engine.package, blocks.SUBGRAPH, blocks.SUBGRAPH_NAMESPACES)
    assert normalise(printed(out)) == NAMESPACES


def test_a_parent_graph_streams_its_subgraphs(engine):
    cells = blocks.SUBGRAPH, "parent_graph = graph", blocks.PARENT_GRAPH_STREAM
    out, _ = run_cells(engine.package, *cells)
    assert normalise(printed(out)) == NAMESPACES
