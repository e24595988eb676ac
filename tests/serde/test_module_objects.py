"""Objects of installed modules that cannot be pickled travel by name."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import struct_pb2, timestamp_pb2
from typing_extensions import TypedDict

from distgraph.errors import SerializationError
from distgraph.graph import START, StateGraph
from distgraph.serde.pickling import dumps_code, dumps_data, loads
from distgraph.serde.program import check_program, load_program

SOURCE = """
class Tracer:
    def __init__(self, name):
        self.name = name

    def __reduce_ex__(self, protocol):
        raise TypeError("no tracer can be pickled")

    def trace(self):
        return self.name

class Plain:
    pass
"""
INSTALLED = os.path.join(sysconfig.get_paths()["purelib"], "tracing_for_tests.py")


def module_at(path: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("tracing_for_tests")
    module.__file__ = path
    exec(SOURCE, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def user_of(value: Any) -> Callable[[], Any]:
    return lambda: value


def test_an_object_that_cannot_be_pickled_travels_as_module_and_name() -> None:
    kind = struct_pb2.NullValue
    assert loads(dumps_code(user_of(kind)))() is kind


def test_a_bound_method_and_an_attribute_lead_to_the_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = module_at(INSTALLED, monkeypatch)
    module.tracer = module.Tracer("first")
    holder = module.Plain()
    holder.tracer = module.tracer
    method, copy = loads(dumps_code(user_of((module.tracer.trace, holder))))()
    assert method.__self__ is module.tracer
    assert copy is not holder
    assert copy.tracer is module.tracer


def test_an_object_that_can_be_pickled_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_at(INSTALLED, monkeypatch)
    module.plain = module.Plain()
    module.plain.changed = 1
    copy = loads(dumps_code(user_of(module.plain)))()
    assert copy is not module.plain
    assert copy.changed == 1


@pytest.mark.parametrize(
    ("path", "name"), [("/somewhere/tracing_for_tests.py", "tracer"), (INSTALLED, "_tracer")]
)
def test_modules_of_the_user_and_private_names_are_not_asked(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_at(path, monkeypatch)
    setattr(module, name, module.Tracer("first"))
    with pytest.raises(SerializationError, match="no tracer can be pickled. Remedy: "):
        dumps_code(user_of(getattr(module, name)))


def test_what_exists_in_one_process_only_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_at(INSTALLED, monkeypatch)
    told = "an open file exists in one process only"
    with open(os.devnull) as module.log, pytest.raises(SerializationError, match=told):
        dumps_code(user_of(module.log))


def test_data_of_a_run_holds_no_such_object() -> None:
    with pytest.raises(SerializationError, match="cannot be pickled: "):
        dumps_data({"kind": struct_pb2.NullValue})


def test_a_process_without_the_object_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_at(INSTALLED, monkeypatch)
    module.tracer = module.Tracer("first")
    blob = dumps_code(user_of(module.tracer))
    module.tracer = None
    with pytest.raises(SerializationError) as caught:
        loads(blob)
    assert str(caught.value) == (
        "tracing_for_tests.tracer (tracing_for_tests.Tracer) cannot be pickled and travels by name,"
        " but an import of tracing_for_tests gives builtins.NoneType in this process. Remedy: "
        "create the object inside the node, or tell how it travels with "
        "distgraph.register_serializer(Tracer, ...)"
    )


def test_an_object_that_its_module_has_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_at(INSTALLED, monkeypatch)
    first = module.tracer = module.Tracer("first")
    assert loads(dumps_code(user_of(first)))() is first
    module.tracer = module.Tracer("second")
    with pytest.raises(SerializationError, match="no tracer can be pickled"):
        dumps_code(user_of(first))


class State(TypedDict, total=False):
    names: list[str]


def test_a_graph_is_pickled_with_such_objects() -> None:
    kind, file = struct_pb2.NullValue, timestamp_pb2.DESCRIPTOR

    def node(state: State) -> State:
        return {"names": [*state["names"], kind.Name(0), file.name]}

    graph = (
        StateGraph(State).add_node("node", node).add_edge(START, "node").compile(backend="local")
    )
    arrived = load_program(check_program(graph.program))
    assert arrived.nodes["node"].bound.func({"names": ["a"]}) == {
        "names": ["a", "NULL_VALUE", "google/protobuf/timestamp.proto"]
    }
