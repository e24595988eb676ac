"""Each example runs as a script from a clone, and shows what it is about."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

SHOWN = {
    "stream_values": [
        "{'topic': 'ice cream'}",
        "{'topic': 'ice cream and cats'}",
        "{'topic': 'ice cream and cats', 'joke': 'This is a joke about ice cream and cats'}",
    ],
    "stream_updates": [
        "{'refine_topic': {'topic': 'ice cream and cats'}}",
        "{'generate_joke': {'joke': 'This is a joke about ice cream and cats'}}",
    ],
    "stream_debug": [
        "step 1 task refine_topic",
        "step 1 task_result refine_topic",
        "step 2 task generate_joke",
        "step 2 task_result generate_joke",
    ],
    "stream_custom": [
        "{'progress': 'fetched 1/3 records', 'process': ",
        "{'progress': 'fetched 2/3 records', 'process': ",
        "{'progress': 'fetched 3/3 records', 'process': ",
        "{'progress': 'adding up', 'process': ",
    ],
    "stream_multiple_modes": [
        "values: {'topic': 'ice cream'}",
        "updates: {'refine_topic': {'topic': 'ice cream and cats'}}",
        "values: {'topic': 'ice cream and cats'}",
        "custom: {'custom_key': 'Writing custom data while generating a joke'}",
        "updates: {'generate_joke': {'joke': 'This is a joke about ice cream and cats'}}",
        "values: {'topic': 'ice cream and cats', 'joke': ",
    ],
    "stream_messages": [
        "node summarize, step 1:\n",
        "[Extractive |model: |every |sentence |below |is |copied |from |the |prompt, |",
        "|Cats |sleep |for |most |of |the |day. |",
    ],
    "stream_two_models": [
        "['headline'] 'Cats '",
        "['summary'] '[Extractive '",
        "only the headline:\nCats |sleep |for |most |of |the |day.|",
    ],
    "stream_without_langchain": [
        "call_model ['joke'] '[echo]'",
        "call_model ['joke'] ' cats'",
        "call_model ['poem'] '[echo]'",
        "only the poem:\n[echo]| Write| a| poem| about| cats|",
    ],
    "stream_specific_nodes": ["|Dogs |bark |at |what |they |know.|"],
    "stream_subgraphs": [
        "{'node_1': {'foo': 'hi! foo'}}",
        "{'node_2': {'foo': 'hi! foobar'}}",
        "with the inner graph:",
        "() {'node_1': {'foo': 'hi! foo'}}",
        "('node_2:",
        ") {'subgraph_node_1': {'bar': 'bar'}}",
        ") {'subgraph_node_2': {'foo': 'hi! foobar'}}",
        "() {'node_2': {'foo': 'hi! foobar'}}",
    ],
    "stream_tool": [
        "custom: {'tool': 'describe', 'status': 'looking up office'}",
        "AIMessageChunk: 'An '",
        "custom: {'tool': 'describe', 'status': 'found office'}",
        "custom: {'tool': 'describe', 'status': 'looking up bedroom'}",
        "custom: {'tool': 'describe', 'status': 'found bedroom'}",
        "tool: '[Extractive model",
    ],
}
"""What each small example prints, in this order."""


def _environment(backend: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    kept.pop("RAY_ADDRESS", None)
    return {**kept, "DISTGRAPH_BACKEND": backend, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def _run(name: str, *arguments: str, backend: str = "local") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=ROOT,
        env=_environment(backend),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_every_small_example_is_listed_here() -> None:
    assert sorted(SHOWN) == sorted(path.stem for path in EXAMPLES.glob("stream_*.py"))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each small example prints, run as ``__main__`` one after the other in one process."""
    folder = tmp_path_factory.mktemp("examples")
    source, target = folder / "blocks.json", folder / "results.json"
    scripts = {name: (EXAMPLES / f"{name}.py").read_text(encoding="utf-8") for name in SHOWN}
    source.write_text(
        json.dumps(
            [
                [{"page": f"{name}.py", "line": 1, "code": code, "ray": False}]
                for name, code in scripts.items()
            ]
        )
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs" / "runner.py"), str(source), str(target)],
        cwd=ROOT,
        env={**_environment("local"), "PYTHONPATH": os.pathsep.join((str(ROOT), str(EXAMPLES)))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = [page[0] for page in json.loads(target.read_text())]
    assert [r["error"] for r in results if r["error"]] == []
    return {name: result["printed"] for name, result in zip(SHOWN, results, strict=True)}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_a_small_example_prints_what_it_is_about(name: str, printed: dict[str, str]) -> None:
    text, position = printed[name], 0
    for expected in SHOWN[name]:
        found = text.find(expected, position)
        assert found >= 0, f"{expected!r} is missing after character {position}:\n{text}"
        position = found + len(expected)


def test_an_example_runs_as_a_script() -> None:
    done = _run("stream_values")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == SHOWN["stream_values"]


def test_a_question_is_answered_by_another_process(tmp_path: Path) -> None:
    kept = ("--file", str(tmp_path / "letters.sqlite"))
    asked = _run("approval", *kept)
    assert asked.returncode == 0, asked.stderr
    question = "Send this? Dear reader, this is about graphs on clusters."
    assert asked.stdout.splitlines()[-1] == f"Waiting: {question}"
    assert _run("approval", *kept).stdout.strip() == f"Still waiting: {question}"
    answered = _run("approval", "yes", *kept)
    assert answered.stdout.splitlines()[-1] == "send: sent"
    history = _run("approval", "--history", *kept).stdout.splitlines()
    assert [line[:2] for line in history] == ["3 ", "2 ", "1 ", "0 ", "-1"]
    writers = set(re.findall(r"process (\d+)", history[0]))
    assert len(writers) == 2
