"""The live view in a notebook, which is run without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat: Any = pytest.importorskip("nbformat", reason="nbclient is not installed")
nbclient: Any = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

ROOT = Path(__file__).parents[2]

GRAPH = """
from typing import TypedDict
import distgraph
from distgraph.graph import START, StateGraph

class State(TypedDict):
    x: int

def work(state):
    return {"x": 1}

graph = StateGraph(State).add_node(work).add_edge(START, "work").compile(name="demo")
run = distgraph.progress(graph.stream({"x": 0}))
for chunk in run:
    print(chunk)
"""

TIMELINE = "distgraph.timeline(run)"

PICTURE = "graph"

ASYNC = """
async for chunk in distgraph.progress(graph.astream({"x": 0})):
    print(chunk)
"""


def _html(cell: Any) -> list[str]:
    return [o["data"]["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]


def test_a_notebook_shows_the_run_and_its_timeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(source) for source in (GRAPH, TIMELINE, ASYNC, PICTURE)]
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        book, timeout=280, startup_timeout=280, kernel_name="python3", resources=place
    ).execute()
    run, timeline, asynchronous, picture = book.cells
    for cell in (run, asynchronous):
        (page,) = _html(cell)
        assert page.startswith('<div class="distgraph-progress"')
        assert "<b>demo</b>" in page and " · done · 1 process on 1 machine" in page
        assert '<span class="done"' in page and ">work</span>" in page
        assert "<td>work</td>" in page and "<td>1/1, " in page
        printed = "".join(o.get("text", "") for o in cell.outputs)
        assert printed == "{'work': {'x': 1}}\n"
    (image,) = _html(timeline)
    assert image.startswith("<svg ") and image.count('class="attempt"') == 1
    (shown,) = picture.outputs
    assert shown["data"]["image/svg+xml"].startswith("<svg ") and ">work<" in str(shown["data"])
