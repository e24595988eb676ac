"""Fan-out and fan-in: order within a task is kept, state does not depend on completion order."""

from tests.support.cluster import eventually
from tests.support.graphs import Items, adds
from tests.support.normalise import items

ALL = ["values", "updates", "custom", "debug", "tasks"]


def fan(ns):
    builder = ns.StateGraph(Items)
    names = ["zslow", "bmid", "afast"]
    for name in names:
        builder.add_node(name, adds(name, events=3)).add_edge(ns.START, name)
    return builder.add_node("join", adds("join")).add_edge(names, "join")


def slow_first(ns, seen):
    def afast(state):
        eventually(seen.exists, "the other update has arrived")
        return {"items": ["afast"]}

    builder = ns.StateGraph(Items).add_node("afast", afast).add_node("zslow", adds("zslow"))
    builder.add_edge(ns.START, "afast").add_edge(ns.START, "zslow")
    return builder.add_node("join", adds("join")).add_edge(["afast", "zslow"], "join")


def test_parallel_siblings_in_all_modes(differ):
    differ.stream(fan, {"items": []}, stream_mode=ALL, parallel=True)


def test_updates_alone(differ):
    differ.stream(fan, {"items": ["x"]}, stream_mode="updates", parallel=True)


def test_values_alone_are_one_chunk_a_step(differ):
    differ.stream(fan, {"items": []}, stream_mode="values")


def test_reducers_apply_in_name_order(engine):
    graph = engine.compile(fan(engine))
    assert graph.invoke({"items": []}) == {"items": ["afast", "bmid", "zslow", "join"]}


def test_reducers_apply_in_name_order_when_the_last_name_finishes_first(engine, tmp_path):
    seen, chunks = tmp_path / "seen", []
    graph = engine.compile(slow_first(engine, seen))
    for chunk in graph.stream({"items": []}, stream_mode=["values", "updates"]):
        chunks.append(chunk)
        if chunk[1].keys() == {"zslow"}:
            seen.touch()
    assert chunks == [
        ("values", {"items": []}),
        ("updates", {"zslow": {"items": ["zslow"]}}),
        ("updates", {"afast": {"items": ["afast"]}}),
        ("values", {"items": ["afast", "zslow"]}),
        ("updates", {"join": {"items": ["join"]}}),
        ("values", {"items": ["afast", "zslow", "join"]}),
    ]


def test_a_nodes_update_follows_its_custom_events(engine):
    graph = engine.compile(fan(engine))
    chunks = list(graph.stream({"items": []}, stream_mode=["updates", "custom"]))
    for name in ("zslow", "bmid", "afast"):
        own = [c for c in chunks if c[1].get("node") == name or name in c[1]]
        assert own == [
            *(("custom", {"node": name, "i": i}) for i in range(3)),
            ("updates", {name: {"items": [name]}}),
        ]


def test_starts_are_sorted_by_name(engine):
    graph = engine.compile(fan(engine))
    chunks = items(graph.stream({"items": []}, stream_mode="tasks"), stream_mode="tasks")
    starts = [c.payload["name"] for c in chunks if "input" in c.payload]
    assert starts == ["afast", "bmid", "zslow", "join"]
