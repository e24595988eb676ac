"""The pages about ``distgraph serve``: the command serves their files, and their examples run."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.docs.pages import matches

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "deploy" / name for name in ("serve.md", "serve-runs.md")]
URL = "http://127.0.0.1:2024"

_BLOCK = re.compile(
    r"<!-- served(?:: (?P<file>\S+))? -->\n```(?P<language>\w+)\n(?P<code>.*?)```\n"
    r"(?:\n```output\n(?P<output>.*?)```\n)?",
    re.DOTALL,
)


class Served(NamedTuple):
    file: str | None
    language: str
    code: str
    output: str | None


def page_blocks() -> list[Served]:
    found = _BLOCK.finditer("\n".join(page.read_text(encoding="utf-8") for page in PAGES))
    return [Served(m["file"], m["language"], m["code"], m["output"]) for m in found]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The server that the first page describes, on a port of its own."""
    for block in page_blocks():
        if block.file is not None:
            (tmp_path / block.file).write_text(block.code)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "distgraph", "serve", "--local", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as server:
        try:
            for _ in range(300):
                assert server.poll() is None
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{port}/ok").status_code == 200:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            assert server.wait(60) is not None
    assert (tmp_path / ".distgraph" / "registry.sqlite").exists()


def test_the_examples_of_the_pages_print_what_they_show(url: str) -> None:
    namespace: dict[str, object] = {}
    ran = 0
    for block in page_blocks():
        if block.file is not None:
            continue
        code, printed = block.code.replace(URL, url), io.StringIO()
        if block.language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(code, "pages of the server", "exec"), namespace)
            text = printed.getvalue()
        else:
            done = subprocess.run(
                ["bash", "-c", code], capture_output=True, text=True, check=True, timeout=280
            )
            text = done.stdout.replace("\r\n", "\n")
        assert block.output is not None and matches(block.output, text), text
        ran += 1
    assert ran == 6
