"""A node that lacks an environment variable of the caller says so, without the value."""

from __future__ import annotations

import os

import pytest

from distgraph import START, StateGraph
from distgraph.invocation.environment import missing_variable, note_of_missing

NAME = "DOCUMENTS_API_KEY"
SET = {NAME: "s3cret", "PATH": "/bin"}


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        KeyError(NAME),
        ValueError(f"Did not find an API key, please add an environment variable `{NAME}`"),
        RuntimeError(f"set the {NAME} environment variable"),
        ValueError("1 validation error for Settings\ndocuments_api_key\n  Field required [type=x]"),
        caused(RuntimeError("no client"), KeyError(NAME)),
    ],
    ids=["KeyError", "LangChain", "client", "pydantic", "cause"],
)
def test_the_missing_variable_is_recognized(error: Exception) -> None:
    assert missing_variable(error, SET) == NAME
    assert missing_variable(error, {"PATH": "/bin"}) is None  # the caller has none either


@pytest.mark.parametrize(
    "error",
    [KeyError("PATH"), KeyError("documents_api_key"), ValueError(f"{NAME} is odd"), KeyError(3)],
)
def test_other_errors_get_no_note(error: Exception) -> None:
    assert missing_variable(error, SET) is None


def test_the_note_says_how_to_ship_it() -> None:
    assert note_of_missing(NAME).endswith(
        f'Ship it with ray.init(runtime_env={{"env_vars": {{"{NAME}": os.environ["{NAME}"]}}}}) '
        'before the first run, or with ray_options={"runtime_env": {"env_vars": {...}}} of the node'
    )


def ask(state: dict) -> dict:
    return {"answer": os.environ[NAME]}


@pytest.mark.ray
def test_a_node_on_ray_without_a_variable_of_the_caller_gets_the_note(
    on_ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "s3cret")
    graph = StateGraph(dict).add_node(ask).add_edge(START, "ask").compile(backend="ray")
    with pytest.raises(KeyError) as caught:
        graph.invoke({})
    notes = getattr(caught.value, "__notes__", [])
    assert note_of_missing(NAME) in notes
    assert "s3cret" not in "".join(notes)


def test_a_node_in_the_caller_s_process_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(state: dict) -> None:
        raise KeyError(NAME)

    monkeypatch.setenv(NAME, "s3cret")
    graph = StateGraph(dict).add_node(fail).add_edge(START, "fail").compile(backend="local")
    with pytest.raises(KeyError) as caught:
        graph.invoke({})
    assert note_of_missing(NAME) not in getattr(caught.value, "__notes__", [])
