"""The blocks of the streaming guides that call hosted models: theirs answer from a loopback server.

What the models say is asked of the server once more, without a graph: the streamed tokens are
exactly those.
"""

import pytest

from tests.seeds import blocks
from tests.seeds.programs import run_cells

pytestmark = pytest.mark.usefixtures("hosted_models")


@pytest.fixture
def said(hosted_models):
    """A function of a prompt: the tokens that the server's model answers with."""
    from openai import OpenAI

    client = OpenAI(base_url=hosted_models, api_key="sk-test")

    def ask(prompt):
        messages = [{"role": "user", "content": prompt}]
        stream = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
        tokens = [c.choices[0].delta.content for c in stream if c.choices]
        tokens = [token for token in tokens if token]
        assert len(tokens) > 1, "a reply of one token would show no streaming"
        return tokens

    yield ask
    client.close()


def without_node_output(text):
    """Leave out what nodes print by themselves: on a cluster it is printed elsewhere."""
    return text.replace("Writing joke...\n", "").replace("\n\nWriting poem...\n", "")


def bars(tokens):
    return "".join(f"{token}|" for token in tokens)


def test_llm_tokens(engine, said):
    cells = blocks.SET_API_KEY, blocks.JOKE_GRAPH, blocks.JOKE_LLM_GRAPH, blocks.JOKE_LLM_TOKENS
    out, names = run_cells(engine.package, *cells)
    tokens = said("Generate a joke about ice cream and cats")
    assert out == bars(tokens)
    result = names["graph"].invoke({"topic": "ice cream"})
    assert result == {"topic": "ice cream and cats", "joke": "".join(tokens)}


def test_the_metadata_of_a_token(engine):
    cells = blocks.JOKE_GRAPH, blocks.JOKE_LLM_GRAPH, blocks.JOKE_LLM_TOKENS, blocks.METADATA
    _, names = run_cells(engine.package, *cells)
    metadata = names["metadata"]
    assert metadata["langgraph_checkpoint_ns"].startswith("generate_joke:")
    expected = {
        "langgraph_step": 2,
        "langgraph_node": "generate_joke",
        "langgraph_triggers": ("branch:to:generate_joke",),
        "langgraph_path": ("__pregel_pull", "generate_joke"),
        "ls_provider": "openai",
        "ls_model_name": "gpt-4o-mini",
        "ls_model_type": "chat",
    }
    assert {key: metadata.get(key) for key in expected} == expected


def test_two_models_in_one_node(engine, said):
    out, _ = run_cells(engine.package, blocks.TWO_MODELS_GRAPH, blocks.TWO_MODELS_TOKENS)
    joke, poem = said("Write a joke about cats"), said("Write a short poem about cats")
    assert without_node_output(out) == bars(joke + poem)


def test_filter_one_of_two_models_by_its_tag(engine, said):
    out, _ = run_cells(engine.package, blocks.TWO_MODELS_GRAPH, blocks.TWO_MODELS_FILTER)
    assert without_node_output(out) == bars(said("Write a joke about cats"))


def test_without_langchain(engine, said):
    cells = blocks.TWO_MODELS_GRAPH, blocks.WITHOUT_LANGCHAIN_GRAPH, blocks.WITHOUT_LANGCHAIN_TOKENS
    out, names = run_cells(engine.package, *cells)
    joke, poem = said("Write a joke about cats"), said("Write a short poem about cats")
    assert without_node_output(out) == bars(joke + poem)
    assert names["metadata"]["langgraph_node"] == "call_model"
    assert names["metadata"]["tags"] == ["poem"]


def test_without_langchain_filter_by_tag(engine, said):
    cells = blocks.TWO_MODELS_GRAPH, blocks.WITHOUT_LANGCHAIN_GRAPH, blocks.WITHOUT_LANGCHAIN_FILTER
    out, _ = run_cells(engine.package, *cells)
    assert without_node_output(out) == bars(said("Write a short poem about cats"))


def test_tokens_of_one_of_two_parallel_nodes(engine, said):
    out, _ = run_cells(engine.package, blocks.SPECIFIC_NODES_GRAPH, blocks.SPECIFIC_NODES_TOKENS)
    assert out == bars(said("Write a short poem about cats"))


def test_a_tool_that_streams_without_langchain(engine, said):
    cells = (
        f"from {engine.package}.config import get_stream_writer",
        blocks.TOOL_GRAPH,
        blocks.TOOL_GRAPH_TOKENS,
    )
    out, _ = run_cells(engine.package, *cells)
    prompt = (
        "Can you tell me what kind of items i might find in the following place: 'bedroom'. "
        "List at least 3 such items separating them by a comma. "
        "And include a brief description of each item."
    )
    assert out == bars(said(prompt))
