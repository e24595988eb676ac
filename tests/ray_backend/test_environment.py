"""A node that lacks an environment variable of the caller says so, without the value."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Annotated, TypedDict

import pytest

from distgraph import START, StateGraph
from distgraph.invocation.environment import (
    missing_file,
    missing_variable,
    note_of_file,
    note_of_missing,
)
from distgraph.worker import environment

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


def test_a_path_that_only_the_caller_has_is_recognized() -> None:
    missing = FileNotFoundError(2, "No such file or directory", "data/a.csv")
    assert missing_file(missing, {"data/a.csv"}.__contains__) == "data/a.csv"
    assert missing_file(caused(RuntimeError("no"), missing), lambda path: True) == "data/a.csv"
    assert missing_file(missing, lambda path: False) is None
    assert missing_file(FileNotFoundError("weights"), lambda path: True) is None
    assert missing_file(ValueError("data/a.csv"), lambda path: True) is None
    assert "workers have another working folder. Use an absolute" in note_of_file("data/a.csv")
    assert "workers may run on other machines. Use an absolute path" in note_of_file("/data/a.csv")


def ask(state: dict) -> dict:
    return {"answer": os.environ[NAME]}


@pytest.mark.ray
def test_a_node_on_ray_without_a_variable_of_the_caller_gets_the_note(
    on_ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment._began, NAME.encode(), b"s3cret")  # as if it was exported
    monkeypatch.setenv(NAME, "s3cret")
    graph = StateGraph(dict).add_node(ask).add_edge(START, "ask").compile(backend="ray")
    with pytest.raises(KeyError) as caught:
        graph.invoke({})
    notes = getattr(caught.value, "__notes__", [])
    assert note_of_missing(NAME) in notes
    assert "s3cret" not in "".join(notes)


class Found(TypedDict):
    answers: Annotated[list[str | None], operator.add]


def plain(state: Found) -> dict:
    found = os.environ.get(NAME)
    if found is not None:
        os.environ[NAME] = "of a node"
    return {"answers": [found]}


async def waiting(state: Found) -> dict:
    return {"answers": [os.environ.get(NAME)]}


class Loaded:
    def __init__(self) -> None:
        self.found = os.environ.get(NAME)

    def __call__(self, state: Found) -> dict:
        return {"answers": [self.found]}


@pytest.mark.ray
def test_nodes_on_ray_find_what_the_program_has_set_before_the_run(
    on_ray, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = StateGraph(Found).add_sequence([("a", plain), ("b", plain), ("c", waiting)])
    graph = builder.add_edge(START, "a").compile(backend="ray")
    for value in ("1", "2"):
        monkeypatch.setenv(NAME, value)
        assert graph.invoke({"answers": []}) == {"answers": [value] * 3}
    loaded = StateGraph(Found).add_node("d", Loaded).add_edge(START, "d").compile(backend="ray")
    assert loaded.invoke({"answers": []}) == {"answers": ["2"]}
    monkeypatch.delenv(NAME)
    assert graph.invoke({"answers": []}) == {"answers": [None] * 3}


@pytest.mark.ray
def test_a_variable_of_a_runtime_env_wins(on_ray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "of the program")
    ray_options = {"runtime_env": {"env_vars": {NAME: "of the node"}}}
    builder = StateGraph(Found).add_node(plain, ray_options=ray_options)
    graph = builder.add_edge(START, "plain").compile(backend="ray")
    assert graph.invoke({"answers": []}) == {"answers": ["of the node"]}


def read(state: dict) -> dict:
    with open("only_here.txt", encoding="utf-8") as file:
        return {"answer": file.read()}


@pytest.mark.ray
def test_a_node_on_ray_without_a_file_of_the_caller_gets_the_note(
    on_ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "only_here.txt").write_text("x")
    graph = StateGraph(dict).add_node(read).add_edge(START, "read").compile(backend="ray")
    with pytest.raises(FileNotFoundError) as caught:
        graph.invoke({})
    assert note_of_file("only_here.txt") in getattr(caught.value, "__notes__", [])


def test_a_node_in_the_caller_s_process_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(state: dict) -> None:
        raise KeyError(NAME)

    monkeypatch.setenv(NAME, "s3cret")
    graph = StateGraph(dict).add_node(fail).add_edge(START, "fail").compile(backend="local")
    with pytest.raises(KeyError) as caught:
        graph.invoke({})
    assert note_of_missing(NAME) not in getattr(caught.value, "__notes__", [])
