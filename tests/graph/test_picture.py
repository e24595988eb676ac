"""A graph as a notebook's last line is a picture in SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest

from distgraph import END, START, StateGraph
from tests.support.graphs import Items

SVG = "{http://www.w3.org/2000/svg}"


def agent() -> Any:
    builder = StateGraph(Items)
    builder.add_node("model", lambda state: None).add_node("tools <1>", lambda state: None)
    builder.add_edge(START, "model").add_edge("tools <1>", "model")
    builder.add_conditional_edges("model", lambda state: END, {"call": "tools <1>", "done": END})
    return builder.compile(backend="local", name="agent")


def shown(graph: Any) -> ET.Element:
    return ET.fromstring(graph._repr_mimebundle_(include=None, exclude=None)["image/svg+xml"])


def test_the_picture_has_every_node_edge_and_label() -> None:
    svg = shown(agent())
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert sorted(texts) == ["call", "done", "end", "model", "start", "tools <1>"]
    edges = [path for path in svg.iter(f"{SVG}path") if "edge" in path.get("class", "")]
    assert [path.get("class") for path in edges].count("edge maybe") == 2
    assert len(edges) == 4


def test_nodes_stand_in_the_order_in_which_a_run_reaches_them_and_do_not_overlap() -> None:
    boxes = [
        (float(rect.get("y", 0)), float(rect.get("x", 0)), float(rect.get("width", 0)))
        for rect in shown(agent()).iter(f"{SVG}rect")
        if rect.get("class")
    ]
    tops = [y for y, _, _ in boxes]
    assert tops == sorted(tops) and len(set(tops)) == 4
    wide = StateGraph(Items)
    for name in ("one", "two", "three"):
        wide.add_node(name, lambda state: None).add_edge(START, name)
    row = sorted(
        (float(r.get("x", 0)), float(r.get("width", 0)))
        for r in shown(wide.compile(backend="local")).iter(f"{SVG}rect")
        if r.get("class") == "node"
    )
    assert all(x + width < following for (x, width), (following, _) in pairwise(row))


def test_every_node_is_within_the_picture() -> None:
    svg = shown(agent())
    width, height = float(svg.get("width", 0)), float(svg.get("height", 0))
    for rect in svg.iter(f"{SVG}rect"):
        if rect.get("class"):
            assert float(rect.get("x", 0)) >= 0
            assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= width
            assert float(rect.get("y", 0)) + float(rect.get("height", 0)) <= height


@pytest.mark.parametrize("xray", [False, True])
def test_a_drawing_shows_itself_too(xray: bool) -> None:
    outer = StateGraph(Items).add_node("child", agent()).add_edge(START, "child")
    svg = shown(outer.compile(backend="local").get_graph(xray=xray))
    texts = {text.text for text in svg.iter(f"{SVG}text")}
    assert ("child:model" in texts) is xray
    assert ("child" in texts) is not xray


def test_what_shows_no_pictures_shows_the_repr() -> None:
    graph = agent()
    assert graph._repr_mimebundle_()["text/plain"] == repr(graph)
