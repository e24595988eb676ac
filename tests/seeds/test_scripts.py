"""A guide's blocks as a script of their own: the nodes' functions live in ``__main__``."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.seeds import blocks
from tests.seeds.programs import as_script

ROOT = pathlib.Path(__file__).parents[2]

CASES = {
    "two modes": (
        (blocks.JOKE_GRAPH, blocks.JOKE_CUSTOM_GRAPH, blocks.JOKE_TWO_MODES),
        False,
        [
            "Stream mode: updates",
            "{'refine_topic': {'topic': 'ice cream and cats'}}",
            "Stream mode: custom",
            "{'custom_key': 'Writing custom data while generating a joke'}",
            "Stream mode: updates",
            "{'generate_joke': {'joke': 'This is a joke about ice cream and cats'}}",
        ],
    ),
    "subgraph": (
        (blocks.SUBGRAPH, blocks.SUBGRAPH_UPDATES),
        False,
        ["{'node_1': {'foo': 'hi! foo'}}", "{'node_2': {'foo': 'hi! foobar'}}"],
    ),
    "async": (
        (
            blocks.JOKE_GRAPH,
            'inputs = {"topic": "ice cream"}\n',
            blocks.ANY_GRAPH_UPDATES_ASYNC,
        ),
        True,
        [
            "{'refine_topic': {'topic': 'ice cream and cats'}}",
            "{'generate_joke': {'joke': 'This is a joke about ice cream and cats'}}",
        ],
    ),
}
# a Ray of its own takes seconds: one script with both kinds of nodes is enough there
PAIRS = [
    *((engine, case) for engine in ("langgraph", "local") for case in CASES),
    pytest.param("ray", "two modes", marks=pytest.mark.ray),
]


@pytest.mark.parametrize(("engine", "case"), PAIRS)
def test_a_script_prints_what_the_guide_says(tmp_path, engine, case):
    from tests.support.engines import Engine, selected

    if engine not in selected():
        pytest.skip(f"{engine} is not among DISTGRAPH_TEST_ENGINES")
    cells, awaits, expected = CASES[case]
    script = tmp_path / "guide.py"
    script.write_text(as_script(Engine(engine).package, *cells, awaits=awaits))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("RAY_ADDRESS", None)
    env.pop("DISTGRAPH_BACKEND", None)
    if engine == "local":
        env["DISTGRAPH_BACKEND"] = "local"
    done = subprocess.run(
        [sys.executable, str(script)],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line] == expected
