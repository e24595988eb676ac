"""The caller's context on workers: context variables, decimals, LangChain's globals, the span. It
holds settings of the caller's process too, which a worker takes over before.

In one process a node's context is a copy of the caller's. Between processes, this is what is taken
along: variables that can be found by their module's name, or that the graph itself refers to, and
whose value can be pickled. Frameworks
keep connections, tasks and requests in such variables, so what cannot travel is left behind.
"""

from __future__ import annotations

import contextvars
import importlib
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

from distgraph._internal.loaded import loaded
from distgraph._internal.missing import MISSING
from distgraph.contract.surroundings import Surroundings, Variable
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.script_variables import default_of, script_variable, token_of
from distgraph.worker import process_settings

__all__ = ("capture", "load", "surrounded", "unloaded")

_NOT_TAKEN = frozenset(
    {
        "__main__",
        "actors",
        "anyio",
        "asyncio",
        "decimal",
        "distgraph",
        "langchain_core",
        "langgraph",
        "langsmith",
        "opentelemetry",
        "ray",
        "sniffio",
        "trio",
    }
)
"""Packages whose variables say what goes on in this process, or are dealt with by name."""

_TAKEN = {"langsmith._internal._context": ("_TAGS", "_METADATA")}
"""Modules of these packages with variables that are taken all the same: what ``tracing_context``
gives to all runs."""

_decimal_of = attrgetter("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")

_FLOATS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


class _Place(NamedTuple):
    module: str
    name: str
    key: str | None = None


# --- at the caller ------------------------------------------------------------------------------


def capture() -> Surroundings | None:
    """Return what a run started in this context takes along, None where that is nothing.

    A variable of the user's own modules whose value cannot be pickled is named by a warning, once.
    """
    found = Surroundings(
        variables=tuple(_variables()),
        decimal=_decimal(),
        carrier=_carrier(),
        cache=_cache(),
        debug=_switch("get_debug"),
        verbose=_switch("get_verbose"),
        floats=_floats(),
        process=process_settings.capture(),
    )
    return None if found == Surroundings() else found


def _variables() -> Iterator[Variable]:
    for var, value in contextvars.copy_context().items():
        token = token_of(var)
        place = _place_of(var) if token is None else _Place("", var.name, token)
        default = default_of(var)
        if place is None or value is default:
            continue
        try:
            blob = dumps_data(value)
            shipped = () if place.key is None or default is MISSING else (dumps_data(default),)
        except SerializationError as error:
            if _is_of_user(place.module):
                _warn_once(place, type(value).__qualname__, str(error))
            continue
        yield Variable(place.module, place.name, blob, place.key, shipped)


_places: dict[ContextVar[Any], tuple[int, _Place | None]] = {}
"""Where variables were found, and how many modules were loaded at that time."""


def _place_of(var: ContextVar[Any]) -> _Place | None:
    known = _places.get(var)
    if known is None or (known[1] is None and known[0] != len(sys.modules)):
        for found, place in _search():
            _places[found] = (len(sys.modules), place)
        known = _places.setdefault(var, (len(sys.modules), None))
        if known[1] is None:
            _places[var] = known = (len(sys.modules), None)
    return known[1]


def _search() -> Iterator[tuple[ContextVar[Any], _Place]]:
    """Yield the context variables that can be found by name."""
    modules: dict[str, Any] = sys.modules
    for name, module in list(modules.items()):
        for taken in _TAKEN.get(name, ()):
            if type(var := getattr(module, taken, None)) is ContextVar:
                yield var, _Place(name, taken)
        if not isinstance(module, ModuleType) or name.partition(".")[0] in _NOT_TAKEN:
            continue
        for attribute, value in list(vars(module).items()):
            cls = type(value)
            if cls is ContextVar:
                yield value, _Place(name, attribute)
            elif cls is dict:
                for key, item in list(value.items()):
                    if type(item) is ContextVar and isinstance(key, str):
                        yield item, _Place(name, attribute, key)
            elif isinstance(value, type) and value.__module__ == name:
                for inner, item in list(vars(value).items()):
                    if type(item) is ContextVar:
                        yield item, _Place(name, f"{attribute}.{inner}")


def _is_of_user(module: str) -> bool:
    """Whether a module is no installed one, nor one of Python's own. "" stands for a script."""
    if not module:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return file is not None and not file.startswith(tuple(installed))


@lru_cache(maxsize=1024)
def _warn_once(place: _Place, kind: str, why: str) -> None:
    owner = place.module or "__main__"
    warnings.warn(
        f"context variable {owner}.{place.name} holds a {kind} that cannot be sent to "
        f"workers, so nodes see its default there: {why}. Keep plain data in it, or pass what "
        "nodes need by the run's context= or config",
        UserWarning,
        stacklevel=2,
    )


def _decimal() -> Any:
    module = sys.modules.get("decimal")
    if module is None:
        return None
    current = module.getcontext()
    if _decimal_of(current) == _decimal_of(module.DefaultContext):
        return None
    copied = current.copy()
    copied.clear_flags()
    return copied


def _floats() -> dict[str, Any] | None:
    get = loaded("numpy", "geterr")
    found: dict[str, Any] | None = None if get is None else get()
    return None if found == _FLOATS else found


def _carrier() -> dict[str, str]:
    carrier: dict[str, str] = {}
    if "opentelemetry.context" in sys.modules:
        with suppress(Exception):  # a propagator of the user's
            _propagate().inject(carrier)
    return carrier


@lru_cache(maxsize=1)
def _propagate() -> Any:
    return importlib.import_module("opentelemetry.propagate")


def _cache() -> bytes | None:
    """Return the pickled place of LangChain's global cache for models.

    Raises:
        SerializationError: It is no ``BaseCache``, and cannot be pickled either.
    """
    cache = _global("get_llm_cache")
    if cache is None:
        return None
    try:
        return dumps_data(cache)
    except SerializationError as error:
        raise SerializationError(
            f"set_llm_cache({type(cache).__qualname__}): workers cannot use the global cache for "
            f"models: {error}. Derive it from langchain_core.caches.BaseCache, or set None"
        ) from error


def _switch(name: str) -> bool | None:
    value = _global(name)
    return None if value is None else bool(value)


def _global(name: str) -> Any:
    get = loaded("langchain_core.globals", name)
    return None if get is None else get()


# --- on the worker ------------------------------------------------------------------------------


_absent: dict[str, list[str]] = {}
"""Modules that cannot be imported here, and ``sys.path`` when that was tried."""


def unloaded(given: Surroundings | None) -> tuple[str, ...]:
    """Return the modules that ``surrounded`` would import.

    An event loop has ``load`` import them in a thread first, as an import may take seconds.
    """
    if given is None:
        return ()
    named = [variable.module for variable in given.variables if variable.module]
    if given.floats is not None:
        named.append("numpy")
    if given.carrier:
        named += ("opentelemetry.context", "opentelemetry.propagate")
    if given.cache is not None or given.debug or given.verbose:
        named.append("langchain_core.globals")
    return tuple(dict.fromkeys(name for name in named if _is_to_be_tried(name)))


def load(modules: Iterable[str]) -> None:
    """Import modules; those that cannot be imported here are noted. Any thread may call this."""
    for name in modules:
        _module(name)


def _is_to_be_tried(module: str) -> bool:
    return module not in sys.modules and _absent.get(module) != sys.path


def _module(name: str) -> ModuleType | None:
    """Return a module, None where it cannot be imported."""
    if not _is_to_be_tried(name):
        return sys.modules.get(name)
    try:
        return importlib.import_module(name)
    except Exception:  # its code may raise anything
        _absent[name] = list(sys.path)
        return None


def surrounded(given: Surroundings | None) -> AbstractContextManager[None]:
    """Run a block in the caller's context, as far as it was taken along."""
    return nullcontext() if given is None else _surrounded(given)


@contextmanager
def _surrounded(given: Surroundings) -> Iterator[None]:
    with ExitStack() as stack:
        for variable in given.variables:
            var = _found(variable)
            if var is not None:
                stack.callback(var.reset, var.set(loads(variable.value)))
        if given.decimal is not None:
            import decimal

            stack.callback(decimal.setcontext, decimal.getcontext())
            decimal.setcontext(given.decimal.copy())
        if given.floats is not None and (numpy := _module("numpy")) is not None:
            stack.enter_context(numpy.errstate(**given.floats))
        if given.carrier and _module("opentelemetry.propagate") is not None:
            stack.callback(_attached(given.carrier))
        if given.cache is not None or _run_cache is not None:
            stack.callback(_cached(given.cache))
        for name, value in (("debug", given.debug), ("verbose", given.verbose)):
            if value is not None and (value or "langchain_core.globals" in sys.modules):
                getattr(importlib.import_module("langchain_core.globals"), f"set_{name}")(value)
        yield


def _found(variable: Variable) -> ContextVar[Any] | None:
    """Return the variable in this process, None where its module has none by that name."""
    if not variable.module:
        return script_variable(str(variable.key), variable.name, *map(loads, variable.default))
    found: Any = _module(variable.module)
    for part in variable.name.split("."):
        found = getattr(found, part, None)
    if variable.key is not None and isinstance(found, dict):
        default = {"default": loads(variable.default[0])} if variable.default else {}
        known = found.get(variable.key)
        if known is None:
            made: ContextVar[Any] = ContextVar(variable.key, **default)
            known = found.setdefault(variable.key, made)
        found = known
    return found if isinstance(found, ContextVar) else None


def _attached(carrier: Mapping[str, str]) -> Callable[[], None]:
    """Enter the caller's span; returns what leaves it."""
    context = importlib.import_module("opentelemetry.context")
    propagate = importlib.import_module("opentelemetry.propagate")
    return partial(context.detach, context.attach(propagate.extract(carrier)))


_cache_of_run: ContextVar[Any] = ContextVar("distgraph_llm_cache", default=None)
_run_cache: Any = None
"""What LangChain has as its global cache in this process, once a run has brought one."""


def _cached(blob: bytes | None) -> Callable[[], None]:
    """Make a run's cache the one that models of this context find; returns what ends that."""
    global _run_cache
    from langchain_core import globals as core

    if _run_cache is None:
        _run_cache = _run_cache_class()()
    if blob is not None and core.get_llm_cache() is not _run_cache:
        core.set_llm_cache(_run_cache)
    token = _cache_of_run.set(None if blob is None else loads(blob))
    return partial(_cache_of_run.reset, token)


@lru_cache(maxsize=1)
def _run_cache_class() -> type[Any]:
    from langchain_core.caches import BaseCache

    class RunCache(BaseCache):
        """The global cache of whichever caller's run the code belongs to, which may have none."""

        def __bool__(self) -> bool:
            return _cache_of_run.get() is not None

        def lookup(self, prompt: str, llm_string: str) -> Any:
            cache = _cache_of_run.get()
            return None if cache is None else cache.lookup(prompt, llm_string)

        def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
            cache = _cache_of_run.get()
            if cache is not None:
                cache.update(prompt, llm_string, return_val)

        def clear(self, **kwargs: Any) -> None:
            cache = _cache_of_run.get()
            if cache is not None:
                cache.clear(**kwargs)

        async def alookup(self, prompt: str, llm_string: str) -> Any:
            cache = _cache_of_run.get()
            return None if cache is None else await cache.alookup(prompt, llm_string)

        async def aupdate(self, prompt: str, llm_string: str, return_val: Any) -> None:
            cache = _cache_of_run.get()
            if cache is not None:
                await cache.aupdate(prompt, llm_string, return_val)

        async def aclear(self, **kwargs: Any) -> None:
            cache = _cache_of_run.get()
            if cache is not None:
                await cache.aclear(**kwargs)

    return RunCache
