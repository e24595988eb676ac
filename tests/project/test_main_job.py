"""The main job: an agent over a folder of documents, whose tools compute."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain.agents", reason="langchain is not installed")

from tests.support.openai_replies import Answer, Call
from tests.support.openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "examples" / "agent.py"

STAND_IN = "offline-agent (built in; OPENAI_API_KEY or OPENAI_BASE_URL choose a hosted one)"

STATISTICS = (
    "48 lines, 46 of them code; 1 functions; 100% of the definitions documented; 1.1 bits a name; "
    "{0} at line 4 has complexity 41. Nearest document: {1}.py, 89% in common."
)

REPORT = f"""\
[Offline model: a stand-in that follows rules and quotes what its tools returned.]
- statistics(alpha.py): {STATISTICS.format("alpha", "gamma")}
- statistics(gamma.py): {STATISTICS.format("gamma", "alpha")}
- statistics(beta.py): {STATISTICS.format("beta", "alpha")}
- statistics(notes.md): 4 lines with 5 words; 2.3 bits a word; the most frequent: notes, words, \
about. Nearest document: alpha.py, 0% in common.
- search(timeout and retry): alpha.py line 1; gamma.py line 1; beta.py line 1
- search(compression of archives): notes.md line 1
- search(parsing of dates): no passage fits
- outline(alpha.py): alpha: Handle the timeout of alpha
- outline(gamma.py): gamma: Handle the timeout of gamma
- outline(beta.py): beta: Handle the timeout of beta
"""
"""The largest documents come first."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    body = "\n".join(f"    total += {i} if x else {i}" for i in range(40))
    for name in ("alpha", "beta", "gamma"):
        (source / f"{name}.py").write_text(
            f'"""Module {name}."""\n\n\ndef {name}(x):\n    """Handle the timeout of {name}."""\n'
            f"    total = 0\n{body}\n    return total\n"
        )
    (source / "notes.md").write_text("# Notes\n\nSome words about compression.\n")
    return source


FIRST_EVENT = r"The first event came \d+\.\d s after the start of the program\.\n\Z"


def _environment(backend: str, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    kept |= {"DISTGRAPH_BACKEND": backend, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def _run(*arguments: Any, backend: str = "local", **more: str) -> tuple[str, list[str]]:
    """Run the program; return what it printed, and the lines of its view, both without times."""
    done = subprocess.run(
        [sys.executable, str(AGENT), *map(str, arguments)],
        cwd=ROOT,
        env=_environment(backend, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed, times = re.subn(FIRST_EVENT, "", done.stdout)
    assert times == (0 if "--compare" in arguments else 1)
    return printed, re.findall(r"^\[ *\d+\.\d s\] (.*)$", done.stderr, re.MULTILINE)


def test_the_agent_calls_its_tools_and_streams_its_report(folder: Path, tmp_path: Path) -> None:
    printed, view = _run("--folder", folder, "--timeline", tmp_path / "run.svg")
    assert printed.startswith(
        f"An agent studies 4 documents of {folder}.\nIts model: {STAND_IN}.\n{REPORT}"
    )
    assert view[0] == "agent: model → tools"
    ends = [line.split(" done in ")[0] for line in view if " done in " in line]
    for end in ("model: 2 of 2", "tools/search: 3 of 3", "tools/outline: 3 of 3"):
        assert end in ends
    assert "tools/statistics: 4 of 4" in ends
    assert view[-1].startswith("done in ") and "12 tasks, 1 process on 1 machine" in view[-1]
    # the node's input by an edge is one more attempt than there are tasks
    assert (tmp_path / "run.svg").read_text().count('class="attempt"') >= 12


@pytest.mark.ray
def test_on_ray_the_tools_run_in_other_processes(folder: Path) -> None:
    printed, view = _run("--folder", folder, backend="ray")
    assert REPORT in printed
    processes = [line for line in view if line.startswith("process ")]
    assert processes
    total: dict[str, int] = {}
    for line in processes:
        for label, number in re.findall(r"([\w/]+) ×(\d+) in ", line):
            total[label] = total.get(label, 0) + int(number)
    assert total == {"model": 2, "tools/search": 3, "tools/outline": 3, "tools/statistics": 4}


def test_the_comparison_runs_the_same_agent_by_langgraph(folder: Path) -> None:
    printed, _ = _run("--folder", folder, "--compare")
    assert printed.count(REPORT) == 2
    assert re.fullmatch(
        r"LangGraph in this process: \d+\.\d s\. distgraph, with the start of Ray: \d+\.\d s, "
        r"\d+\.\d times as fast, the same report\.",
        printed.splitlines()[-1],
    )


def test_a_hosted_model_chooses_the_tools(folder: Path) -> None:
    calls = (Call("outline", {"document": "alpha.py"}), Call("statistics", {"document": "none.py"}))
    replies = [Answer(calls=calls), "Alpha handles a timeout."]
    with OpenAIServer(replies) as server:
        printed, view = _run(
            "--folder",
            folder,
            "What is alpha about?",
            OPENAI_BASE_URL=server.base_url,
            OPENAI_API_KEY="",
            OPENAI_MODEL="hosted",
        )
    assert printed == (
        f"An agent studies 4 documents of {folder}.\nIts model: hosted at {server.base_url}.\n"
        "Alpha handles a timeout.\n"
    )
    assert [request["model"] for request in server.requests] == ["hosted", "hosted"]
    offered = [tool["function"]["name"] for tool in server.requests[0]["tools"]]
    assert offered == ["search", "statistics", "outline"]
    told = [m["content"] for m in server.requests[1]["messages"] if m["role"] == "tool"]
    assert told[0] == "alpha: Handle the timeout of alpha"
    assert told[1] == "There is no document 'none.py'."
    assert any(line.startswith("tools/outline: 1 of 1 done") for line in view)


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(AGENT), "--folder", str(tmp_path)],
        env=_environment("local"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"No text files match '**/*' in {tmp_path}.\n"


@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_an_interrupted_run_ends_with_130_and_no_traceback(backend: str) -> None:
    with subprocess.Popen(
        [sys.executable, str(AGENT)],
        cwd=ROOT,
        env=_environment(backend),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        errors = ""
        for line in process.stderr:
            errors += line
            if "tools/statistics: " in line:
                process.send_signal(signal.SIGINT)
                break
        errors += process.stderr.read()
    assert process.returncode == 130, errors
    assert "Interrupted: the run was cancelled." in errors
    assert "] cancelled in " in errors
    assert "Traceback" not in errors
