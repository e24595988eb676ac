"""LangGraph's clients in JavaScript, as users have them, against a server: the scripts beside."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.serve.clients.live import serving
from tests.serve.js.conftest import FOLDER, SCRIPTS, Scripts

pytestmark = pytest.mark.javascript

CHAT = [["human", "weather"], ["ai", ""], ["tool", "sunny in sf"], ["ai", "You said: sunny in sf"]]
WORDS = ["You", " said:", " sunny", " in", " sf"]


CLIENT = {
    "graphs": ["agent", "failing", "slow", "slow_question", "work"],
    "nodes": ["__start__", "first", "sub", "ask", "__end__"],
    "first": "metadata",
    "updates": ["model", "tools", "model"],
    "tokens": WORDS,
    "messages": CHAT,
    "keptId": "user-1",
    "state": 4,
    "history": 5,
    "found": [[True, "idle"]],
    "interrupt": {"question": "ok?"},
    "interrupted": "interrupted",
    "answer": "yes",
    "error": "ValueError: boom",
    "created": True,
    "ticks": [0, 1, 2, 3, 4, 5],
    "cancelled": "interrupted",
    "item": {"value": 1},
}

REACT = {
    "messages": CHAT,
    "streamed": True,
    "calls": [["get_weather", "sf", "finished", "sunny in sf"]],
    "second": "You said: hello",
    "hydrated": "You said: hello",
    "interrupt": {"question": "ok?"},
    "subgraphs": [["sub", "complete"]],
    "extension": {"hello": "named"},
    "answer": "yes",
    "interrupts": 0,
    "error": "boom",
    "stopped": "interrupted",
}

THREAD = {
    "payload": {"question": "ok?"},
    "answer": "yes",
    "methods": [
        "checkpoints",
        "custom",
        "input.answered",
        "input.requested",
        "lifecycle",
        "tasks",
        "updates",
        "values",
    ],
    "texts": [WORDS],
}

REMOTE = {
    "updates": ["model", "tools", "model"],
    "result": "You said: sunny in sf",
    "tokens": ["sunny in sf", *WORDS],
    "interrupt": {"question": "ok?"},
    "next": ["ask"],
    "pending": {"question": "ok?"},
    "answer": "yes",
    "changed": "changed",
    "history": "changed",
    "nodes": ["__start__", "first", "sub", "ask", "__end__"],
    "methods": [
        "checkpoints",
        "lifecycle",
        "messages",
        "tasks",
        "tools",
        "updates",
        "values",
    ],
}

LEGACY = {
    "messages": CHAT,
    "streamed": True,
    "hasThread": True,
    "interrupt": {"question": "ok?"},
    "answer": "yes",
    "branches": True,
    "error": "boom",
    "joined": [0, 1, 2, 3, 4, 5],
    "stopped": "interrupted",
}

CHAT_UI = {
    "info": True,
    "messages": [["human", "hello"], ["ai", "You said: hello"]],
    "edited": [["human", "edited"], ["ai", "You said: edited"]],
    "branches": 2,
    "sidebar": ["agent", "edited"],
}


def test_the_client_runs_resumes_joins_and_cancels(local: Scripts) -> None:
    assert local.seen("client") == CLIENT


def check_remote_graph(seen: dict[str, Any]) -> None:
    chunks = seen.pop("chunks")
    assert [["sub"], "updates", "inner"] in chunks
    assert [[], "updates", "first"] in chunks
    assert [[], "custom", "progress"] in chunks
    assert "boom" in seen.pop("error")
    assert seen == REMOTE


def test_remote_graph_is_a_graph(local: Scripts) -> None:
    check_remote_graph(local.seen("remote_graph"))


def test_the_snippet_of_the_documentation_runs_as_it_stands(local: Scripts) -> None:
    lines = local.output("seed").splitlines()
    assert [line.split(":")[0].strip("{ ") for line in lines] == ["model", "tools", "model"]


def test_the_hook_of_the_sdk_shows_a_chat_a_question_an_error_and_a_joined_run(
    local: Scripts,
) -> None:
    assert local.seen("legacy_hook") == LEGACY


def test_the_hook_of_langchain_react_shows_a_chat_a_question_an_error_and_a_subgraph(
    local: Scripts,
) -> None:
    assert local.seen("react_hook") == REACT


def test_agent_chat_ui_finds_its_server_edits_a_message_and_lists_its_threads(
    local: Scripts,
) -> None:
    assert local.seen("agent_chat_ui") == CHAT_UI


@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_a_thread_stream_has_all_channels(local: Scripts, transport: str) -> None:
    assert local.seen("thread_stream")[transport] == THREAD


def test_the_example_of_the_page_prints_what_the_page_says(
    node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "deploy" / "serve.md").read_text("utf-8")
    for name in ("agent.py", "langgraph.json"):
        text = page.split(f"<!-- served: {name} -->")[1].split("```")[1].partition("\n")[2]
        file = tmp_path / name.replace("agent", "page_agent")
        file.write_text(text.replace("agent", "page_agent"))
    monkeypatch.syspath_prepend(tmp_path)
    code, _, output = page.split("```js\n")[1].split("```")[:3]
    with serving(tmp_path) as url:
        command = [node, "--input-type=module", "-e", code.replace("http://127.0.0.1:2024", url)]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER, timeout=60)
    assert ran.stdout == output.removeprefix("text\n"), ran.stderr


# --- on Ray Serve ---------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_two_replicas_on_ray_serve_are_one_server_to_all_clients(on_ray_serve: Scripts) -> None:
    # its runs start the drivers of the replicas, for which the others have less patience
    assert on_ray_serve.seen("client") == CLIENT
    for name in SCRIPTS:
        on_ray_serve.begin(name)
    assert on_ray_serve.seen("thread_stream") == {"sse": THREAD, "websocket": THREAD}
    assert on_ray_serve.seen("react_hook") == REACT
    assert on_ray_serve.seen("legacy_hook") == LEGACY
    assert on_ray_serve.seen("agent_chat_ui") == CHAT_UI
    check_remote_graph(on_ray_serve.seen("remote_graph"))
    assert len(on_ray_serve.output("seed").splitlines()) == 3
