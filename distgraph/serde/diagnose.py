"""Search for the part of an object that cannot be pickled, described in the user's terms."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distgraph.errors import SerializationError
from distgraph.serde import pickling, reducers

_MAX_DEPTH = 16
_NESTED_DEPTH = 2
"""Levels of what is nested too deep, whose parts are so as well."""
_MAX_CHILDREN = 1000
Reason = Callable[[Any], str]
_LEAVES = (str, int, float, bool, bytes, type(None), types.ModuleType)


@dataclass(frozen=True)
class Culprit:
    """The innermost object that does not pickle."""

    path: tuple[str, ...]
    """The path from the outermost object, one phrase per level."""
    obj: Any
    why: str
    """The reason, with a remedy in most cases."""
    around: tuple[Any, ...] = ()
    """The objects from the outermost to this one."""

    @property
    def place(self) -> str:
        """The location, innermost first: ``attribute 'db' of global variable 'config'``."""
        return self.place_in("")

    def place_in(self, root: str) -> str:
        """The location in an object with a known name, as an expression where that is possible:
        ``config["configurable"]["db"]``, ``input.resume["a"]``."""
        phrases = [root] if root else []
        heads = (root, "item [") if root else ("item [",)
        for phrase in self.path:
            name = phrase.removeprefix("attribute ").strip("'")
            if root and phrases[-1].startswith(root) and phrase == f"attribute {name!r}":
                phrases[-1] += f".{name}"
            elif phrase.startswith("[") and phrases and phrases[-1].startswith(heads):
                phrases[-1] += phrase
            else:
                phrases.append(f"item {phrase}" if phrase.startswith("[") else phrase)
        return " of ".join(reversed(phrases))

    def sentence(self, root: str = "") -> str:
        """Say what it is, where it is, why it fails and what to do.

        ``root``: the name by which the user knows the outermost object.
        """
        what, place = type_name(self.obj), self.place_in(root)
        return f"{f'{place} ({what})' if place else what} cannot be pickled: {self.because()}"

    def because(self) -> str:
        """Return the reason and the remedy."""
        if "Remedy:" in self.why:
            return self.why
        cls = type(self.obj).__qualname__
        return (
            f"{self.why}. Remedy: create it inside the node, or tell how it travels with "
            f"distgraph.register_serializer({cls}, ...)"
        )


def type_name(obj: Any) -> str:
    """Return the qualified name of an object's class."""
    cls = type(obj)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def find_culprit(
    obj: Any, reason: Reason = pickling.reason, *, data: bool = False
) -> Culprit | None:
    """Return the innermost object below ``obj`` that cannot be sent; None where all of it can.

    Args:
        obj: Where to begin.
        reason: Returns why an object cannot be sent, or an empty string.
        data: Whether ``obj`` is data of a run, not a part of a graph.
    """
    return _Search(reason, data).descend(obj, (), within=False)


class _Search:
    def __init__(self, reason: Reason, data: bool) -> None:
        self._reason = reason
        self._data = data
        self._seen: set[int] = set()
        self._around: set[int] = set()
        self._chain: list[Any] = []

    def descend(self, obj: Any, path: tuple[str, ...], *, within: bool) -> Culprit | None:
        """Search ``obj``, which code of a framework holds where ``within`` is true."""
        why = self._reason(obj)
        if not why:
            return None
        self._seen.add(id(obj))
        self._around.add(id(obj))
        self._chain.append(obj)
        leads_back = False
        nested = why == pickling.TOO_DEEP
        room = len(path) < (_NESTED_DEPTH if nested else _MAX_DEPTH)
        if room and not (nested and len(self._chain) > _MAX_DEPTH) and not self._is_refused(obj):
            hidden = _is_hidden(obj, within)
            for phrase, child in children(obj):
                if id(child) in self._seen or isinstance(child, _LEAVES):
                    leads_back = leads_back or id(child) in self._around
                    continue
                phrase = _title(child) or ("" if hidden else phrase)
                found = self.descend(child, (*path, phrase) if phrase else path, within=hidden)
                if found is not None:
                    return found
        self._around.discard(id(obj))
        if leads_back and self._around:
            self._chain.pop()
            return None  # it fails because of an object around it, which has other parts
        return Culprit(path, obj, why, tuple(self._chain))

    def _is_refused(self, obj: Any) -> bool:
        """Return whether a rule refuses the object for itself, whatever it holds."""
        rule = reducers.find(type(obj), data=self._data)
        try:
            return rule is not None and rule(obj) is None
        except Exception:
            return True


_FRAMEWORKS = ("distgraph", "langgraph", "langchain")
"""Packages whose objects hold the parts of a graph under names that its author does not know."""

_RUNNABLES = "langchain_core.runnables"

_VOCABULARY = ("distgraph.types", "langgraph.types")
"""Modules of objects that users make themselves, such as ``Command`` and ``Send``."""

_CONTAINERS = (dict, list, tuple, set, frozenset)


def _is_hidden(obj: Any, within: bool) -> bool:
    """Return whether ``obj`` holds its content under a name of a framework."""
    if isinstance(obj, _CONTAINERS):
        return within
    if _title(obj):
        return _module(obj).startswith("langchain_core.tools")  # made of the user's function
    if _module(obj) in _VOCABULARY:
        return False
    return _module(obj).partition(".")[0] in _FRAMEWORKS or _module(obj).startswith(_RUNNABLES)


def _module(obj: Any) -> str:
    if isinstance(obj, functools.partial):
        return _module(obj.func)
    if isinstance(obj, types.MethodType):
        return _module(obj.__self__)
    owner = obj if isinstance(obj, (types.FunctionType, type)) else type(obj)
    return owner.__module__ or ""


def _title(obj: Any) -> str:
    """Return the user's name for a part of an agent; an empty string for any other object."""
    if isinstance(obj, type):
        return ""
    names = {(b.__module__.partition(".")[0], b.__name__) for b in type(obj).__mro__}
    if ("langchain", "AgentMiddleware") in names:
        return f"middleware {type(obj).__name__}"
    if ("langchain_core", "BaseTool") in names:
        return f"tool {getattr(obj, 'name', type(obj).__name__)!r}"
    return ""


def children(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects that pickling reaches from an object, each with a phrase for its location.

    An empty phrase marks an internal level, which messages omit.
    """
    for i, item in enumerate(_children(obj)):
        if i == _MAX_CHILDREN:
            return
        yield item


def _children(obj: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(obj, Mapping):
        return _of_mapping(obj)
    if isinstance(obj, (list, tuple)):
        names = getattr(obj, "_fields", None) or ()
        return [
            (f"field {names[i]!r}" if i < len(names) else f"[{i}]", value)
            for i, value in enumerate(obj)
        ]
    if isinstance(obj, (set, frozenset)):
        return [("an element", value) for value in obj]
    if isinstance(obj, types.FunctionType):
        return captured(obj) if pickling.by_value(obj) else ()
    if isinstance(obj, types.MethodType):
        bound = f"the {type(obj.__self__).__name__} object that it is a method of"
        return [(bound, obj.__self__), ("", obj.__func__)]
    if isinstance(obj, functools.partial):
        positional = [(f"argument {i} of its partial", value) for i, value in enumerate(obj.args)]
        named = [(f"argument {name!r} of its partial", v) for name, v in obj.keywords.items()]
        return [("", obj.func), *positional, *named]
    if isinstance(obj, type):
        return _of_class(obj) if pickling.by_value(obj) else ()
    return _of_instance(obj)


def _of_mapping(obj: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in list(obj.items()):
        yield f'["{key}"]' if type(key) is str and '"' not in key else f"[{key!r}]", value
        yield "a key", key


def _of_class(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__bases__:
        yield f"base class {base.__qualname__!r}", base
    for name, value in list(vars(cls).items()):
        inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        kind = "method" if isinstance(inner, types.FunctionType) else "class attribute"
        yield f"{kind} {cls.__qualname__ + '.' + name!r}", inner


def _of_instance(obj: Any) -> Iterator[tuple[str, Any]]:
    wrapped = getattr(obj, "__wrapped__", None)
    if isinstance(wrapped, types.FunctionType):
        yield "", wrapped
    for name, value in _attributes(obj).items():
        yield f"attribute {name!r}", value
    if pickling.by_value(type(obj)):
        yield "the class", type(obj)


def _attributes(obj: Any) -> dict[str, Any]:
    try:
        attributes = dict(vars(obj))
    except TypeError:
        attributes = {}
    for base in type(obj).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else tuple(slots):
            if hasattr(obj, slot):
                attributes.setdefault(slot, getattr(obj, slot))
    attributes.update(getattr(obj, "__pydantic_private__", None) or {})
    return {name: value for name, value in attributes.items() if not name.startswith("__")}


def captured(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function that travels by value takes along."""
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            yield f"captured variable {name!r}", cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
    for name in global_names(function.__code__):
        if name in function.__globals__:
            yield f"global variable {name!r}", function.__globals__[name]
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield f"default of parameter {name!r}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"default of parameter {name!r}", value
    for name, value in vars(function).items():
        yield f"attribute {name!r}", value


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names that a function's code, nested code included, may look up as globals."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(dict.fromkeys(global_names(constant)))
    return tuple(names)


def program_error(owner: str, culprit: Culprit) -> SerializationError:
    """Return the error for a part of a graph that cannot be sent."""
    place = culprit.place or "function"
    titled = any(phrase.startswith(("middleware ", "tool ")) for phrase in culprit.path)
    whose = place if titled or place.startswith(("the ", "an ", "a ")) else f"its {place}"
    return SerializationError(
        f"{owner} cannot be sent to a worker because of {whose} ({type_name(culprit.obj)}): "
        f"{culprit.because()}"
    )
