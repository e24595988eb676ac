"""Objects that live in one process: which are made anew, once for each process, and how."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import importlib
import logging
import queue
import random
import sqlite3
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from distgraph.errors import SerializationError
from distgraph.serde import live
from distgraph.serde.pickling import dumps_code, dumps_data, loads
from tests.support.elsewhere import Elsewhere, main_program

EXAMPLES: dict[str, Callable[[], Any]] = {
    "threading.Lock": threading.Lock,
    "threading.RLock": threading.RLock,
    "threading.Condition": threading.Condition,
    "threading.Event": threading.Event,
    "threading.BoundedSemaphore": lambda: threading.BoundedSemaphore(2),
    "threading.Semaphore": lambda: threading.Semaphore(2),
    "threading.Barrier": lambda: threading.Barrier(2),
    "threading.local": threading.local,
    "queue.Queue": lambda: queue.Queue(3),
    "queue.LifoQueue": lambda: queue.LifoQueue(3),
    "queue.PriorityQueue": lambda: queue.PriorityQueue(3),
    "queue.SimpleQueue": queue.SimpleQueue,
    "asyncio.Lock": asyncio.Lock,
    "asyncio.Event": asyncio.Event,
    "asyncio.Condition": asyncio.Condition,
    "asyncio.BoundedSemaphore": lambda: asyncio.BoundedSemaphore(2),
    "asyncio.Semaphore": lambda: asyncio.Semaphore(2),
    "asyncio.Queue": lambda: asyncio.Queue(3),
    "asyncio.LifoQueue": lambda: asyncio.LifoQueue(3),
    "asyncio.PriorityQueue": lambda: asyncio.PriorityQueue(3),
    "concurrent.futures.ThreadPoolExecutor": lambda: concurrent.futures.ThreadPoolExecutor(2),
    "concurrent.futures.ProcessPoolExecutor": lambda: concurrent.futures.ProcessPoolExecutor(2),
}
if sys.version_info >= (3, 11):
    EXAMPLES["asyncio.Barrier"] = lambda: asyncio.Barrier(2)

SIGNALS = {kind.public for kind in live.ONE_PER_PROCESS.values() if kind.signal}


def test_there_is_an_example_of_every_kind_that_is_made_anew() -> None:
    kinds = {kind.public for kind in live.ONE_PER_PROCESS.values()}
    assert set(EXAMPLES) == kinds - ({"asyncio.Barrier"} if sys.version_info < (3, 11) else set())


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_reference_leads_to_one_object_of_a_process(name: str, elsewhere: Elsewhere) -> None:
    original = EXAMPLES[name]()
    first, second = dumps_code({"a": original}), dumps_code([original, original])

    def there(first: bytes, second: bytes) -> Any:
        one, (two, three) = loads(first)["a"], loads(second)
        assert one is two is three
        return f"{type(one).__module__}.{type(one).__qualname__}", dumps_code([one])

    cls = type(original)
    kind, back = elsewhere(there, first, second)
    assert kind == f"{cls.__module__}.{cls.__qualname__}"
    assert loads(back)[0] is original
    assert loads(first)["a"] is original


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_what_guards_may_be_data_of_a_run(name: str) -> None:
    original = EXAMPLES[name]()
    if name in SIGNALS:
        with pytest.raises(SerializationError, match=r"exists in one process only: in the state"):
            dumps_data({"a": original})
    else:
        assert loads(dumps_data({"a": original}))["a"] is original


SETTINGS: list[tuple[Any, Callable[[Any], Any], Any]] = [
    (lambda: threading.BoundedSemaphore(2), lambda s: (s._value, s._initial_value), (2, 2)),
    (lambda: threading.Semaphore(3), lambda s: s._value, 3),
    (lambda: threading.Barrier(2, timeout=5), lambda b: (b.parties, b._timeout), (2, 5)),
    (lambda: queue.Queue(7), lambda q: q.maxsize, 7),
    (lambda: asyncio.Queue(7), lambda q: q.maxsize, 7),
    (lambda: asyncio.Semaphore(4), lambda s: s._value, 4),
    (
        lambda: concurrent.futures.ThreadPoolExecutor(2, "mine", int, ()),
        lambda e: (e._max_workers, e._thread_name_prefix, e.submit(len, "abc").result()),
        (2, "mine", 3),
    ),
    (
        lambda: concurrent.futures.ProcessPoolExecutor(2, initializer=int),
        lambda e: (e._max_workers, e._initializer),
        (2, int),
    ),
]


@pytest.mark.parametrize(("make", "read", "expected"), SETTINGS)
def test_the_arguments_of_the_constructor_travel(
    make: Any, read: Any, expected: Any, elsewhere: Elsewhere
) -> None:
    assert elsewhere(read, make()) == expected


def test_an_event_that_is_set_and_an_executor_that_is_shut_down_remain_so(
    elsewhere: Elsewhere,
) -> None:
    event, other = threading.Event(), asyncio.Event()
    event.set()
    other.set()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    read = elsewhere(lambda a, b, c: (a.is_set(), b.is_set(), c._shutdown), event, other, pool)
    assert read == (True, True, True)


def test_a_semaphore_in_use_travels_with_its_bound(elsewhere: Elsewhere) -> None:
    semaphore = threading.BoundedSemaphore(2)
    with semaphore:
        assert elsewhere(lambda s: s._value, semaphore) == 2


def test_a_lock_that_is_held_here_is_free_elsewhere(elsewhere: Elsewhere) -> None:
    plain, reentrant = threading.Lock(), threading.RLock()
    with plain, reentrant:
        taken = elsewhere(lambda a, b: (a.acquire(False), b.acquire(False)), plain, reentrant)
    assert taken == (True, True)


def test_a_condition_and_its_lock_stay_together(elsewhere: Elsewhere) -> None:
    lock = threading.Lock()
    condition = threading.Condition(lock)

    def there(condition: Any, lock: Any) -> bool:
        with condition:
            return lock.locked() and condition._lock is lock

    assert elsewhere(there, condition, lock) is True


def test_a_lock_works_where_it_is_made_anew(elsewhere: Elsewhere) -> None:
    def there(lock: Any) -> tuple[bool, bool]:
        with lock:
            return lock.acquire(False), lock.locked()

    assert elsewhere(there, threading.Lock()) == (False, True)


def test_subclasses_travel_with_what_they_have_added(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import queue, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "class Named(queue.PriorityQueue):\n"
        "    def __init__(self, name):\n"
        "        super().__init__(5)\n"
        "        self.name = name\n"
        "class Pool(ThreadPoolExecutor):\n"
        "    def __init__(self, tag):\n"
        "        super().__init__(max_workers=3)\n"
        "        self.tag = tag\n"
        "class Local(threading.local):\n"
        "    count = 0\n"
        "    def __init__(self): self.value = 4\n"
    )
    named, pool, local = script["Named"]("n"), script["Pool"]("t"), script["Local"]()

    def there(named: Any, pool: Any, local: Any) -> Any:
        named.put(2)
        named.put(1)
        done = pool.submit(len, "ab").result()
        return (
            named.name,
            named.maxsize,
            named.get(),
            pool.tag,
            pool._max_workers,
            done,
            local.value,
        )

    assert elsewhere(there, named, pool, local) == ("n", 5, 1, "t", 3, 2, 4)


def test_thread_local_storage_keeps_what_its_constructor_was_given(elsewhere: Elsewhere) -> None:
    class Local(threading.local):
        def __init__(self, value: int, *, name: str = "none") -> None:
            self.value, self.name = value, name

    def of_threads(local: Local) -> list[tuple[int, str]]:
        local.value += 1
        found = [(local.value, local.name)]
        thread = threading.Thread(target=lambda: found.append((local.value, local.name)))
        thread.start()
        thread.join()
        return found

    assert elsewhere(of_threads, Local(3, name="n")) == [(4, "n"), (3, "n")]
    assert elsewhere(of_threads, Local(5)) == [(6, "none"), (5, "none")]


@pytest.mark.parametrize("cls", [queue.Queue, queue.SimpleQueue, queue.LifoQueue, asyncio.Queue])
def test_a_queue_that_is_not_empty_is_refused(cls: Any) -> None:
    items = cls()
    items.put_nowait(1) if cls is asyncio.Queue else items.put(1)
    with pytest.raises(SerializationError, match=r"item \[\"q\"\].*a queue with 1 item in it"):
        dumps_code({"q": items})


def test_nothing_is_kept_of_an_object_that_nobody_refers_to() -> None:
    lock = threading.Lock()
    dumps_code(lock)
    place = id(lock)
    assert place in live.known._tokens
    del lock
    gc.collect()
    assert place not in live.known._tokens


def test_the_modules_of_all_kinds_exist() -> None:
    for name, kind in live.ONE_PER_PROCESS.items():
        if kind.public == "asyncio.Barrier" and sys.version_info < (3, 11):
            continue
        module, _, attribute = kind.public.rpartition(".")
        made = EXAMPLES[kind.public]()
        assert hasattr(importlib.import_module(module), attribute)
        names = {f"{base.__module__}.{base.__qualname__}" for base in type(made).__mro__}
        assert name in names or name == "threading._RLock"


# --- places --------------------------------------------------------------------------------------


def test_a_lock_travels_wherever_it_is(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import dataclasses, functools, threading, pydantic\n"
        "lock = threading.Lock()\n"
        "@dataclasses.dataclass\n"
        "class Data:\n"
        "    lock: object\n"
        "class Slots:\n"
        "    __slots__ = ('lock',)\n"
        "class Model(pydantic.BaseModel):\n"
        "    model_config = {'arbitrary_types_allowed': True}\n"
        "    shown: object\n"
        "    _hidden: object = pydantic.PrivateAttr()\n"
        "class Owner:\n"
        "    of_class = lock\n"
        "    def method(self): return self.of_instance\n"
        "def closing(held):\n"
        "    def inner(default=held, *, keyword=held): return held, default, keyword, lock\n"
        "    return inner\n"
        "def argument(x): return x\n"
        "owner, slots, model = Owner(), Slots(), Model(shown=lock)\n"
        "owner.of_instance = slots.lock = model._hidden = lock\n"
        "inner, part, data = closing(lock), functools.partial(argument, lock), Data(lock)\n"
        "def node():\n"
        "    found = [*inner(), part(), data.lock, slots.lock, model.shown, model._hidden,\n"
        "             owner.method(), Owner.of_class]\n"
        "    return len({id(one) for one in found}), len(found), found[0].acquire(False)\n"
    )
    pytest.importorskip("pydantic")
    assert elsewhere(script["node"]) == (1, 11, True)


# --- caches --------------------------------------------------------------------------------------


def test_functions_of_singledispatch_travel_with_what_was_registered(elsewhere: Elsewhere) -> None:
    script = main_program(
        "from functools import singledispatch, singledispatchmethod\n"
        "import collections.abc\n"
        "@singledispatch\n"
        "def shown(value): return f'thing {value}'\n"
        "@shown.register\n"
        "def _(value: int): return f'int {value}'\n"
        "@shown.register\n"
        "def _(value: list): return [shown(item) for item in value]\n"
        "@shown.register\n"
        "def _(value: collections.abc.Set): return 'set'\n"
        "class Desk:\n"
        "    @singledispatchmethod\n"
        "    def told(self, value): return 'other'\n"
        "    @told.register\n"
        "    def _(self, value: str): return f'text {value}'\n"
        "def node():\n"
        "    later = shown.register(float, lambda value: 'float')\n"
        "    return shown([1, 'x', {2}, 1.0]), Desk().told('y'), Desk().told(1), sorted(\n"
        "        cls.__name__ for cls in shown.registry)\n"
    )
    kinds = ["Set", "float", "int", "list", "object"]
    script["shown"](3)  # fills the cache
    expected = (["int 1", "thing x", "set", "float"], "text y", "other", kinds)
    assert elsewhere(script["node"]) == expected


def test_weak_dictionaries_travel_with_what_the_graph_needs_as_well(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import weakref\n"
        "class Key: pass\n"
        "kept, gone = Key(), Key()\n"
        "by_key, by_value = weakref.WeakKeyDictionary(), weakref.WeakValueDictionary()\n"
        "elements, empty = weakref.WeakSet(), weakref.WeakKeyDictionary()\n"
        "by_key[kept], by_key[gone], by_key[Key] = 1, 2, 3\n"
        "by_value['kept'] = kept\n"
        "elements.add(kept)\n"
        "to_kept, to_gone = weakref.ref(kept), weakref.ref(Key())\n"
        "def node():\n"
        "    empty[kept] = 5\n"
        "    return (by_key[kept], by_key[Key], by_value['kept'] is kept, kept in elements,\n"
        "            len(empty), to_kept() is kept, to_gone())\n"
    )
    assert elsewhere(script["node"]) == (1, 3, True, True, 1, True, None)


def test_what_a_weak_reference_refers_to_travels_with_it(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import weakref\n"
        "class Key:\n"
        "    def name(self): return 'key'\n"
        "key = Key()\n"
        "reference, method = weakref.ref(key), weakref.WeakMethod(key.name)\n"
        "def node(): return reference().name(), method()(), reference() is method().__self__\n"
    )
    assert elsewhere(script["node"]) == ("key", "key", True)
    blob = elsewhere(lambda r: dumps_code(r), script["reference"])
    assert loads(blob)().name() == "key"


def test_what_cannot_travel_is_left_out_of_a_weak_dictionary(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import weakref\n"
        "class Key: pass\n"
        "key, other = Key(), Key()\n"
        "cache = weakref.WeakKeyDictionary()\n"
        "cache[key], cache[other] = connection, [cache]\n"
        "def node(): return key in cache, other in cache\n",
        connection=sqlite3.connect(":memory:"),
    )
    assert elsewhere(script["node"]) == (False, True)


def test_a_view_of_a_dict_stays_a_view_of_it(elsewhere: Elsewhere) -> None:
    def there(mapping: dict[str, int], view: Any) -> Any:
        mapping["b"] = 2
        return dict(view)

    mapping = {"a": 1}
    assert elsewhere(there, mapping, MappingProxyType(mapping)) == {"a": 1, "b": 2}


def test_a_compiled_format_of_struct_is_compiled_anew(elsewhere: Elsewhere) -> None:
    compiled = struct.Struct("<IH")
    assert elsewhere(lambda: (compiled.format, compiled.pack(1, 2))) == ("<IH", compiled.pack(1, 2))


# --- objects that answer to any name -------------------------------------------------------------


@pytest.mark.parametrize("dump", [dumps_code, dumps_data])
def test_a_class_whose_getattr_reads_its_own_attributes_travels(
    dump: Any, elsewhere: Elsewhere
) -> None:
    script = main_program(
        "class Proxy:\n"
        "    def __init__(self, target): self._target = target\n"
        "    def __getattr__(self, name): return getattr(self._target, name)\n"
        "class Slotted:\n"
        "    __slots__ = ('_target',)\n"
        "    def __init__(self, target): self._target = target\n"
        "    def __getattr__(self, name): return getattr(self._target, name)\n"
        "class Bag(dict):\n"
        "    def __getattr__(self, name): return self[name]\n"
        "def made():\n"
        "    bag = Bag(a=1)\n"
        "    bag.extra = 2\n"
        "    return [Proxy('abc'), Slotted('abc'), bag]\n"
    )

    def there(blob: bytes) -> Any:
        proxy, slotted, bag = loads(blob)
        return proxy.upper(), slotted.upper(), bag.a, bag.extra

    assert elsewhere(there, dump(script["made"]())) == ("ABC", "ABC", 1, 2)


def test_configurable_chat_models_travel(elsewhere: Elsewhere) -> None:
    models = pytest.importorskip("langchain.chat_models")
    pytest.importorskip("langchain_openai")
    late = models.init_chat_model(configurable_fields=("model", "model_provider"))
    fields = models.init_chat_model(
        "gpt-x", model_provider="openai", configurable_fields=("temperature",), api_key="k"
    )
    bound = fields.with_config(tags=["t"])

    def there(blob: bytes) -> Any:
        late, fields, bound = loads(blob)
        warm = fields._model({"configurable": {"temperature": 0.5}})
        return late._configurable_fields, warm.temperature, type(bound).__name__

    expected = (["model", "model_provider"], 0.5, "_ConfigurableModel")
    for dump in (dumps_code, dumps_data):
        assert elsewhere(there, dump([late, fields, bound])) == expected


# --- with their settings -------------------------------------------------------------------------


def test_a_log_handler_of_a_file_appends_to_it(elsewhere: Elsewhere, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log", mode="w")
    record = logging.LogRecord("name", logging.INFO, "path", 1, "%s", ("here",), None)
    handler.emit(record)
    elsewhere(lambda handler, record: handler.emit(record), handler, record)
    handler.close()
    assert (tmp_path / "log").read_text() == "here\nhere\n"


def test_the_random_source_of_the_system_travels() -> None:
    assert 0 <= loads(dumps_code(random.SystemRandom())).random() < 1


def test_the_place_is_found_behind_an_object_that_refers_to_itself() -> None:
    class Node:
        def __init__(self) -> None:
            self.method = self.run
            self.parts = {"thread": threading.Thread()}

        def run(self) -> None: ...

    with pytest.raises(SerializationError, match="of attribute 'parts' of item"):
        dumps_code([Node()])


def test_a_context_variable_of_a_script_is_one_variable_of_each_process(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    import __main__

    variable: ContextVar[int] = ContextVar("variable", default=3)
    bare: ContextVar[int] = ContextVar("bare")
    monkeypatch.setattr(__main__, "variable", variable, raising=False)
    monkeypatch.setitem(sys.modules, "__mp_main__", __main__)  # as multiprocessing does
    assert loads(dumps_code(variable)) is variable
    assert elsewhere(lambda v, b: (v.get(), v.name, b.get(None)), variable, bare) == (
        3,
        "variable",
        None,
    )


# --- refusals ------------------------------------------------------------------------------------


def _process() -> Any:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


@pytest.mark.parametrize("dump", [dumps_code, dumps_data])
def test_a_process_is_refused(dump: Any) -> None:
    with pytest.raises(SerializationError, match=r"a running process exists in one process only"):
        dump([_process()])


def test_locks_of_multiprocessing_are_refused_by_name() -> None:
    import multiprocessing

    with pytest.raises(SerializationError, match="a lock between processes of one machine"):
        dumps_code([multiprocessing.Lock()])
    with pytest.raises(SerializationError, match=r"use ray\.util\.queue\.Queue"):
        dumps_code([multiprocessing.Queue()])


def test_a_context_variable_of_a_module_travels_by_its_name() -> None:
    module = importlib.import_module("distgraph.worker.context")
    found = [v for v in vars(module).values() if isinstance(v, ContextVar)]
    assert found
    assert loads(dumps_code(found)) == found


def test_cached_functions_keep_their_settings(elsewhere: Elsewhere) -> None:
    cached = functools.lru_cache(maxsize=3)(lambda x: x + 1)
    assert elsewhere(lambda f: (f(1), f.cache_parameters()["maxsize"]), cached) == (2, 3)


def test_weak_values_alone_do_not_outlive_the_trip() -> None:
    class Key: ...

    alone = weakref.WeakValueDictionary({"k": Key()})
    assert dict(loads(dumps_code(alone))) == {}
