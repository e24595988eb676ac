"""Log records of runs: run, thread, node and attempt; JSON; the setting DISTGRAPH_LOG."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from distgraph import logs
from distgraph.graph import START, StateGraph
from distgraph.logs import JsonFormatter, RunFields, configure
from distgraph.types import RetryPolicy
from tests.support.graphs import Items

RUN_ID = "0b6f2e1c-8a53-4c5e-9d0c-6a4f7c1e2b3d"
CONFIG = {"run_id": RUN_ID, "configurable": {"thread_id": "t"}}


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler of the root logger writes as JSON."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RunFields())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)


def records(out: io.StringIO, logger: str) -> list[dict[str, Any]]:
    found = map(json.loads, out.getvalue().splitlines())
    return [record for record in found if record["logger"] == logger]


def user_node(state: Items) -> Any:
    logging.getLogger("user").info("at work on %d", 7, extra={"topic": "cats"})
    return {"items": ["a"]}


def reducer(left: list[str], right: list[str]) -> list[str]:
    logging.getLogger("user").info("reduce")
    return left + right


class Reduced(TypedDict):
    items: Annotated[list[str], reducer]


def of(node: Any, **options: Any) -> Any:
    return (
        StateGraph(Items)
        .add_node("n", node, **options)
        .add_edge(START, "n")
        .compile(backend="local", name="g")
    )


def test_private_attributes_that_others_add_to_records_are_left_out(written: io.StringIO) -> None:
    logging.getLogger("user").warning("at work", extra={"_added": 1, "topic": "cats"})
    (record,) = records(written, "user")
    assert record["topic"] == "cats"
    assert "_added" not in record


def test_a_record_of_a_node_names_run_thread_node_and_attempt(written: io.StringIO) -> None:
    of(user_node).invoke({"items": []}, CONFIG)
    (record,) = records(written, "user")
    time, host = record.pop("time"), record.pop("host")
    assert time.endswith("Z") and host
    assert record == {
        "level": "INFO",
        "logger": "user",
        "message": "at work on 7",
        "topic": "cats",
        "run_id": RUN_ID,
        "thread_id": "t",
        "node": "n",
        "step": 1,
        "attempt": 1,
        "pid": os.getpid(),
    }


def test_retries_and_nodes_of_subgraphs_are_told_apart(written: io.StringIO) -> None:
    async def flaky(state: Items) -> Any:
        logging.getLogger("user").info("try")
        if len(records(written, "user")) == 1:
            raise ConnectionError("again")
        return {"items": ["a"]}

    child = of(flaky, retry_policy=RetryPolicy(initial_interval=0.01))
    of(child).invoke({"items": []}, CONFIG)
    assert [(r["node"], r["attempt"]) for r in records(written, "user")] == [("n/n", 1), ("n/n", 2)]


def test_a_record_of_the_driver_names_run_and_graph_and_no_node(written: io.StringIO) -> None:
    builder = StateGraph(Reduced).add_node("n", lambda state: {"items": ["a"]}).add_edge(START, "n")
    builder.compile(backend="local", name="g").invoke({"items": []}, CONFIG)
    found = records(written, "user")
    assert found
    for record in found:
        assert (record["run_id"], record["thread_id"], record["graph"]) == (RUN_ID, "t", "g")
        assert "node" not in record


def test_a_record_outside_of_runs_has_no_fields_and_an_exception_is_a_key(
    written: io.StringIO,
) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("user").exception("it failed")
    (record,) = records(written, "user")
    assert not set(logs.FIELDS) & set(record)
    assert record["exception"].splitlines()[-1] == "ValueError: no"


@pytest.fixture
def root() -> logging.Logger:
    """A root logger without handlers."""
    return logging.RootLogger(logging.WARNING)


def test_the_setting_adds_one_handler_for_standard_error(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_LOG", "json:debug")
    for _ in range(2):
        configure(root)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    assert isinstance(handler.formatter, JsonFormatter) and len(handler.filters) == 1
    assert root.level == logging.DEBUG


def test_the_setting_makes_present_handlers_write_json(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    root.addHandler(logging.StreamHandler(out))
    monkeypatch.setenv("DISTGRAPH_LOG", "json")
    configure(root)
    root.warning("careful")
    assert json.loads(out.getvalue())["message"] == "careful"
    assert root.level == logging.WARNING  # the program's own


@pytest.mark.parametrize("text", ["", "off"])
def test_nothing_changes_unless_asked(
    text: str, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_LOG", text)
    configure(root)
    assert root.handlers == []


@pytest.mark.parametrize("text", ["xml", "json:loud"])
def test_a_wrong_setting_is_an_error(
    text: str, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_LOG", text)
    with pytest.raises(ValueError, match="DISTGRAPH_LOG must be"):
        configure(root)
