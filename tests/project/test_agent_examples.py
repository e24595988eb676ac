"""The examples that users copy: agents, map-reduce, a distributed LangGraph app, placement."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTICE = "[Offline model: a stand-in that follows rules and quotes what its tools returned.]"
BUILT_IN = "(built in; OPENAI_API_KEY or OPENAI_BASE_URL choose a hosted one)"


def _run(name: str, *arguments: str, backend: str = "local", **environment: str) -> list[str]:
    """Run an example as a user does, and return the lines that it prints."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    # not a cluster that another program has started on this machine
    kept |= {"DISTGRAPH_BACKEND": backend, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def _who(lines: list[str]) -> tuple[int, dict[int, dict[str, int]]]:
    """Return the caller's process, and what each process ran how often."""
    (start,) = (i for i, line in enumerate(lines) if line.startswith("Who ran what"))
    caller = re.fullmatch(r"Who ran what \(the caller is process (\d+)\):", lines[start])
    assert caller, lines[start]
    ran = {}
    for line in lines[start + 1 :]:
        found = re.fullmatch(r"  process (\d+) on \S+: (.*)", line)
        assert found, line
        counts = (part.split(" ×") for part in found[2].split(", "))
        ran[int(found[1])] = {what: int(count) for what, count in counts}
    return int(caller[1]), ran


def _in_order(lines: list[str], *expected: str) -> None:
    """Assert that some lines are there, in this order."""
    position = 0
    for line in expected:
        assert line in lines[position:], f"{line!r} is missing:\n" + "\n".join(lines)
        position = lines.index(line, position) + 1


# --- map-reduce over documents ------------------------------------------------------------------


def test_map_reduce_over_given_documents(tmp_path: Path) -> None:
    cats, dogs = tmp_path / "cats.txt", tmp_path / "dogs.txt"
    cats.write_text("# Animals\n\nCats sleep through the daylight. Nobody knows why.\n")
    dogs.write_text("Dogs bark at the daylight. Nobody stops them. Nobody cares.\n")
    lines = _run("map_reduce", str(cats), str(dogs))
    assert lines[0] == (
        f"model: extractive {BUILT_IN}; every sentence below is copied from the documents"
    )
    assert lines[1] == "2 documents"
    mapped = sorted(line.split(" in process ")[0] for line in lines[2:4])
    assert mapped == ["summarize cats.txt", "summarize dogs.txt"]
    assert lines[4].startswith("combine 2 in process ")
    assert lines[5] == "most frequent longer words: nobody 3, daylight 2, animals 1, through 1"
    assert lines[6].startswith("write report in process ")
    assert lines[7:13] == [
        "cats.txt",
        "Cats sleep through the daylight. Nobody knows why.",
        "",
        "dogs.txt",
        "Dogs bark at the daylight. Nobody cares.",
        "",
    ]
    caller, ran = _who(lines)
    assert ran == {caller: {"combine": 1, "summarize": 2, "write": 1}}


def test_map_reduce_over_the_documents_of_the_project() -> None:
    lines = _run("map_reduce")
    headings = ["README.md", *sorted(path.name for path in (ROOT / "docs" / "guides").glob("*.md"))]
    _in_order(lines, *headings)
    assert _who(lines)[1].popitem()[1]["summarize"] >= len(headings)


# --- a supervisor of agents ---------------------------------------------------------------------


def test_the_supervisor_hands_over_to_agents_and_sums_up() -> None:
    lines = _run("supervisor")
    shown = [re.sub(r":\w{4}\]", "]", re.sub(r"in process \d+", "in process N", x)) for x in lines]
    definition = next(line for line in lines if "] tools: line " in line).split("] tools: ")[1]
    frequent = re.compile(r"(\w+ \d+, ){2}\w+ \d+")
    counted = next(found[0] for line in lines if (found := frequent.search(line)))
    assert re.fullmatch(r"line \d+ of heapq: def heappush\(heap, item\):", definition)
    assert shown[2 : shown.index("")] == [
        "[supervisor] agent calls ask_librarian({})",
        "[supervisor] ask_librarian in process N",
        "[team] supervisor is done",
        "[librarian] agent calls find_definition({'name': 'heappush', 'module': 'heapq'})",
        "[librarian] find_definition in process N",
        f"[librarian] tools: {definition}",
        f"[librarian] {NOTICE}",
        f"- find_definition(heappush, heapq): {definition}",
        "[team] librarian is done",
        "[supervisor] agent calls ask_statistician({})",
        "[supervisor] ask_statistician in process N",
        "[team] supervisor is done",
        "[statistician] agent calls frequent_words({'module': 'bisect'})",
        "[statistician] frequent_words in process N",
        f"[statistician] tools: {counted}",
        f"[statistician] {NOTICE}",
        f"- frequent_words(bisect): {counted}",
        "[team] statistician is done",
        f"[supervisor] {NOTICE}",
        f"- find_definition(heappush, heapq): {definition}",
        f"- frequent_words(bisect): {counted}",
        "[team] supervisor is done",
    ]
    caller, ran = _who(lines)
    assert ran == {
        caller: {
            "ask_librarian": 1,
            "ask_statistician": 1,
            "find_definition": 1,
            "frequent_words": 1,
        }
    }


# --- an application of LangGraph ----------------------------------------------------------------


def test_the_langgraph_application_knows_nothing_of_distgraph() -> None:
    text = (EXAMPLES / "langgraph_app.py").read_text(encoding="utf-8")
    imported = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
    assert set(imported) - set(sys.stdlib_module_names) == {"langchain_core", "langgraph"}


@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_distributed_langgraph_application_streams_the_same(backend: str) -> None:
    pytest.importorskip("langgraph")
    lines = _run("distribute_langgraph", backend=backend)
    assert lines[0] == f"model: extractive {BUILT_IN}"
    assert lines[-1] == "49 chunks from LangGraph, 49 from distgraph: the same"
    middle = lines.index("distgraph:")
    assert lines[1] == "LangGraph:"
    for part in (lines[2:middle], lines[middle + 1 : -1]):
        shown = [line for line in part if not line.startswith("  process ")]
        assert sorted(line for line in shown if line.startswith("  - custom")) == [
            "  - custom read CHANGELOG.md",
            "  - custom read CONTRIBUTING.md",
            "  - custom read LICENSE",
            "  - custom read README.md",
        ]
        _in_order(
            shown,
            "  review custom collect 4 readings",
            "  review custom write draft",
            "  review custom shorten draft",
        )
        assert any(x.startswith("  review messages write '[Extractive ' 'model: '") for x in shown)
    (here,) = (line for line in lines[:middle] if line.startswith("  process "))
    assert re.fullmatch(
        r"  process (\d+) \(this one\): collect ×1, read ×4, shorten ×1, write ×1", here
    )
    there = [line for line in lines[middle:] if line.startswith("  process ")]
    assert [line for line in there if "(this one)" in line] == (there if backend == "local" else [])
    assert sum(int(n) for line in there for n in re.findall(r"×(\d+)", line)) == 7


# --- placement on GPUs --------------------------------------------------------------------------


def _check_placement(lines: list[str], gpu: str) -> tuple[int, dict[int, dict[str, int]]]:
    caller, ran = _who(lines)
    encoded = [line.split(":")[0] for line in lines if line.startswith("encode ")]
    assert sorted(encoded) == [f"encode {number}" for number in range(len(encoded))]
    assert sum(process["encode"] for process in ran.values()) == len(encoded) >= 4
    reserved = {x.split(": ")[-1] for x in lines if x.startswith(("encode ", "load "))}
    assert reserved == {gpu}
    start = lines.index("nearest to 'compressed archive files':")
    nearest = [line.split()[1] for line in lines[start + 1 : start + 6]]
    assert "tarfile:" in nearest
    return caller, ran


def test_placement_without_ray_runs_in_the_caller() -> None:
    lines = _run("gpu_placement", "compressed archive files")
    assert lines[0] == "GPUs: none; the model runs on CPUs"
    caller, ran = _check_placement(lines, "none")
    assert list(ran) == [caller]
    assert ran[caller]["load"] <= 2, "an instance for each of the two that may work at a time"


@pytest.mark.ray
def test_placement_on_a_cluster_with_a_gpu_reserves_it_for_one_worker() -> None:
    lines = _run("gpu_placement", "compressed archive files", "--pretend-gpus", "1", backend="ray")
    assert lines[0] == "GPUs: 1; each worker of the model reserves one"
    caller, ran = _check_placement(lines, "0")
    assert caller not in ran
    assert [process["load"] for process in ran.values()] == [1]


@pytest.mark.ray
def test_placement_on_two_gpus_loads_the_model_once_for_each() -> None:
    lines = _run("gpu_placement", "compressed archive files", "--pretend-gpus", "2", backend="ray")
    assert lines[0] == "GPUs: 2; each worker of the model reserves one"
    caller, ran = _who(lines)
    assert caller not in ran
    # a worker that comes up late may find all work done
    loads = [process["load"] for process in ran.values()]
    assert loads in ([1], [1, 1])
    reserved = {x.split(": ")[-1] for x in lines if x.startswith("load ")}
    assert reserved <= {"0", "1"} and len(reserved) == len(loads)


# --- the stand-in for a model -------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("offline_agent")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def _model(offline: Any, **options: Any) -> Any:
    rules = (offline.Rule(r"(?P<a>\d+)\+(?P<b>\d+)", "add"), offline.Rule("x", "unknown"))
    return offline.OfflineAgentModel(rules=rules).bind_tools([add], **options)


def test_the_stand_in_calls_what_the_question_asks_for_and_no_call_twice(offline: Any) -> None:
    asked = [HumanMessage("What are 1+2, 30+40 and 1+2? x")]
    first = _model(offline).invoke(asked)
    assert [(c["name"], c["args"], c["id"]) for c in first.tool_calls] == [
        ("add", {"a": 1, "b": 2}, "call_0"),
        ("add", {"a": 30, "b": 40}, "call_1"),
    ]
    results = [ToolMessage(3, name="add", tool_call_id="call_0")]
    results += [ToolMessage(70, name="add", tool_call_id="call_1")]
    last = _model(offline).invoke([*asked, first, *results])
    assert last.tool_calls == []
    assert last.content == f"{NOTICE}\n- add(1, 2): 3\n- add(30, 40): 70"


def test_the_stand_in_makes_one_call_a_message_where_it_is_told_to(offline: Any) -> None:
    asked = [HumanMessage("What are 1+2 and 3+4?")]
    model = _model(offline, parallel_tool_calls=False)
    first = model.invoke(asked)
    assert [c["args"] for c in first.tool_calls] == [{"a": 1, "b": 2}]
    second = model.invoke([*asked, first, ToolMessage(3, name="add", tool_call_id="call_0")])
    assert [(c["args"], c["id"]) for c in second.tool_calls] == [({"a": 3, "b": 4}, "call_1")]


def test_the_stand_in_streams_calls_in_chunks_as_hosted_models_do(offline: Any) -> None:
    chunks = list(_model(offline).stream([HumanMessage("What are 1+2 and 30+40?")]))
    parts = [part for chunk in chunks for part in chunk.tool_call_chunks]
    assert [(p["name"], p["args"], p["id"], p["index"]) for p in parts] == [
        ("add", "", "call_0", 0),
        (None, '{"a": 1, "b"', None, 0),
        (None, ": 2}", None, 0),
        ("add", "", "call_1", 1),
        (None, '{"a": 30, "b', None, 1),
        (None, '": 40}', None, 1),
    ]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert isinstance(whole, AIMessageChunk)
    assert [c["args"] for c in whole.tool_calls] == [{"a": 1, "b": 2}, {"a": 30, "b": 40}]


def test_the_stand_in_says_when_no_rule_fits(offline: Any) -> None:
    answer = _model(offline).invoke([HumanMessage("Hello!")])
    assert answer.content == f"{NOTICE}\nNo rule of it fits the question."


def test_every_program_is_tested_here_or_with_the_streams() -> None:
    helpers = {"codestats", "extractive", "langgraph_app", "offline_agent"}
    helpers |= {"document_tools", "whoran"}
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - helpers
    here = {"distribute_langgraph", "gpu_placement", "map_reduce", "supervisor"}
    elsewhere = {"agent", "approval", "review_workflow"}
    assert {name for name in programs if not name.startswith("stream_")} == here | elsewhere
