"""A compiled graph's program: errors at the caller, life at the worker, when it is remade."""

from __future__ import annotations

import functools
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, TypedDict

import cloudpickle
import pytest

from distgraph.contract.spec import GraphProgram
from distgraph.errors import SerializationError
from distgraph.graph.state import StateGraph
from distgraph.serde import reducers
from distgraph.serde.pickling import content_hash, register_serializer
from distgraph.serde.program import (
    ProgramBlob,
    check_program,
    extend_path,
    load_program,
    user_paths,
)
from tests.support.elsewhere import ROOT, Elsewhere, main_program


class State(TypedDict):
    x: int


def program(**nodes: Any) -> GraphProgram:
    builder = StateGraph(State)
    previous = "__start__"
    for name, action in nodes.items():
        builder.add_node(name, action)
        builder.add_edge(previous, name)
        previous = name
    return builder.compile(backend="local").program


def problem(target: GraphProgram) -> str:
    with pytest.raises(SerializationError) as caught:
        check_program(target)
    return str(caught.value)


LOCK = (
    "a thread exists in one process only. Remedy: create it in the node, tool or hook that uses it"
)


# --- the error at the caller ---------------------------------------------------------------------


def test_a_global_variable_is_named_with_its_node() -> None:
    script = main_program(
        "def fine(state): return None\ndef fetch(state): return conn.execute('')\n",
        conn=sqlite3.connect(":memory:"),
    )
    assert problem(program(fine=script["fine"], fetch=script["fetch"])) == (
        "node 'fetch' cannot be sent to a worker because of its global variable 'conn' "
        "(sqlite3.Connection): an open database connection exists in one process only. "
        "Remedy: open it in the node, tool or hook that uses it, or in a function with "
        "@functools.lru_cache that these call: each process then opens its own"
    )


def test_a_captured_variable_is_named() -> None:
    lock = threading.Thread()

    def guarded(state: State) -> None:
        with lock:
            return None

    assert problem(program(guarded=guarded)).startswith(
        f"node 'guarded' cannot be sent to a worker because of its captured variable 'lock' "
        f"(threading.Thread): {LOCK}"
    )


def _with_default() -> Any:
    return lambda state, lock=threading.Thread(): None  # noqa: B008


def _partial() -> Any:
    return functools.partial(lambda state, lock: None, lock=threading.Thread())


def _attribute() -> Any:
    def node(state: State) -> None: ...

    node.lock = threading.Thread()  # type: ignore[attr-defined]
    return node


def _object() -> Any:
    class Agent:
        def __init__(self) -> None:
            self.tools = {"locks": [threading.Thread()]}

        def __call__(self, state: State) -> None: ...

    return Agent()


def _method() -> Any:
    return _object().__call__


def _nested() -> Any:
    lock = threading.Thread()

    def helper() -> Any:
        return lock

    return lambda state: helper()


def _inner_function() -> Any:
    script = main_program(
        "def node(state):\n    def inner(): return lock\n    return inner()\n",
        lock=threading.Thread(),
    )
    return script["node"]


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (_with_default, "its default of parameter 'lock'"),
        (_partial, "its argument 'lock' of its partial"),
        (_attribute, "its attribute 'lock'"),
        (_object, "its item [\"locks\"][0] of attribute 'tools'"),
        (
            _method,
            "its item [\"locks\"][0] of attribute 'tools' "
            "of the Agent object that it is a method of",
        ),
        (_nested, "its captured variable 'lock' of captured variable 'helper'"),
        (_inner_function, "its global variable 'lock'"),
    ],
)
def test_the_place_is_named_wherever_it_is(make: Any, place: str) -> None:
    assert problem(program(node=make())).startswith(
        f"node 'node' cannot be sent to a worker because of {place} (threading.Thread): {LOCK}"
    )


def test_a_conditional_edge_is_named() -> None:
    lock = threading.Thread()

    def route(state: State) -> str:
        return str(lock)

    builder = StateGraph(State)
    builder.add_node("a", lambda state: None)
    builder.add_edge("__start__", "a")
    builder.add_conditional_edges("a", route, ["__end__"])
    assert problem(builder.compile(backend="local").program).startswith(
        "conditional edge 'route' of node 'a' cannot be sent to a worker because of its captured "
        "variable 'lock' (threading.Thread): "
    )


def test_a_node_of_a_subgraph_is_named() -> None:
    lock = threading.Thread()
    inner = StateGraph(State)
    inner.add_node("deep", lambda state: lock)
    inner.add_edge("__start__", "deep")
    outer = StateGraph(State)
    outer.add_node("child", inner.compile(backend="local"))
    outer.add_edge("__start__", "child")
    assert problem(outer.compile(backend="local").program).startswith(
        "node 'deep' of subgraph 'child' cannot be sent to a worker because of its captured "
        "variable 'lock' (threading.Thread): "
    )


def test_the_original_error_is_the_cause() -> None:
    with pytest.raises(SerializationError) as caught:
        check_program(program(node=_with_default()))
    assert caught.value.__cause__ is not None


# --- when it is remade ---------------------------------------------------------------------------


@pytest.fixture
def script() -> dict[str, Any]:
    return main_program(
        "factor = 2\n"
        "table = [1]\n"
        "def helper(x): return x * factor\n"
        "def node(state, offset=0): return {'x': helper(state['x']) + offset + len(table)}\n"
        "def closing():\n"
        "    held = 1\n"
        "    def node(state): return {'x': held}\n"
        "    def rebind(value):\n"
        "        nonlocal held\n"
        "        held = value\n"
        "    return node, rebind\n"
    )


def ran(blob: bytes, x: int = 1) -> Any:
    bound: Any = load_program(blob).nodes["node"].bound
    return bound({"x": x}, None)


def test_a_warm_program_is_the_same_object(script: dict[str, Any]) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    first = blob.get()
    assert first[1] == content_hash(first[0])
    assert blob.get() is first


def test_a_rebound_global_makes_a_new_program(script: dict[str, Any]) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    first = blob.get()
    script["table"] = [1, 2, 3]
    second = blob.get()
    assert first[1] != second[1]
    assert (ran(first[0]), ran(second[0])) == ({"x": 3}, {"x": 5})
    assert blob.get() is second


def test_a_rebound_global_of_a_helper_makes_a_new_program(script: dict[str, Any]) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    blob.get()
    script["factor"] = 10
    assert ran(blob.get()[0]) == {"x": 11}


def test_a_redefined_helper_makes_a_new_program(script: dict[str, Any]) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    blob.get()
    exec("def helper(x): return 100", script)
    assert ran(blob.get()[0]) == {"x": 101}


def test_a_global_that_appears_later_makes_a_new_program() -> None:
    script = main_program("def node(state): return {'x': late}\n")
    blob = ProgramBlob(program(node=script["node"]))
    blob.get()
    script["late"] = 5
    assert ran(blob.get()[0]) == {"x": 5}


def test_a_rebound_captured_variable_makes_a_new_program(script: dict[str, Any]) -> None:
    node, rebind = script["closing"]()
    blob = ProgramBlob(program(node=node))
    assert ran(blob.get()[0]) == {"x": 1}
    rebind(2)
    assert ran(blob.get()[0]) == {"x": 2}


def test_new_defaults_or_code_make_a_new_program(script: dict[str, Any]) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    blob.get()
    script["node"].__defaults__ = (1000,)
    assert ran(blob.get()[0]) == {"x": 1003}
    script["node"].__code__ = (lambda state, offset=0: {"x": offset}).__code__
    assert ran(blob.get()[0]) == {"x": 1000}


def test_a_container_that_is_changed_in_place_makes_a_new_program(script: dict[str, Any]) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    first = blob.get()
    script["table"].append(inner := {"a": []})
    second = blob.get()
    assert (ran(first[0]), ran(second[0])) == ({"x": 3}, {"x": 4})
    inner["a"].append(2)
    assert blob.get() is not second
    third = blob.get()
    assert blob.get() is third


def test_of_a_large_container_the_first_thousand_objects_are_looked_at(
    script: dict[str, Any],
) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    script["table"] += range(5000)
    first = blob.get()
    script["table"][10] = None
    second = blob.get()
    assert second is not first
    script["table"][4000] = None
    assert blob.get() is second
    script["table"].append(1)
    assert blob.get() is not second


def test_another_object_that_is_changed_in_place_is_not_noticed(script: dict[str, Any]) -> None:
    class Settings:
        offset = 1

    script["table"] = settings = [Settings()]
    blob = ProgramBlob(program(node=script["node"]))
    first = blob.get()
    settings[0].offset = 2
    assert blob.get() is first


def test_what_is_changed_between_the_check_and_the_first_run_is_noticed(
    script: dict[str, Any],
) -> None:
    script["table"] = table = {"a": 1}
    blob = ProgramBlob(program(node=script["node"]))
    blob.check()
    table["b"] = 2
    assert ran(blob.get()[0]) == {"x": 4}


def test_a_global_rebound_to_what_does_not_pickle_is_an_error_each_time(
    script: dict[str, Any],
) -> None:
    blob = ProgramBlob(program(node=script["node"]))
    blob.get()
    script["table"] = threading.Thread()
    for _ in range(2):
        with pytest.raises(SerializationError, match="its global variable 'table'"):
            blob.get()
    script["table"] = []
    assert ran(blob.get()[0]) == {"x": 2}


def test_looking_calls_one_function_for_each_global(script: dict[str, Any]) -> None:
    nodes = {}
    for i in range(10):
        scope = main_program(
            "".join(f"g{j} = {j}\n" for j in range(20))
            + f"def n{i}(state): return {'+'.join(f'g{j}' for j in range(20))}\n"
        )
        nodes[f"n{i}"] = scope[f"n{i}"]
    blob = ProgramBlob(program(**nodes))
    blob.get()

    calls = []
    sys.setprofile(lambda frame, event, called: calls.append(event))
    try:
        blob.get()
    finally:
        sys.setprofile(None)
    assert sum(event in ("call", "c_call") for event in calls) < 10 * 20 + 50


# --- at the worker -------------------------------------------------------------------------------


def test_a_program_of_a_script_runs_in_another_process(elsewhere: Elsewhere) -> None:
    script = main_program("base = 41\ndef node(state): return {'x': base + state['x']}\n")
    blob = check_program(program(node=script["node"]))
    assert elsewhere(ran, blob) == {"x": 42}


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user, found by this process alone."""
    (tmp_path / "own_module.py").write_text("def node(state):\n    return {'x': 7}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_module  # type: ignore[import-not-found]

    yield own_module
    del sys.modules["own_module"]


def test_the_user_s_module_is_found_by_the_caller_s_paths(own_module: Any, tmp_path: Path) -> None:
    assert user_paths()[0] == str(tmp_path)
    blob = check_program(program(node=own_module.node))
    with Elsewhere() as fresh:
        assert fresh(lambda b, paths: ran_with(b, paths), blob, user_paths()) == {"x": 7}


def ran_with(blob: bytes, paths: tuple[str, ...]) -> Any:
    bound: Any = load_program(blob, paths).nodes["node"].bound
    return bound({"x": 1}, None)


def error_of(blob: bytes, paths: tuple[str, ...]) -> tuple[str, str]:
    import socket

    try:
        load_program(blob, paths)
    except SerializationError as exc:
        return str(exc), socket.gethostname()
    return "", ""


def test_a_module_that_is_missing_is_named_with_host_and_remedies(own_module: Any) -> None:
    blob = check_program(program(node=own_module.node))
    with Elsewhere() as fresh:
        message, host = fresh(error_of, blob, ("/no/such/place",))
    assert message == (
        f"a node needs module 'own_module', which is not installed on host {host}. Remedy, one of: "
        'ship your own code with ray.init(runtime_env={"working_dir": "."}) or '
        'runtime_env={"py_modules": [own_module]}; install the package on every node, or with '
        "runtime_env={\"pip\": ['own_module']}; or, for a module of pure Python, call "
        "cloudpickle.register_pickle_by_value(own_module) before the run"
    )


def test_a_module_registered_by_value_needs_no_path(own_module: Any) -> None:
    cloudpickle.register_pickle_by_value(own_module)
    try:
        blob = check_program(program(node=own_module.node))
    finally:
        cloudpickle.unregister_pickle_by_value(own_module)
    with Elsewhere() as fresh:
        assert fresh(ran_with, blob, ()) == {"x": 7}


def test_another_version_of_a_module_is_an_error_with_the_host(
    own_module: Any, tmp_path: Path
) -> None:
    blob = check_program(program(node=own_module.node))
    (tmp_path / "own_module.py").write_text("# another version\n")
    with Elsewhere() as fresh:
        message, host = fresh(error_of, blob, user_paths())
    assert message.startswith(
        f"the graph's program cannot be read on host {host}: AttributeError: "
    )


def test_user_paths_hold_neither_the_library_nor_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(tmp_path / "missing")])
    paths = user_paths()
    assert paths[0] == str(tmp_path)
    assert str(tmp_path / "missing") not in paths
    library = str(Path(threading.__file__).parent)
    packages = str(Path(cloudpickle.__file__).parents[1])
    assert not {library, packages, str(Path(library) / "lib-dynload")} & set(paths)


def test_paths_are_appended_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert extend_path([str(tmp_path), "/no/such/place"]) is True
    assert sys.path[-1] == str(tmp_path)
    assert extend_path([str(tmp_path)]) is False


def test_a_real_script_ships_its_functions_and_classes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import dataclasses
            from typing import TypedDict
            from distgraph.graph.state import StateGraph
            from distgraph.serde.pickling import dumps_data, loads
            from distgraph.serde.program import check_program, load_program
            from tests.support.elsewhere import Elsewhere

            @dataclasses.dataclass
            class Item:
                n: int

            class State(TypedDict):
                item: Item

            base = 40

            def node(state):
                assert isinstance(state["item"], Item)
                return {"item": Item(base + state["item"].n)}

            def there(program, state):
                bound = load_program(program).nodes["node"].bound
                return dumps_data(bound(loads(state), None))

            if __name__ == "__main__":
                builder = StateGraph(State)
                builder.add_node("node", node)
                builder.add_edge("__start__", "node")
                blob = check_program(builder.compile(backend="local").program)
                with Elsewhere() as worker:
                    back = loads(worker(there, blob, dumps_data({"item": Item(2)})))
                assert type(back["item"]) is Item, type(back["item"])
                print(back["item"].n)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_loading_serde_imports_none_of_the_libraries_it_knows() -> None:
    code = (
        "import sys, distgraph.serde.program, distgraph.worker.messages\n"
        "known = {'ray', 'langchain_core', 'pydantic', 'openai', 'httpx'} & set(sys.modules)\n"
        "print(sorted(known))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr


# --- agents --------------------------------------------------------------------------------------


def test_the_middleware_and_the_tool_are_named() -> None:
    pytest.importorskip("langchain.agents")
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.tools import tool

    from distgraph import distribute
    from tests.support.models import CallingModel

    class Audit(AgentMiddleware):
        def __init__(self, db: Any) -> None:
            self._db = db

        def before_model(self, state: Any, runtime: Any) -> None: ...

    @tool
    def search(text: str) -> str:
        """Search."""
        return str(connection)

    connection = sqlite3.connect(":memory:")
    owners = {
        "attribute '_db' of middleware Audit": {"tools": [], "middleware": [Audit(connection)]},
        "captured variable 'connection' of tool 'search'": {"tools": [search]},
    }
    for place, options in owners.items():
        agent: Any = create_agent(CallingModel(), **options)  # type: ignore[arg-type]
        told = problem(distribute(agent, backend="local").program)
        assert f"cannot be sent to a worker because of {place} (sqlite3.Connection): an" in told


def test_a_program_that_workers_could_not_read_is_refused() -> None:
    script = main_program(
        "class Broken:\n"
        "    def __setstate__(self, state): raise KeyError('lost')\n"
        "broken = Broken()\n"
        "broken.x = 1\n"
        "def node(state): return {'x': broken.x}\n"
    )
    told = problem(program(node=script["node"]))
    assert "its global variable 'broken' (__main__.Broken): it cannot be made anew" in told
    assert "KeyError: 'lost'" in told


def test_the_trial_leaves_classes_as_they_are_and_calls_no_serializer_of_the_user() -> None:
    script = main_program(
        "class Item:\n"
        "    def double(self): return 2\n"
        "item = Item()\n"
        "def node(state): return {'x': item.double(), 'handle': handle}\n"
    )
    method = script["Item"].double

    class Handle: ...

    made: list[Any] = []
    script["handle"] = Handle()
    register_serializer(Handle, lambda handle: (made.append, (1,)))
    try:
        check_program(program(node=script["node"]))
    finally:
        reducers._registered.pop(Handle)
        reducers.forget_found()
    assert (script["Item"].double, made) == (method, [])
