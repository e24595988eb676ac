"""``create_agent`` with each middleware that LangChain brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain.agents", reason="needs langchain")

from langchain.agents import create_agent
from langchain.agents import middleware as langchains
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    FilesystemFileSearchMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tests.ecosystem.support import conversation_is_the_same
from tests.langgraph_graphs.support import newest
from tests.support.models import CallingModel, EchoModel

pytestmark = newest


@tool
def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)


@tool
def mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"sent {text} to {to}"


@tool
def post(text: str) -> str:
    """Post a text."""
    return f"posted {text}"


class FailingTool(Exception):
    """What the tool ``fail`` raises."""


@tool
def fail(why: str) -> str:
    """Fail."""
    raise FailingTool(why)


class Scripted(CallingModel):
    """Calls tools as ``CallingModel``, and fails or refuses where it is told to."""

    broken: str = ""
    refuses: bool = False

    def reply(self, messages: list[Any], **kwargs: Any) -> AIMessage:
        if self.broken:
            raise ConnectionError(self.broken)
        if self.refuses:
            return AIMessage(content=[{"type": "refusal", "refusal": "no"}])
        return super().reply(messages, **kwargs)


ADD = ("add", {"a": 1, "b": 2})
MAIL = ("mail", {"to": "ann@example.com", "text": "hello"})
TODO = ("write_todos", {"todos": [{"content": "one", "status": "in_progress"}]})


def go(text: str = "go") -> dict[str, Any]:
    return {"messages": [HumanMessage(text, id="h")]}


def agent(
    *middleware: Any, calls: Any = (ADD,), rounds: int = 1, model: Any = None, tools: Any = ()
) -> Any:
    chat = model or Scripted(calls=list(calls), rounds=rounds)
    return lambda: create_agent(
        chat,
        [add, mail, post, fail, *tools],
        middleware=list(middleware),
        checkpointer=InMemorySaver(),
    )


def _files(tmp_path: Path) -> Any:
    (tmp_path / "notes.txt").write_text("the needle is here\n")
    (tmp_path / "other.md").write_text("nothing\n")
    return FilesystemFileSearchMiddleware(root_path=str(tmp_path), use_ripgrep=False)


def _middlewares() -> dict[str, Any]:
    found: dict[str, Any] = {
        "ContextEditingMiddleware": lambda path: agent(
            ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=1, keep=0)]), rounds=2
        ),
        "FilesystemFileSearchMiddleware": lambda path: agent(
            _files(path),
            calls=[("glob_search", {"pattern": "*.txt"}), ("grep_search", {"pattern": "needle"})],
        ),
        "LLMToolEmulator": lambda path: agent(
            LLMToolEmulator(tools=["mail"], model=EchoModel()), calls=[MAIL]
        ),
        "LLMToolSelectorMiddleware": lambda path: agent(
            LLMToolSelectorMiddleware(
                model=CallingModel(structured={"tools": ["add"]}), max_tools=1
            )
        ),
        "ModelCallLimitMiddleware": lambda path: agent(
            ModelCallLimitMiddleware(run_limit=2), rounds=5
        ),
        "ModelFallbackMiddleware": lambda path: agent(
            ModelFallbackMiddleware(Scripted(calls=[ADD])), model=Scripted(broken="down")
        ),
        "ModelRetryMiddleware": lambda path: agent(
            ModelRetryMiddleware(
                max_retries=1, initial_delay=0, jitter=False, on_failure="continue"
            ),
            model=Scripted(broken="down"),
        ),
        "PIIMiddleware": lambda path: agent(
            PIIMiddleware("email", apply_to_output=True, apply_to_tool_results=True),
            PIIMiddleware("ip", strategy="mask"),
            calls=[MAIL],
        ),
        "TodoListMiddleware": lambda path: agent(TodoListMiddleware(), calls=[TODO]),
        "ToolCallLimitMiddleware": lambda path: agent(
            ToolCallLimitMiddleware(run_limit=1), rounds=3
        ),
        "ToolRetryMiddleware": lambda path: agent(
            ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False),
            calls=[("fail", {"why": "broken"})],
        ),
    }
    if hasattr(langchains, "ToolErrorMiddleware"):
        found["ToolErrorMiddleware"] = lambda path: agent(
            langchains.ToolErrorMiddleware(lambda exc, request: f"failed: {exc}"),
            calls=[("fail", {"why": "broken"})],
        )
    if hasattr(langchains, "ModelRefusalMiddleware"):
        found["ModelRefusalMiddleware"] = lambda path: agent(
            ModelFallbackMiddleware(Scripted(calls=[ADD])),
            langchains.ModelRefusalMiddleware(),
            model=Scripted(refuses=True),
        )
    if hasattr(langchains, "ProviderToolSearchMiddleware"):
        found["ProviderToolSearchMiddleware"] = lambda path: agent(
            langchains.ProviderToolSearchMiddleware()
        )
    return found


MIDDLEWARES = _middlewares()

ELSEWHERE = {
    "AutoModeMiddleware": "test_a_classifier_that_blocks_a_tool",
    "HumanInTheLoopMiddleware": "test_an_agent_that_asks_before_tool_calls_streams_the_same",
    "ModelRouterMiddleware": "test_a_classifier_that_chooses_the_model",
    "ShellToolMiddleware": "test_the_shell_of_an_agent_is_one_for_all_its_calls",
    "SummarizationMiddleware": "test_an_agent_that_summarizes_streams_the_same",
}
"""Middlewares with a test of their own, and those of other folders."""


def test_every_middleware_of_langchain_is_run() -> None:
    bases = {"AgentMiddleware"}
    names = {name for name in langchains.__all__ if name.endswith("Middleware")} - bases
    assert names <= MIDDLEWARES.keys() | ELSEWHERE.keys()


def _by_task(item: Any) -> Any:
    """Name a chunk's task; tool calls in parallel by their tools."""
    if item.mode == "values":
        return None
    if item.mode == "messages":
        message, metadata = item.payload
        return getattr(message, "name", None) or metadata["langgraph_node"]
    if item.mode == "custom":
        return "custom"
    (node, update), *_ = item.payload.items()
    if node == "tools" and isinstance(update, dict):
        return update["messages"][0].name
    return node


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("name", MIDDLEWARES)
def test_an_agent_with_this_middleware_streams_the_same(
    backend: str, name: str, face: str, tmp_path: Path
) -> None:
    build = MIDDLEWARES[name](tmp_path)
    first = go("I am ann@example.com at 10.0.0.1")
    conversation_is_the_same(backend, build, first, faces=[face], key=_by_task)


@pytest.mark.parametrize("face", ["sync", "async"])
def test_an_agent_that_summarizes_streams_the_same(backend: str, face: str) -> None:
    middleware = SummarizationMiddleware(EchoModel(), trigger=("messages", 6), keep=("messages", 1))
    said = [(HumanMessage if i % 2 else AIMessage)(f"text {i}", id=f"m{i}") for i in range(7)]
    conversation_is_the_same(
        backend, agent(middleware), {"messages": [*said, HumanMessage("go", id="h")]}, faces=[face]
    )


APPROVE = {"type": "approve"}
EDIT = {
    "type": "edit",
    "edited_action": {"name": "mail", "args": {"to": "bob@example.com", "text": "bye"}},
}
REJECT = {"type": "reject", "message": "not now"}


@pytest.mark.parametrize("decisions", [[APPROVE, REJECT], [EDIT, APPROVE]])
@pytest.mark.parametrize("face", ["sync", "async"])
def test_an_agent_that_asks_before_tool_calls_streams_the_same(
    backend: str, face: str, decisions: list[dict[str, Any]]
) -> None:
    middleware = HumanInTheLoopMiddleware(interrupt_on={"mail": True, "post": True})
    build = agent(middleware, calls=[MAIL, ADD, ("post", {"text": "news"})])
    runs = conversation_is_the_same(
        backend,
        build,
        go(),
        Command(resume={"decisions": decisions}),
        faces=[face],
        key=_by_task,
    )
    assert any("__interrupt__" in item.payload for item in runs[0] if item.mode == "updates")


def _classifier(kind: str, answer: Any) -> Any:
    decisions = pytest.importorskip(
        "langchain_core.decisions", reason="needs a newer langchain-core"
    )

    class Classifier(decisions.BaseDecisionModel):  # type: ignore[misc, name-defined]
        @property
        def _provider(self) -> str:
            return "test"

        def _classify(self, state: Any, questions: Any) -> Any:
            answers = {name: {"type": kind, **answer} for name in questions}
            return decisions.ClassifierResponse(model="test", answers=answers)

    return Classifier(model="test")


@pytest.mark.skipif(
    not hasattr(langchains, "AutoModeMiddleware"), reason="needs a newer version of langchain"
)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_classifier_that_blocks_a_tool(backend: str, face: str) -> None:
    classifier = _classifier("noul", {"noul": 0.9})
    middleware = langchains.AutoModeMiddleware(tools=["mail"], classifier=classifier)
    build = agent(middleware, calls=[MAIL, ADD])
    conversation_is_the_same(backend, build, go(), faces=[face], key=_by_task)


@pytest.mark.skipif(
    not hasattr(langchains, "ModelRouterMiddleware"), reason="needs a newer version of langchain"
)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_classifier_that_chooses_the_model(backend: str, face: str) -> None:
    answer = {"choice": "loud", "probabilities": {"loud": 1.0}, "confidence": 1.0}
    choices = {
        "loud": langchains.ModelChoice(model=Scripted(prefix="LOUD "), criteria="loud"),
        "soft": langchains.ModelChoice(model=Scripted(prefix="soft "), criteria="soft"),
    }
    middleware = langchains.ModelRouterMiddleware(
        choices=choices, instructions="choose", classifier=_classifier("choice", answer)
    )
    conversation_is_the_same(backend, agent(middleware), go(), faces=[face])
