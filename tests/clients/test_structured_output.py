"""``with_structured_output``: objects of the user's own classes, made on the worker."""

import json

import openai
import pytest
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from tests.clients.support import chat, single, texts
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

VALUES = {"setup": "why", "rating": 7}


class Joke(BaseModel):
    """A joke."""

    setup: str
    rating: int


class JokeDict(TypedDict):
    """A joke."""

    setup: str
    rating: int


class State(TypedDict, total=False):
    topic: str
    joke: Joke
    plain: dict


def structured(body):
    """Answer in the form that the request asks for."""
    if "response_format" in body:
        return Answer(json.dumps(VALUES))
    return Answer(calls=(Call(body["tools"][0]["function"]["name"], VALUES),))


def jokes(ns, model, is_async=False, key="joke"):
    def call(state):
        return {key: model.invoke(state["topic"])}

    async def acall(state):
        return {key: await model.ainvoke(state["topic"])}

    return single(ns, acall if is_async else call, State)


FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
METHODS = pytest.mark.parametrize("method", ["json_schema", "function_calling"])


@FACES
@METHODS
def test_the_object_is_an_instance_of_the_callers_class(engine, serve, method, is_async):
    server = serve(structured)
    model = chat(server).with_structured_output(Joke, method=method)
    graph = engine.compile(jokes(engine, model, is_async))
    outcome = run(graph, {"topic": "cats"}, "async" if is_async else "sync")
    assert outcome.error is None
    ((joke,),) = [update["call"].values() for update in outcome.chunks]
    assert type(joke) is Joke
    assert joke == Joke(**VALUES)
    asked = server.requests[0]
    if method == "json_schema":
        assert asked["response_format"]["json_schema"]["name"] == "Joke"
    else:
        assert asked["tool_choice"]["function"]["name"] == "Joke"


@METHODS
def test_tokens_are_the_same_as_langgraphs(differ, serve, method):
    server = serve(structured)

    def build(ns):
        server.rewind()
        return jokes(ns, chat(server).with_structured_output(Joke, method=method))

    outcome = differ.stream(build, {"topic": "cats"}, stream_mode=["messages", "updates"])
    tokens = [chunk for mode, chunk in outcome.chunks if mode == "messages"]
    if method == "json_schema":
        assert "".join(texts(tokens)).startswith(json.dumps(VALUES))
    else:
        pieces = [c["args"] for m, _ in tokens for c in m.tool_call_chunks]
        assert "".join(pieces) == json.dumps(VALUES)


@METHODS
def test_a_typed_dict_and_the_raw_message(engine, serve, method):
    model = chat(serve(structured)).with_structured_output(
        JokeDict, method=method, include_raw=True
    )
    result = engine.compile(jokes(engine, model, key="plain")).invoke({"topic": "cats"})
    assert result["plain"]["parsed"] == VALUES
    assert result["plain"]["parsing_error"] is None
    assert result["plain"]["raw"].usage_metadata["input_tokens"] == 1


def test_a_class_of_the_function_that_builds_the_graph(engine, serve):
    class Local(BaseModel):
        """Known here alone."""

        setup: str
        rating: int

    model = chat(serve(structured)).with_structured_output(Local)
    result = engine.compile(jokes(engine, model)).invoke({"topic": "cats"})
    assert type(result["joke"]) is Local
    assert result["joke"].rating == 7


def test_an_answer_that_does_not_fit_is_the_nodes_error(engine, serve):
    server = serve(Answer(calls=(Call("Joke", {"setup": "why", "rating": "high"}),)))
    model = chat(server).with_structured_output(Joke, method="function_calling")
    outcome = run(engine.compile(jokes(engine, model)), {"topic": "cats"})
    assert isinstance(outcome.error, ValidationError)
    assert [e["loc"] for e in outcome.error.errors()] == [("rating",)]


def test_the_openai_clients_own_parsing(engine, serve):
    server = serve(structured)
    client = openai.OpenAI(api_key="k", base_url=server.base_url)

    def node(state):
        messages = [{"role": "user", "content": state["topic"]}]
        answer = client.chat.completions.parse(model="m", messages=messages, response_format=Joke)
        return {"joke": answer.choices[0].message.parsed}

    result = engine.compile(single(engine, node, State)).invoke({"topic": "cats"})
    assert type(result["joke"]) is Joke
    assert server.requests[0]["response_format"]["type"] == "json_schema"
