"""What travels, what is refused, and what it is afterwards."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import io
import operator
import os
import pickle
import queue
import socket
import sqlite3
import sys
import threading
from concurrent.futures import Executor
from typing import Any
from unittest import mock

import cloudpickle
import pytest
from langchain_core.messages import HumanMessage

from distgraph.contract.stream import Event
from distgraph.errors import SerializationError
from distgraph.serde import reducers
from distgraph.serde.pickling import dumps, dumps_code, dumps_data, loads, register_serializer
from distgraph.streaming.codec import pack_event
from distgraph.types import Command
from tests.support import elsewhere as support
from tests.support.elsewhere import Elsewhere, main_program


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serializers registered in a test are forgotten after it."""
    monkeypatch.setattr(reducers, "_registered", {})
    monkeypatch.setattr(reducers, "_tables", {})
    reducers._found.clear()


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    reducers._found.clear()
    reducers._tables.clear()


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dump", [dumps, dumps_data, dumps_code])
def test_plain_data_comes_back_equal(dump: Any) -> None:
    value = {"a": [1, 2.5, None, b"x"], "b": ({"k"}, "__main__"), "c": "y" * 300_000}
    assert loads(dump(value)) == value


def test_plain_data_is_written_by_plain_pickle() -> None:
    value = {"a": [1, "text"], "b": collections.OrderedDict(x=1)}
    assert dumps_data(value) == pickle.dumps(value, 5)


def test_a_long_text_is_written_as_plain_pickle_does() -> None:
    value = ["x" * 200_000, {"a": b"y" * 200_000}, "__main__ " * 30_000]
    assert dumps_data(value) == pickle.dumps(value, 5)


def test_an_instance_of_a_main_class_is_known_in_another_process(elsewhere: Elsewhere) -> None:
    script = main_program("class Item:\n    def double(self):\n        return self.n * 2\n")
    item = script["Item"]()
    item.n = 21
    assert elsewhere(lambda blob: loads(blob).double(), dumps_data(item)) == 42


def test_a_main_class_behind_a_long_text_is_found(elsewhere: Elsewhere) -> None:
    script = main_program("class Item:\n    pass\n")
    blob = dumps_data(["x" * 1_000_000, script["Item"]()])
    assert elsewhere(lambda b: type(loads(b)[1]).__name__, blob) == "Item"


NESTED = """
import dataclasses, enum

class Outer:
    @dataclasses.dataclass
    class Inner:
        n: int
        class Deep(Exception):
            pass

def local():
    @dataclasses.dataclass
    class Item:
        n: int
    class Base:
        def __init_subclass__(cls):
            cls.seen = cls.__qualname__
    class Derived(Base):
        pass
    return Item(1), Derived
"""


def test_classes_within_classes_and_functions_keep_their_names(elsewhere: Elsewhere) -> None:
    script = main_program(NESTED)
    item, derived = script["local"]()
    outer = script["Outer"]
    shown = elsewhere(
        lambda blob: [repr(each) for each in loads(blob)],
        dumps_data([outer.Inner(2), item, outer.Inner.Deep, derived.seen]),
    )
    assert shown == [
        "Outer.Inner(n=2)",
        "local.<locals>.Item(n=1)",
        "<class '__main__.Outer.Inner.Deep'>",
        "'local.<locals>.Derived'",
    ]
    found = elsewhere(lambda blob: loads(blob)().seen, dumps_code(derived))
    assert found == "local.<locals>.Derived"


def test_an_instance_that_comes_home_has_the_very_class_it_left_with(elsewhere: Elsewhere) -> None:
    script = main_program("count = 0\nclass Item:\n    def n(self):\n        return count\n")
    item_class = script["Item"]
    method = item_class.n
    back = loads(elsewhere(lambda blob: dumps_data(loads(blob)), dumps_data(item_class())))
    assert type(back) is item_class
    script["count"] = 7
    assert back.n() == 7
    assert item_class.n is method


def test_an_instance_with_slots_comes_home(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import dataclasses\n"
        "@dataclasses.dataclass(slots=True)\nclass Point:\n    x: int\n    y: int\n"
        "class Named(Point):\n    pass\n"
    )
    named = script["Named"](1, 2)
    named.name = "n"
    points = [script["Point"](3, 4), named]
    back = loads(elsewhere(lambda blob: dumps_data(loads(blob)), dumps_data(points)))
    assert back == points
    assert back[1].name == "n"


def test_a_main_class_is_the_same_for_code_and_data(elsewhere: Elsewhere) -> None:
    script = main_program("class Item:\n    pass\ndef check(x):\n    return isinstance(x, Item)\n")

    def both(code: bytes, data: bytes) -> tuple[bool, bool]:
        return loads(code)(loads(data)), loads(code)(loads(data))

    item = script["Item"]()
    assert elsewhere(both, dumps_code(script["check"]), dumps_data(item)) == (True, True)


def test_pydantic_and_dataclass_state_of_a_script_travels(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import dataclasses, pydantic\n"
        "@dataclasses.dataclass\nclass D:\n    x: int = 1\n"
        "class M(pydantic.BaseModel):\n    x: int\n    d: list[str] = []\n"
    )
    value = {"d": script["D"](5), "m": script["M"](x="3")}
    blob = elsewhere(
        lambda b: (lambda v: dumps_data([v["d"].x, v["m"].model_dump(), v]))(loads(b)),
        dumps_data(value),
    )
    x, fields, back = loads(blob)
    assert (x, fields) == (5, {"x": 3, "d": []})
    assert back == value


def test_a_dataclass_of_a_script_has_the_fields_it_had(elsewhere: Elsewhere) -> None:
    """Its fields hold ``dataclasses.MISSING``, which is compared by identity."""
    script = main_program(
        "import dataclasses, pydantic\n"
        "@dataclasses.dataclass\nclass D:\n    x: int\n    y: list[int] = dataclasses.field("
        "default_factory=list)\n"
        "def read(given):\n"
        "    missing = dataclasses.MISSING\n"
        "    first = dataclasses.fields(D)[0]\n"
        "    read = pydantic.TypeAdapter(D).validate_python(given)\n"
        "    return first.default is missing is first.default_factory, dataclasses.astuple(read)\n"
    )
    assert elsewhere(script["read"], {"x": "3"}) == (True, (3, []))


@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_a_marker_of_a_module_is_the_very_one(dump: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = object()
    monkeypatch.setattr(support, "BARE", bare, raising=False)
    for marker in (dataclasses.MISSING, dataclasses._HAS_DEFAULT_FACTORY, bare):  # type: ignore[attr-defined]
        assert loads(dump([marker]))[0] is marker
    assert loads(dump(object())) is not bare


def test_lambdas_in_data_travel(elsewhere: Elsewhere) -> None:
    assert elsewhere(lambda b: loads(b)["f"](2), dumps_data({"f": lambda x: x + 1})) == 3


def test_functions_of_a_module_registered_by_value_travel_by_value() -> None:
    cloudpickle.register_pickle_by_value(support)
    try:
        by_value = dumps_data({"f": main_program})
    finally:
        cloudpickle.unregister_pickle_by_value(support)
    by_reference = dumps_data({"f": main_program})
    assert b"scope" in by_value
    assert by_reference == pickle.dumps({"f": main_program}, 5)


# --- code ----------------------------------------------------------------------------------------


def test_a_script_s_function_takes_its_globals_closure_and_defaults_along(
    elsewhere: Elsewhere,
) -> None:
    script = main_program(
        "import math\n"
        "base = 100\n"
        "def helper(x): return base + x\n"
        "def outer(captured):\n"
        "    def inner(x, add=[1000]):\n"
        "        return helper(x) + captured + add[0] + math.floor(0.5)\n"
        "    return inner\n"
        "node = outer(10)\n"
    )
    assert elsewhere(script["node"], 1) == 1111


def test_cached_functions_and_properties_of_a_script_travel(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import functools\n"
        "@functools.lru_cache(maxsize=7)\n"
        "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "class Lazy:\n"
        "    @functools.cached_property\n"
        "    def value(self): return [fib(30)]\n"
        "def node():\n"
        "    lazy = Lazy()\n"
        "    return lazy.value is lazy.value, lazy.value, fib.cache_parameters()['maxsize']\n"
    )
    assert elsewhere(script["node"]) == (True, [832040], 7)


def test_functions_decorated_by_a_context_manager_travel(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import asyncio, contextlib\n"
        "told = []\n"
        "@contextlib.contextmanager\n"
        "def around(name, *, end):\n"
        "    told.append(name)\n"
        "    yield\n"
        "    told.append(end)\n"
        "@contextlib.asynccontextmanager\n"
        "async def awaited():\n"
        "    told.append('await')\n"
        "    yield\n"
        "@around('in', end='out')\n"
        "def plain(): told.append('plain')\n"
        "@awaited()\n"
        "async def waits(): told.append('waits')\n"
        "def node():\n"
        "    plain(); plain(); asyncio.run(waits())\n"
        "    return told\n"
    )
    expected = ["in", "plain", "out", "in", "plain", "out", "await", "waits"]
    assert elsewhere(script["node"]) == expected


def test_a_context_manager_that_has_begun_is_refused() -> None:
    @contextlib.contextmanager
    def around() -> Any:
        yield

    manager = around()
    with manager, pytest.raises(SerializationError, match="a generator exists in one process only"):
        dumps_code(lambda: manager)


def test_types_that_pickle_as_a_name_of_the_script_travel(elsewhere: Elsewhere) -> None:
    script = main_program(
        "from typing import NewType\n"
        "from typing_extensions import ParamSpec, TypeVarTuple\n"
        "UserId = NewType('UserId', int)\n"
        "P = ParamSpec('P')\n"
        "Ts = TypeVarTuple('Ts')\n"
        "def node(given):\n"
        "    names = [UserId.__name__, UserId.__supertype__, P.__name__, Ts.__name__]\n"
        "    return given is UserId, repr(UserId), UserId(3), names\n"
    )

    def there(code: bytes, data: bytes) -> Any:
        return dumps_data((loads(code)(loads(data)), loads(data)))

    user_id = script["UserId"]
    blob = elsewhere(there, dumps_code(script["node"]), dumps_data(user_id))
    found, home = loads(blob)
    assert found == (True, "__main__.UserId", 3, ["UserId", int, "P", "Ts"])
    assert home is user_id


def test_an_object_that_reduces_to_a_name_of_the_script_is_one_per_process(
    elsewhere: Elsewhere,
) -> None:
    script = main_program(
        "class Missing:\n"
        "    def __init__(self, label): self.label = label\n"
        "    def __reduce__(self): return 'MISSING'\n"
        "MISSING = Missing('none')\n"
        "def node(given): return given is MISSING, given.label\n"
    )

    def there(code: bytes, data: bytes) -> Any:
        return dumps_data((loads(code)(loads(data)), loads(data)))

    missing = script["MISSING"]
    blob = elsewhere(there, dumps_code(script["node"]), dumps_data(missing))
    found, home = loads(blob)
    assert found == (True, "none")
    assert home is missing


def test_cached_functions_of_a_module_travel_by_name() -> None:
    from distgraph.serde.diagnose import global_names

    assert loads(dumps_code(global_names)) is global_names
    assert loads(dumps_data(global_names)) is global_names


def test_loggers_and_enums_of_a_script_travel(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import enum, logging\n"
        "logger = logging.getLogger('mine')\n"
        "class Color(enum.Enum):\n"
        "    RED = 1\n"
        "def node(color):\n"
        "    logger.debug('x')\n"
        "    return logger.name, color is Color.RED\n"
    )

    def there(code: bytes, data: bytes) -> Any:
        return loads(code)(loads(data))

    red = script["Color"].RED
    blobs = dumps_code(script["node"]), dumps_data(red)
    assert elsewhere(there, *blobs) == ("mine", True)
    assert loads(elsewhere(lambda b: dumps_data(loads(b)), dumps_data([red])))[0] is red


# --- refusals ------------------------------------------------------------------------------------


def _generator() -> Any:
    yield 1


async def _coroutine() -> None: ...


class _OwnQueue(queue.Queue):  # type: ignore[type-arg]
    def __reduce__(self) -> Any:
        return _OwnQueue, ()


REFUSED = [
    (threading.Thread, "a thread exists in one process only"),
    (lambda: Executor(), "an executor exists in one process only"),
    (lambda: open(os.devnull), "an open file exists in one process only"),  # noqa: SIM115
    (lambda: open(os.devnull, "rb"), "an open file exists in one process only"),  # noqa: SIM115
    (lambda: open(os.devnull, "wb", 0), "an open file exists in one process only"),  # noqa: SIM115
    (lambda: sqlite3.connect(":memory:"), "an open database connection exists in one process only"),
    (_generator, "a generator exists in one process only"),
    (lambda: (x for x in ()), "a generator exists in one process only"),
]


@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_what_lives_in_one_process_is_refused_with_a_remedy(make: Any, why: str, dump: Any) -> None:
    with pytest.raises(SerializationError) as caught:
        dump({"key": [make()]})
    message = str(caught.value)
    assert message.startswith('item ["key"][0] (')
    assert f"cannot be pickled: {why}. Remedy: " in message


def test_a_coroutine_is_refused() -> None:
    coroutine = _coroutine()
    with pytest.raises(SerializationError, match="a coroutine exists in one process only"):
        dumps(coroutine)
    coroutine.close()


def test_in_memory_files_and_standard_streams_travel() -> None:
    assert loads(dumps(io.BytesIO(b"abc"))).getvalue() == b"abc"
    assert loads(dumps(io.StringIO("abc"))).getvalue() == "abc"
    assert loads(dumps_code(sys.stdout)) is sys.stdout


def test_a_subclass_that_says_how_it_is_pickled_is_taken_at_its_word() -> None:
    assert type(loads(dumps(_OwnQueue()))) is _OwnQueue


class Service:
    async def get(self, key: str) -> str:
        return key

    def count(self, least: int) -> int:
        return least


class Posing:
    """As proxies do, which have no ``__getattr__`` here."""

    def __init__(self, held: str) -> None:
        self.held = held

    __class__ = property(lambda self: dict)  # type: ignore[assignment]


@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_mocks_and_what_poses_as_another_class_travel(dump: Any) -> None:
    service = mock.create_autospec(Service, instance=True)
    service.get.return_value = "found"
    service.count.side_effect = operator.neg
    called = mock.AsyncMock(return_value=4)

    service, called, posing = loads(dump([service, called, Posing("kept")]))
    assert isinstance(service, Service)
    assert asyncio.run(service.get("x")) == "found"
    assert service.count(2) == -2
    assert asyncio.run(called("y")) == 4
    assert (type(posing), posing.held) == (Posing, "kept")
    assert isinstance(posing, dict)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot pickle mock.call")
@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_calls_of_a_mock_travel(dump: Any) -> None:
    called = mock.Mock()
    called("a", b=1)
    assert loads(dump(called)).mock_calls == [mock.call("a", b=1)]


def test_iterators_that_pickle_travel() -> None:
    iterator = iter([1, 2, 3])
    next(iterator)
    assert list(loads(dumps(iterator))) == [2, 3]


# --- the hook ------------------------------------------------------------------------------------


class Handle:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()


class SpecialHandle(Handle):
    pass


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_a_registered_type_is_made_anew_by_its_function(dump: Any) -> None:
    register_serializer(Handle, lambda handle: (Handle, (handle.name + "!",)))
    back = loads(dump({"h": Handle("a")}))["h"]
    assert (type(back), back.name) == (Handle, "a!")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_a_registration_goes_before_the_type_s_own_pickling(dump: Any) -> None:
    register_serializer(Point, lambda point: (Point, (point.x + 1,)))
    assert loads(dump([Point(1)])) == [Point(2)]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_a_registration_covers_subclasses_also_later_ones(dump: Any) -> None:
    register_serializer(Handle, lambda handle: (type(handle), (handle.name,)))
    assert type(loads(dump(SpecialHandle("a")))) is SpecialHandle
    register_serializer(Point, lambda point: (type(point), (point.x + 1,)))

    @dataclasses.dataclass
    class Later(Point):
        pass

    assert loads(dump(Later(1))).x == 2


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_a_refused_type_can_be_registered(dump: Any) -> None:
    register_serializer(asyncio.Semaphore, lambda s: (asyncio.Semaphore, (s._value,)))
    assert loads(dump({"s": asyncio.Semaphore(3)}))["s"]._value == 3


@pytest.mark.usefixtures("registry")
def test_registering_no_class_or_no_function_is_an_error() -> None:
    with pytest.raises(TypeError, match="needs a class, got 'x'"):
        register_serializer("x", lambda x: (str, ()))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs a callable for Point"):
        register_serializer(Point, None)  # type: ignore[arg-type]


# --- messages of errors --------------------------------------------------------------------------


def test_the_error_names_the_place_from_the_inside_out() -> None:
    script = main_program(
        "import sqlite3\n"
        "conn = sqlite3.connect(':memory:')\n"
        "def helper(): return conn\n"
        "def node(): return helper()\n"
    )
    with pytest.raises(SerializationError) as caught:
        dumps_code(script["node"])
    assert str(caught.value) == (
        "global variable 'conn' of global variable 'helper' (sqlite3.Connection) cannot be "
        "pickled: an open database connection exists in one process only. "
        "Remedy: open it in the node, tool or hook that uses it, or in a function with "
        "@functools.lru_cache that these call: each process then opens its own"
    )


def test_a_type_of_its_own_that_fails_gets_the_general_remedy() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise RuntimeError("not me")

    with pytest.raises(SerializationError) as caught:
        dumps([Stubborn()])
    assert str(caught.value).endswith(
        "cannot be pickled: not me. Remedy: create it inside the node, or tell how it travels with "
        "distgraph.register_serializer(test_a_type_of_its_own_that_fails_gets_the_general_remedy."
        "<locals>.Stubborn, ...)"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"configurable": {"inbox": socket.socket()}}, 'config["configurable"]["inbox"]'),
        ({"configurable": {"a": [1, {2: socket.socket()}]}}, 'config["configurable"]["a"][1][2]'),
        (socket.socket(), "config"),
        (Command(update={"x": socket.socket()}), 'config.update["x"]'),
    ],
    ids=["keys", "items", "itself", "command"],
)
def test_a_value_that_cannot_travel_is_named_from_what_its_owner_calls_it(
    value: Any, place: str
) -> None:
    with pytest.raises(SerializationError) as caught:
        dumps_data(value, name="config")
    assert str(caught.value).startswith(f"{place} (socket.socket) cannot be pickled: ")


def test_what_a_node_emits_is_named_from_its_payload() -> None:
    event = Event((), "custom", {"k": [socket.socket()]})
    with pytest.raises(SerializationError, match=r'payload\["k"\]\[0\] \(socket.socket\)'):
        pack_event(event, "node 'n'")


def nested(levels: int, leaf: Any) -> Any:
    for _ in range(levels):
        leaf = [leaf]
    return leaf


FLATTEN = (
    " cannot be pickled: it is nested too deep for pickle. Remedy: flatten it, as into a list of "
    "items that name their parents; a higher sys.setrecursionlimit does not help"
)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (nested(100_000, None), 'state["x"][0][0] (list)'),
        ({"id": 1, "tree": nested(100_000, None)}, 'state["x"]["tree"][0] (list)'),
        (nested(100_000, threading.Lock()), 'state["x"][0][0] (list)'),
        (
            HumanMessage("", additional_kwargs={"tree": nested(100_000, None)}),
            'state["x"].additional_kwargs["tree"] (list)',
        ),
    ],
    ids=["list", "dict", "lock", "message"],
)
def test_what_is_nested_too_deep_is_to_be_flattened(value: Any, place: str) -> None:
    with pytest.raises(SerializationError) as caught:
        dumps_data(value, name='state["x"]')
    assert str(caught.value) == place + FLATTEN


class Endless:
    def __reduce__(self) -> Any:
        return self.__reduce__()


def test_a_method_that_calls_itself_is_not_taken_for_a_nested_value() -> None:
    with pytest.raises(SerializationError, match="Remedy: create it inside the node") as caught:
        dumps_data({"a": Endless()}, name='state["x"]')
    assert "nested too deep" not in str(caught.value)
