"""``from distgraph import …``: every name is there, can be completed, and is loaded when used."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import jedi
import pytest

import distgraph

ROOT = Path(__file__).parents[2]
LAZY = ("distgraph", "distgraph.prebuilt", "distgraph.persistence", "actors")


def test_the_names_of_a_langgraph_program_can_be_imported_from_the_package() -> None:
    from distgraph import (
        END,
        START,
        CachePolicy,
        Command,
        MessagesState,
        RetryPolicy,
        Send,
        StateGraph,
        ToolNode,
        add_messages,
        agents,
        create_agent,
        distribute,
        entrypoint,
        func,
        get_stream_writer,
        graph,
        interrupt,
        prebuilt,
        task,
        types,
    )

    assert (START, END) == ("__start__", "__end__")
    assert (StateGraph, MessagesState) == (graph.StateGraph, graph.MessagesState)
    assert (add_messages, ToolNode) == (graph.add_messages, prebuilt.ToolNode)
    assert (CachePolicy, RetryPolicy) == (types.CachePolicy, types.RetryPolicy)
    assert (Command, Send, interrupt) == (types.Command, types.Send, types.interrupt)
    assert (entrypoint, task, create_agent) == (func.entrypoint, func.task, agents.create_agent)
    assert callable(distribute) and callable(get_stream_writer)


@pytest.mark.parametrize("package", LAZY)
def test_completion_lists_every_public_name_of_a_lazy_package(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) - set(dir(module)) == set()
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_completion_lists_names_that_have_not_been_loaded() -> None:
    code = (
        "import sys, json, distgraph\n"
        "print(json.dumps([sorted(dir(distgraph)), 'distgraph.graph' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names, is_loaded = json.loads(done.stdout)
    assert {"StateGraph", "create_agent", "interrupt", *distgraph.__all__} - set(names) == set()
    assert is_loaded is False


def test_public_modules_are_attributes_of_the_package() -> None:
    code = (
        "import sys, distgraph\n"
        "assert 'distgraph.errors' not in sys.modules\n"
        "assert issubclass(distgraph.errors.WorkerDied, distgraph.errors.RunError)\n"
        "assert distgraph.types.Send is distgraph.Send\n"
        "assert {'errors', 'types', 'channels'} <= set(dir(distgraph))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_completion_lists_nothing_that_the_package_s_own_code_imports() -> None:
    assert {"annotations", "TYPE_CHECKING", "lazy_names", "register_adapter"} & {
        *dir(distgraph)
    } == set()


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """What a user has in a notebook."""

    class State(TypedDict):
        topic: str

    builder = distgraph.StateGraph(State).add_node("n", lambda state: None)
    graph = builder.add_edge(distgraph.START, "n").compile(backend="local")
    run = distgraph.progress(graph.stream({"topic": "tea"}), view="none")
    list(run)
    handle = graph.start({"topic": "tea"})
    handle.result()
    return {
        "builder": builder,
        "graph": graph,
        "run": run,
        "timeline": run.timeline(),
        "handle": handle,
        "stream": graph.stream({"topic": "tea"}),
        "drawing": graph.get_graph(),
    }


@pytest.mark.parametrize(
    "attribute",
    [
        "builder.add_node",
        "graph.stream_mode",
        "run.attempts",
        "timeline.save",
        "handle.status",
        "stream.close",
        "drawing.draw_mermaid",
    ],
)
def test_a_notebook_completes_the_attributes_of_an_object(
    objects: dict[str, Any], attribute: str
) -> None:
    """IPython completes by Jedi, which gives up an object of which one property disturbs it."""
    name, _, wanted = attribute.partition(".")
    code = f"{name}."
    found = jedi.Interpreter(code, [objects]).complete(1, len(code))
    assert wanted in {one.name for one in found}


@pytest.mark.parametrize("package", LAZY)
def test_a_misspelt_name_is_named_with_the_one_that_was_meant(package: str) -> None:
    module = import_module(package)
    meant = next(name for name in module.__all__ if len(name) > 6)
    with pytest.raises(AttributeError, match=rf"Did you mean '{meant}'\?"):
        getattr(module, f"{meant}s")


def test_a_star_import_needs_no_langchain() -> None:
    code = (
        "import sys\n"
        "for name in ('langchain', 'langchain_core', 'langgraph'): sys.modules[name] = None\n"
        "from distgraph import *\n"
        "StateGraph(dict).add_node('n', lambda state: state).add_edge(START, 'n').compile()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
