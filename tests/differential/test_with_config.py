"""What ``with_config`` sets on a graph that is a node of another graph."""

import operator
from typing import Annotated, TypedDict

from langchain_core.callbacks import BaseCallbackHandler

from tests.support.models import EchoModel

RUN = {"tags": ["run"], "metadata": {"of": "run"}, "configurable": {"user": "run"}}


class Seen(TypedDict, total=False):
    seen: Annotated[list, operator.add]


class Runs(BaseCallbackHandler):
    """Records name and tags of each run, and the models."""

    def __init__(self):
        self.seen = []

    def on_chain_start(self, serialized, inputs, *, name=None, tags=None, metadata=None, **kwargs):
        self.seen.append((name, sorted(tags), metadata.get("of")))

    def on_chat_model_start(self, serialized, messages, *, tags=None, **kwargs):
        self.seen.append(("model", sorted(tags), None))


def look(state, config):
    values, tags = config["configurable"], config.get("tags") or []
    own = [tag for tag in tags if not tag.startswith(("seq:", "graph:"))]
    return {
        "seen": [
            (values.get("user"), values.get("b"), own, config["metadata"].get("of")),
            config.get("max_concurrency"),
        ]
    }


def speak(state):
    EchoModel().invoke("a b")


def chain(ns, **nodes):
    builder = ns.StateGraph(Seen).add_sequence(list(nodes.items()))
    return builder.add_edge(ns.START, next(iter(nodes)))


def configured(ns, outer=(), inner=()):
    """Three levels: the graphs of the two inner ones have configs of their own."""
    innermost = chain(ns, look=look, speak=speak).compile(name="innermost")
    innermost = innermost.with_config(
        tags=["t2"],
        callbacks=list(inner),
        metadata={"of": "innermost"},
        configurable={"user": "bob", "b": 1},
        max_concurrency=3,
    )
    middle = (
        chain(ns, below=innermost, look=look)
        .compile(name="middle")
        .with_config(
            tags=["t1"],
            callbacks=list(outer),
            metadata={"of": "middle"},
            configurable={"user": "ann"},
            max_concurrency=2,
        )
    )
    return chain(ns, middle=middle, after=look)


def heard(engine, **options):
    outer, inner = Runs(), Runs()
    engine.compile(configured(engine, [outer], [inner])).invoke({"seen": []}, **options)
    return outer.seen, inner.seen


def test_nodes_inside_see_it(differ):
    modes = ["updates", "tasks", "messages"]
    for config in ({}, RUN):
        differ.stream(configured, {"seen": []}, stream_mode=modes, subgraphs=True, config=config)


def test_its_callbacks_hear_of_what_is_inside(differ):
    for config in ({}, RUN):
        expected = heard(differ.reference, config=config)
        assert [name for name, *_ in expected[1]] == ["innermost", "look", "speak", "model"]
        assert heard(differ.contender, config=config) == expected


def test_a_silent_graph_streams_no_tokens(differ):
    def build(ns):
        return chain(ns, speak=chain(ns, speak=speak).compile().with_config(tags=["nostream"]))

    outcome = differ.stream(build, {"seen": []}, stream_mode="messages", subgraphs=True)
    assert outcome.chunks == []
