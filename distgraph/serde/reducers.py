"""Types with their own rule for pickling, and types that must not be pickled.

Types of other packages are recognised by the names in their MRO, never by importing the package.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import gc
import importlib
import inspect
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import FunctionType, MappingProxyType, MemberDescriptorType
from typing import Any, TypeVar

from distgraph.langgraphs.vocabulary import SENTINELS
from distgraph.serde import live, rebuilt_objects, references, script_names
from distgraph.serde.script_variables import reduce_variable

T = TypeVar("T")
Reduce = Callable[[Any], Any]
"""Returns what ``__reduce__`` may return, ``NotImplemented`` for the ordinary way, or raises."""

_HOW = ("__reduce__", "__reduce_ex__", "__getstate__")
_SET = ("__setstate__", "__getnewargs__", "__getnewargs_ex__")
_MAY_TRAVEL = frozenset({"_io.BytesIO", "_io.StringIO"})
_STREAMS = ("_io.TextIOWrapper", "_io._BufferedIOBase", "_io._RawIOBase")
_STANDARD_STREAMS = ("stdin", "stdout", "stderr")
_CONTEXT_VARIABLE = "_contextvars.ContextVar"
_ARGS: Any = vars(BaseException)["args"]

_registered: dict[type, Reduce] = {}
_standard: dict[type, Reduce] = {}
_found: weakref.WeakKeyDictionary[type, tuple[Reduce | None]] = weakref.WeakKeyDictionary()
_found_in_data: weakref.WeakKeyDictionary[type, tuple[Reduce | None]] = weakref.WeakKeyDictionary()


_rules: list[Callable[[type], Reduce | None]] = []


def register_rule(rule: Callable[[type], Reduce | None]) -> None:
    """Add a rule: a function that returns the reduce function for a class, or None."""
    _rules.append(rule)


def add_exact(cls: type, rule: Reduce) -> None:
    """Have instances of exactly ``cls`` reduced by ``rule``."""
    _standard[cls] = rule
    forget_found()


def knows(cls: type) -> bool:
    """Whether there is a rule for instances of exactly ``cls``."""
    return cls in _standard


def register_reference(cls: type) -> None:
    """Treat instances of exactly ``cls`` as references to objects that live elsewhere."""
    add_exact(cls, references.refer)
    add_exact(references.ReferringBlob, references.lift)


def register_serializer(
    cls: type[T], reduce: Callable[[T], tuple[Callable[..., Any], tuple[Any, ...]]]
) -> None:
    """Register the serializer for instances of ``cls`` and its subclasses.

    ``reduce(obj)`` returns ``(make, args)``: the receiver calls ``make(*args)``. ``make`` may be a
    function of ``__main__`` or a lambda; ``args`` must themselves be picklable. The serializer has
    precedence over the type's own pickling and every rule of distgraph. Register before the first
    run.

    Raises:
        TypeError: ``cls`` is not a class, or ``reduce`` is not callable.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer needs a class, got {cls!r}")
    if not callable(reduce):
        raise TypeError(f"register_serializer needs a callable for {cls.__qualname__}")

    def registered(obj: T) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        make, args = reduce(obj)
        return make_as_registered, (make, args)

    _registered[cls] = registered
    forget_found()


def make_as_registered(make: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Rebuild an object by a serializer that the user registered."""
    return make(*args)


def forget_found() -> None:
    """Search the rule for every type anew."""
    _found.clear()
    _found_in_data.clear()
    _tables.clear()


def find(cls: type, *, data: bool = False) -> Reduce | None:
    """Return the rule for instances of ``cls``, or None where ordinary pickling holds.

    Args:
        cls: The exact type of an object.
        data: Whether the object is part of a state, a context, a config or a chunk, not of a graph.
    """
    found = _found_in_data if data else _found
    try:
        return found[cls][0]
    except (KeyError, TypeError):
        pass
    rule = _search(cls, data)
    try:
        found[cls] = (rule,)
    except TypeError:  # a type without weak references
        pass
    return rule


def _search(cls: type, data: bool) -> Reduce | None:
    for base in cls.__mro__:
        if base in _registered:
            return _registered[base]
    if cls in _standard:
        return _standard[cls]
    library_rule = _library_rule(cls)
    if library_rule is not None:
        return library_rule
    # In MRO order what is closest to the type decides: a user's subclass of a queue that says how
    # it is pickled is taken at its word.
    for base in cls.__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in _MAY_TRAVEL:
            return None
        if name in live.ONE_PER_PROCESS:
            refused = data and live.ONE_PER_PROCESS[name].signal
            return live.refuse_signal(name) if refused else live.reduce_as(name)
        if name in _STREAMS:
            return _standard_stream_or(live.refuse_as(name))
        if name == _CONTEXT_VARIABLE:
            return _of_module_or(reduce_variable)
        if name in live.REFUSED:
            sent = f"{cls.__module__}.{cls.__qualname__}" in live.REFUSED[name].but
            return None if sent else live.refuse_as(name)
        if name in rebuilt_objects.RULES:
            return rebuilt_objects.RULES[name]
        if base in _BY_BASE:
            return _BY_BASE[base]
        if any(isinstance(base.__dict__.get(how), FunctionType) for how in _HOW):
            return _rule_of_reducing(cls)
    asks = any(isinstance(base.__dict__.get("__getattr__"), FunctionType) for base in cls.__mro__)
    own = any(isinstance(getattr(cls, name, None), FunctionType) for name in _SET)
    if asks and not issubclass(cls, type) and not own:
        return _reduce_without_asking
    if _has_copies_without_slots(cls):
        return _reduce_slotted
    if _poses(cls):
        return _reduce_posing
    return _reduce_constant if _has_constants(cls) else None


def _rule_of_reducing(cls: type) -> Reduce | None:
    """Return the rule for a class with a ``__reduce__`` of its own; None: its own is right."""
    from distgraph.serde.pickling import found_under

    known = found_under(cls.__module__, cls.__qualname__) is cls
    return None if known else script_names.reduce_named


def _has_copies_without_slots(cls: type) -> bool:
    """Whether a class has slots and travels by value: copies have a dict instead."""
    if not any(vars(base).get("__slots__") for base in cls.__mro__) or issubclass(cls, type):
        return False
    own_state = (vars(base).get(how) for base in cls.__mro__ for how in ("__getstate__", *_SET))
    if any(isinstance(function, FunctionType) for function in own_state):
        return False
    from distgraph.serde.pickling import by_value

    return by_value(cls)


def _reduce_slotted(obj: Any) -> Any:
    """Reduce an object by the names of its attributes, wherever its class keeps them."""
    reduced: Any = obj.__reduce_ex__(5)
    if not isinstance(reduced, tuple) or len(reduced) < 3 or reduced[2] is None:
        return reduced
    attributes, slots = _state(obj)
    contents = (*reduced[3:5], None, None)[:2]
    return (*reduced[:2], {**attributes, **slots}, *contents, _set_attributes)


def _set_attributes(obj: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        object.__setattr__(obj, name, value)


def _reduce_exception(exc: BaseException) -> Any:
    """Reduce an exception whose ``__init__`` need not take what ``args`` holds."""
    args = _ARGS.__get__(exc)  # the class may have a property of that name, or refuse to set it
    attributes, slots = _state(exc)
    return _exception, (type(exc), args, {**attributes, **slots} if slots else attributes)


def _exception(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    exc = new_exception(cls, args)
    _ARGS.__set__(exc, args)
    for name, value in state.items():  # where this process has slots, a copy of the class has none
        slot = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
        if isinstance(slot, MemberDescriptorType):
            slot.__set__(exc, value)
        else:
            exc.__dict__[name] = value
    return exc


def new_exception(cls: Any, args: tuple[Any, ...]) -> Any:
    """Return a new instance; a ``__new__`` of its own may want other arguments."""
    try:
        return cls.__new__(cls, *args)
    except Exception:
        for base in cls.__mro__[1:]:
            for given in (args, ()):
                with contextlib.suppress(Exception):
                    return base.__new__(cls, *given)
        raise


def _library_rule(cls: type) -> Reduce | None:
    if issubclass(cls, BaseException):
        own_init = isinstance(getattr(cls, "__init__", None), FunctionType)
        own_rule = any(isinstance(getattr(cls, how, None), FunctionType) for how in _HOW)
        return _reduce_exception if own_init and not own_rule else None
    names = {(base.__module__.partition(".")[0], base.__name__) for base in cls.__mro__}
    for rule in _rules:
        if (reduce := rule(cls)) is not None:
            return reduce
    if ("langgraph", "RunnableCallable") in names:
        return _reduce_sentinel
    if hasattr(cls, "__pydantic_fields__") and names & {
        ("langchain_core", "Runnable"),
        ("langchain_core", "Embeddings"),
    }:
        from distgraph.serde import models

        return models.reduce_model
    if any(
        b.__name__ == "BaseClient" and b.__module__.endswith("._base_client") for b in cls.__mro__
    ):
        from distgraph.serde import clients

        return clients.reduce_api_client
    if names & {("httpx", "BaseClient"), ("httpx2", "BaseClient")}:
        from distgraph.serde import clients

        return clients.reduce_httpx
    if names & {
        (package, name)
        for package in ("httpx", "httpx2")
        for name in ("HTTPTransport", "AsyncHTTPTransport")
    }:
        from distgraph.serde import clients

        return clients.reduce_transport
    return None


def _reduce_cached_function(wrapper: Any) -> Any:
    """Reduce a function with ``lru_cache``, which plain pickle sends by its name only."""
    from distgraph.serde.pickling import named_by_module

    if named_by_module(wrapper):
        return NotImplemented
    return _cached_function, (wrapper.__wrapped__, wrapper.cache_parameters())


def _cached_function(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _reduce_context_manager(manager: Any) -> Any:
    """Reduce what a function with ``contextlib.contextmanager`` returns, as decorators hold it.

    It holds a generator, which is made anew. One that has begun is refused as every generator.
    """
    begun = inspect.isgenerator(manager.gen) and (
        inspect.getgeneratorstate(manager.gen) != inspect.GEN_CREATED
    )
    if begun:
        return NotImplemented
    return _context_manager, (type(manager), manager.func, manager.args, manager.kwds)


def _context_manager(cls: Any, function: Any, args: Any, kwargs: Any) -> Any:
    return cls(function, args, kwargs)


def _reduce_cached_property(cached: Any) -> Any:
    """Reduce a ``cached_property``, which holds a lock before Python 3.12."""
    return _cached_property, (cached.func, cached.attrname)


def _cached_property(function: Any, name: str | None) -> Any:
    cached: Any = functools.cached_property(function)
    cached.attrname = name
    return cached


def _reduce_sentinel(obj: object) -> Any:
    """Reduce an object to its name, where it is one that is known to be compared."""
    for module, name in SENTINELS:
        if getattr(sys.modules.get(module), name, None) is obj:
            return _named, (module, name)
    return NotImplemented


def _has_constants(cls: type) -> bool:
    """Whether a class is that of markers, which its module names and others compare by identity.

    Such are ``dataclasses.MISSING``, which the fields of every dataclass hold. They have no state.
    """
    if issubclass(cls, type) or any(vars(base).get("__slots__") for base in cls.__mro__):
        return False
    scope = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    return any(
        type(value) is cls and not getattr(value, "__dict__", None)
        for value in list(scope.values())
    )


def _reduce_constant(obj: object) -> Any:
    """Reduce a marker to its name in the module of its class, if it has one there."""
    from distgraph.serde.pickling import found_under

    module = type(obj).__module__
    for name, value in list(vars(sys.modules[module]).items()):
        if value is obj and found_under(module, name) is obj:
            return _named, (module, name)
    return NotImplemented


def _named(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _standard_stream_or(otherwise: Reduce) -> Reduce:
    def reduce(obj: Any) -> Any:
        for stream in _STANDARD_STREAMS:
            if obj is getattr(sys, stream, None):
                return getattr, (sys, stream)
        return otherwise(obj)

    return reduce


def _of_module_or(otherwise: Reduce) -> Reduce:
    """Reduce an object to its name in a module that the receiver can import, if it has one."""

    def reduce(obj: Any) -> Any:
        place = _place_in_a_module(obj)
        return otherwise(obj) if place is None else (_named, place)

    return reduce


def _place_in_a_module(obj: object) -> tuple[str, str] | None:
    """Return module and name under which a receiver finds an object."""
    from distgraph.serde.pickling import found_under

    for module in list(sys.modules):
        scope = getattr(sys.modules[module], "__dict__", {})
        for name, value in list(scope.items()):
            if value is obj and found_under(module, name) is obj:
                return module, name
    return None


_place_of_bare = functools.lru_cache(maxsize=256)(_place_in_a_module)  # 10 ms for each search


def _reduce_bare(obj: object) -> Any:
    """Reduce a bare ``object()``, which exists to be compared, to its name in some module."""
    place = _place_of_bare(obj)
    return NotImplemented if place is None else (_named, place)


def _reduce_without_asking(obj: Any) -> Any:
    """Reduce an object whose class has ``__getattr__``, which the receiver must not call.

    Before an object has its state, pickle asks it for ``__setstate__``; a ``__getattr__`` that
    reads an attribute of its own then calls itself without end.
    """
    reduced: Any
    if sys.version_info >= (3, 11) or not _has_state_by_default(type(obj)):
        reduced = obj.__reduce_ex__(4)
    else:  # Python 3.10 asks `__getattr__` for `__getstate__`
        items = list.__iter__(obj) if isinstance(obj, list) else None
        pairs = iter(dict.items(obj)) if isinstance(obj, dict) else None
        made = copyreg.__newobj__, (type(obj),)  # type: ignore[attr-defined]
        reduced = (*made, _state(obj), items, pairs)
    reduced = _with_its_type(obj, reduced)
    if not isinstance(reduced, tuple) or len(reduced) < 3 or reduced[2] is None:
        return reduced
    contents = (*reduced[3:5], None, None)[:2]
    return (*reduced[:3], *contents, _set_state)


def _poses(cls: type) -> bool:
    """Whether objects of a class have another ``__class__`` than their type, as mocks have."""
    found = next(vars(base)["__class__"] for base in cls.__mro__ if "__class__" in vars(base))
    return found is not vars(object)["__class__"] and not issubclass(cls, type)


def _reduce_posing(obj: Any) -> Any:
    return _with_its_type(obj, obj.__reduce_ex__(4))


def _with_its_type(obj: Any, reduced: Any) -> Any:
    """Return a reduced object such that pickle does not compare its type with its ``__class__``."""
    if obj.__class__ is type(obj) or not isinstance(reduced, tuple):
        return reduced
    if reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return reduced
    return (_new, *reduced[1:])


def _new(cls: Any, *args: Any) -> Any:
    return cls.__new__(cls, *args)


def _has_state_by_default(cls: Any) -> bool:
    """Whether no class that an object is an instance of says how the object is pickled."""
    return (
        not hasattr(cls, "__getstate__")
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and not issubclass(cls, (tuple, str, bytes, int, float))
    )


def _state(obj: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    slots = {}
    for name in copyreg._slotnames(type(obj)):  # type: ignore[attr-defined]
        try:
            slots[name] = object.__getattribute__(obj, name)
        except AttributeError:  # it is not set
            continue
    try:
        return object.__getattribute__(obj, "__dict__"), slots
    except AttributeError:
        return {}, slots


def _set_state(obj: Any, state: Any) -> None:
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes:
        obj.__dict__.update(attributes)
    for name, value in (slots or {}).items():
        object.__setattr__(obj, name, value)


def _reduce_proxy(proxy: Any) -> Any:
    """Reduce a read-only view of a dict, such that it remains a view of the same dict."""
    (mapping,) = gc.get_referents(proxy)
    return MappingProxyType, (mapping,)


def _reduce_struct(compiled: struct.Struct) -> Any:
    return struct.Struct, (compiled.format,)


# --- weak references -----------------------------------------------------------------------------
# What a reference refers to travels with it. An entry of a weak dictionary or set lives at the
# receiver as long as something else there refers to its object.

_probed = threading.local()


def _reduce_reference(reference: Any) -> Any:
    return _reference, (reference(),)


class _Gone:
    """Target of a reference whose object has gone already."""


class _Holding(weakref.ref[Any]):
    """A reference that keeps its object: at the receiver nothing else may refer to it."""

    __slots__ = ("held",)
    held: Any


def _reference(target: Any) -> Any:
    if target is None:
        return weakref.ref(_Gone())
    reference = _Holding(target)
    reference.held = target
    return reference


def _reduce_weak_mapping(mapping: Any) -> Any:
    """Reduce a weak dictionary to the entries that can travel: for the others it is a cache."""
    return type(mapping), (), None, None, iter(_travelling(mapping, mapping.items()))


def _reduce_weak_set(elements: Any) -> Any:
    kept = [element for (element,) in _travelling(elements, ((e,) for e in elements))]
    return type(elements), (), kept or None, None, None, _fill


def _fill(elements: Any, kept: list[Any]) -> None:
    for element in kept:
        elements.add(element)


def _travelling(owner: Any, entries: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    from distgraph.serde.pickling import reason

    within: set[int] = _probed.__dict__.setdefault("owners", set())
    if id(owner) in within:  # an entry that leads back to its dictionary
        return []
    within.add(id(owner))
    try:
        return [entry for entry in list(entries) if not reason(entry)]
    finally:
        within.discard(id(owner))


_BY_BASE: dict[type, Reduce] = {
    weakref.WeakKeyDictionary: _reduce_weak_mapping,
    weakref.WeakValueDictionary: _reduce_weak_mapping,
    weakref.WeakSet: _reduce_weak_set,
}
_standard[weakref.ref] = _standard[_Holding] = _reduce_reference
_standard[MappingProxyType] = _reduce_proxy
_standard[struct.Struct] = _reduce_struct
_standard[type(functools.lru_cache(len))] = _reduce_cached_function
_standard[contextlib._GeneratorContextManager] = _reduce_context_manager
_standard[contextlib._AsyncGeneratorContextManager] = _reduce_context_manager
_standard[functools.cached_property] = _reduce_cached_property
_standard[object] = _reduce_bare
_standard.update(dict.fromkeys(script_names.TYPES, script_names.reduce_named))


class _DataTable(dict[type, Reduce]):
    """``copyreg``'s table, and the rules of this module for types as they come."""

    def __missing__(self, cls: type) -> Reduce:
        rule = find(cls, data=True)
        if rule is not None:
            found = self[cls] = _or_ordinary(rule)
            return found
        if _is_ordinary_for_good(cls):
            self[cls] = _reduce_ordinary
            return _reduce_ordinary
        raise KeyError(cls)


def _is_ordinary_for_good(cls: type) -> bool:
    """Return whether the table may keep a class: its module keeps the class, and no class is one
    of its instances, which the pickler writes by name."""
    if issubclass(cls, type):
        return False
    names: dict[str, Any] = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    return names.get(cls.__qualname__) is cls


def _reduce_ordinary(obj: Any) -> Any:
    """Reduce an object as the pickler does for a class that is not in the table: found sooner."""
    return obj.__reduce_ex__(5)


def _or_ordinary(rule: Reduce) -> Reduce:
    def reduce(obj: Any) -> Any:
        reduced = rule(obj)
        return obj.__reduce_ex__(5) if reduced is NotImplemented else reduced

    return reduce


_tables: dict[int, _DataTable] = {}


def dispatch_table() -> dict[type, Reduce]:
    """Return the table that the plain pickler works with: ``copyreg``'s and the rules above."""
    key = len(copyreg.dispatch_table)
    table = _tables.get(key)
    if table is None:
        _tables.clear()
        table = _tables[key] = _DataTable(copyreg.dispatch_table)
    return table
