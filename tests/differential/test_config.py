"""The run's config inside nodes: by parameter, by ``get_config``, in subgraphs."""

import pytest

from tests.support.graphs import Items

CONFIG = {
    "tags": ["t1", "t2"],
    "metadata": {"user": "ada", "n": 3},
    "configurable": {"language": "en", "thread_id": "th1"},
    "run_name": "my run",
    "recursion_limit": 17,
}


def seen(config):
    return {
        "tags": list(config.get("tags") or []),
        "metadata": dict(config["metadata"]),
        "language": config["configurable"].get("language"),
        "thread": config["configurable"].get("thread_id"),
    }


def looking(ns):
    def by_parameter(state, config):
        return {"items": [seen(config)]}

    def by_function(state):
        return {"items": [seen(ns.get_config())]}

    return (
        ns.StateGraph(Items)
        .add_node("by_parameter", by_parameter, metadata={"of": "the node"})
        .add_node("by_function", by_function)
        .add_edge(ns.START, "by_parameter")
        .add_edge("by_parameter", "by_function")
    )


@pytest.mark.parametrize(
    "config", [CONFIG, {}, {"tags": ["x"]}, {"configurable": {"language": "fr"}}], ids=str
)
def test_nodes_see_the_config(differ, config):
    differ.stream(looking, {"items": []}, stream_mode=["updates", "tasks"], config=config)


def test_nodes_see_the_recursion_limit(differ):
    def build(ns):
        def node(state, config):
            return {"items": [config["recursion_limit"], ns.get_config()["recursion_limit"]]}

        return ns.StateGraph(Items).add_node("node", node).add_edge(ns.START, "node")

    assert differ.invoke(build, {"items": []}, config=CONFIG) == {"items": [17, 17]}


def test_a_called_graph_keeps_its_own_recursion_limit(differ):
    """A config that a node passes on names no limit, unless the run was given one."""

    def build(ns):
        def look(state, config):
            return {"items": [config["recursion_limit"]]}

        child = ns.StateGraph(Items).add_node("look", look).add_edge(ns.START, "look").compile()
        child = child.with_config(recursion_limit=9)

        def node(state, config):
            return {"items": [*child.invoke({"items": []}, config)["items"], len(config) > 1]}

        return ns.StateGraph(Items).add_node("node", node).add_edge(ns.START, "node")

    assert differ.invoke(build, {"items": []}) == {"items": [9, True]}
    assert differ.invoke(build, {"items": []}, config=CONFIG) == {"items": [17, True]}


def test_the_config_of_a_node_has_tags_if_the_run_has_any(differ):
    def build(ns):
        def node(state, config):
            return {"items": ["tags" in config]}

        return ns.StateGraph(Items).add_node("node", node).add_edge(ns.START, "node")

    assert differ.invoke(build, {"items": []}) == {"items": [False]}
    assert differ.invoke(build, {"items": []}, config={"tags": ["t"]}) == {"items": [True]}


def test_an_async_node_sees_the_config(differ):
    def build(ns):
        async def node(state, config):
            return {"items": [seen(config), seen(ns.get_config())]}

        return ns.StateGraph(Items).add_node("node", node).add_edge(ns.START, "node")

    differ.stream(build, {"items": []}, config=CONFIG, reference_face="async")


def test_nodes_of_a_subgraph_see_the_config(differ):
    def build(ns):
        builder = ns.StateGraph(Items).add_node("child", looking(ns).compile())
        return builder.add_edge(ns.START, "child")

    differ.stream(build, {"items": []}, stream_mode="updates", subgraphs=True, config=CONFIG)


def test_a_conditional_edge_sees_the_config(differ):
    def build(ns):
        def path(state, config):
            return "yes" if config["configurable"].get("language") == "en" else "no"

        builder = ns.StateGraph(Items)
        builder.add_node("yes", lambda s: {"items": ["y"]}).add_node(
            "no", lambda s: {"items": ["n"]}
        )
        return builder.add_conditional_edges(ns.START, path, ["yes", "no"])

    differ.stream(build, {"items": []}, stream_mode=["values", "updates"], config=CONFIG)


def test_with_config_binds_a_config(differ):
    def build(ns):
        class Bound:
            def compile(self, **options):
                return (
                    looking(ns)
                    .compile(**options)
                    .with_config({"tags": ["bound"], "metadata": {"m": 1}})
                )

        return Bound()

    differ.stream(build, {"items": []}, config={"tags": ["t1"], "metadata": {"user": "ada"}})


def test_outside_a_run_get_config_says_so(engine):
    with pytest.raises(RuntimeError, match="outside"):
        engine.get_config()


def test_outside_a_run_get_stream_writer_says_so(engine):
    with pytest.raises(RuntimeError, match="outside"):
        engine.get_stream_writer()
