"""``distgraph serve``: what is wrong with the command is reported before anything starts."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")

from distgraph.cli import codes, main

AGENT = """
from distgraph import START, StateGraph

graph = StateGraph(dict).add_node("node", dict).add_edge(START, "node").compile()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the project adds its folder
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "agent.py").write_text(AGENT)
    file = tmp_path / "langgraph.json"
    file.write_text('{"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}')
    return file


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("options", [["--local"], []], ids=["local", "ray"])
def test_a_port_that_is_in_use_is_an_error_with_the_remedy(
    options: list[str], project: Path, used_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["serve", str(project), "--port", str(used_port), *options])
    assert code == codes.FAILED
    assert capsys.readouterr().err == (
        f"distgraph serve: cannot listen on 127.0.0.1:{used_port} (Address already in use). Give "
        "another --port, or end the program that uses this one\n"
    )
