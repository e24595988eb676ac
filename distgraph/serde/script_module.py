"""The module of a script, in processes that run another program.

Functions and classes of a script or notebook travel by value. Python itself and libraries look
their names up in ``sys.modules``: ``pickle`` and LangGraph's serializer of checkpoints, evaluated
annotations (pydantic, ``typing.get_type_hints``), ``inspect.getsource``, processes that
``multiprocessing`` starts. A process of a worker or driver therefore has a module in place of its
own ``__main__``, which holds what has arrived.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import get_annotations
from types import CodeType, FunctionType, ModuleType
from typing import Any, ForwardRef, get_args

import cloudpickle
from cloudpickle import cloudpickle as _cp
from typing_extensions import is_typeddict

__all__ = (
    "SPAWNED",
    "Names",
    "as_at_home",
    "complete",
    "file_of_script",
    "names_of_load",
    "note_file",
    "script_classes",
    "set_at_home",
    "show",
    "stand_in_for_script",
)

_SCRIPT = "__main__"

SPAWNED = "__mp_main__"
"""Module of the script in a process that ``multiprocessing`` has spawned."""

_FUTURE_ANNOTATIONS = 0x1000000
"""Flag of code that was compiled with ``from __future__ import annotations``."""

_NO_MODULE = ModuleType("")

_LONGEST = 300
"""Characters of an annotation that is read."""


# --- at the sender -------------------------------------------------------------------------------


def as_at_home(obj: Any, reduced: tuple[Any, ...], travels: Callable[[Any], bool]) -> Any:
    """Extend what cloudpickle writes of a function or class by its place in its module.

    Args:
        obj: The function or class.
        reduced: What cloudpickle's reducer returned for it.
        travels: Whether an object that an annotation names can be pickled.
    """
    module = sys.modules.get(obj.__module__ or "")
    if module is None:
        return reduced
    if module.__name__ != _SCRIPT and not _cp._is_registered_pickle_by_value(module):
        return reduced  # a function of a function, say, of a module that the receiver has
    scope = obj.__globals__ if isinstance(obj, FunctionType) else vars(module)
    named = vars(module).get(obj.__qualname__) is obj
    found = {name: scope[name] for name in sorted(_mentioned(obj)) if name in scope}
    # in front of the rest: what a class of pydantic was built from needs what they name
    beside = {name: value for name, value in found.items() if value is obj or travels(value)}
    return (*reduced[:2], (module.__name__, named, beside, reduced[2]), None, None, set_at_home)


def _mentioned(obj: Any) -> set[str]:
    """Return the names in annotations of a class or function that are texts.

    Those of classes and functions that a function defines when it is called are included.
    """
    texts = [text for value in get_annotations(obj).values() for text in _texts(value)]
    if isinstance(obj, FunctionType) and obj.__code__.co_flags & _FUTURE_ANNOTATIONS:
        texts += _texts_within(obj.__code__)
    return {name for text in texts for name in _names(text)}


def _texts(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, str):
        yield annotation
    elif isinstance(annotation, ForwardRef):
        yield annotation.__forward_arg__
    else:
        for part in get_args(annotation):
            yield from _texts(part)


def _texts_within(code: CodeType) -> Iterator[str]:
    """Yield texts of annotations, and perhaps others, of what the code of a function defines."""
    annotates = "__annotations__" in code.co_names  # the body of a class
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _texts_within(constant)
        elif annotates and isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple) and all(isinstance(part, str) for part in constant):
            yield from constant[1::2]  # names of arguments, each followed by its annotation


def _names(text: str) -> set[str]:
    if len(text) > _LONGEST:
        return set()
    try:
        parsed = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return set()
    return {node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)}


def script_classes(pickled: Callable[[type], Any]) -> list[Any]:
    """Return the pickled classes of this process's script, as far as ``pickled`` does not raise.

    Those of other modules that travel by value are included.
    """
    found = list[Any]()
    for module in (_SCRIPT, *sorted(_cp._PICKLE_BY_VALUE_MODULES)):
        for name, cls in list(vars(sys.modules.get(module, _NO_MODULE)).items()):
            own = isinstance(cls, type) and cls.__module__ == module and cls.__qualname__ == name
            if own and not is_typeddict(cls):
                try:
                    found.append(pickled(cls))
                except Exception:  # the error of a value of the class says why
                    continue
    return found


# --- at the receiver -----------------------------------------------------------------------------

_standing_in: dict[str, ModuleType] = {}
"""By name. The module of the script stands in from the start, others from their first object on."""

_kept = list[ModuleType]()
"""The program that this process was started with."""

Names = dict[str, dict[str, Any]]
"""By module, what a graph shows in modules of its script."""


_shown: Mapping[str, Mapping[str, Any]] = {}
"""What the graph has shown whose attempts run."""


class _Load(threading.local):
    """What the load of a graph in this thread has shown."""

    names: Names | None = None


_load = _Load()


@contextmanager
def names_of_load() -> Iterator[Names]:
    """Note what the load of a graph shows in modules of its script. ``show`` shows it again."""
    global _shown
    _load.names = _shown = found = Names()
    try:
        yield found
    finally:
        _load.names = None


def show(names: Mapping[str, Mapping[str, Any]]) -> None:
    """Show what a graph has shown, in front of its attempts.

    Each graph has its own copy of a function, and ``pickle`` takes the copy only that the module
    shows.
    """
    global _shown
    _shown = names
    for module, shown in names.items():
        vars(_standing_in[module]).update(shown)


def stand_in_for_script() -> None:
    """Let a module stand in for the caller's script, in a process that runs another program."""
    if _SCRIPT not in _standing_in:
        _kept.append(sys.modules[_SCRIPT])
        _standing_in[_SCRIPT] = sys.modules[_SCRIPT] = ModuleType(_SCRIPT)


def set_at_home(obj: Any, state: tuple[str, bool, dict[str, Any], Any]) -> Any:
    """Complete a function or class that was made, and show it in the module of its script."""
    module, named, beside, own = state
    complete(obj, own)
    names = dict(beside)
    if isinstance(obj, FunctionType):
        for name, value in beside.items():
            obj.__globals__.setdefault(name, value)
        names |= {k: v for k, v in obj.__globals__.items() if not k.startswith("__")}
    if named:
        names[obj.__qualname__] = obj
    home = _home(module)
    if home is not None:
        if _load.names is None:  # a value: the functions of the graph stay where they are the same
            shown = _shown.get(module, {})
            names = {k: v for k, v in names.items() if not _is_copy(v, shown.get(k))}
        else:
            _load.names.setdefault(module, {}).update(names)
        vars(home).update(names)
    return obj


def _is_copy(value: Any, shown: Any) -> bool:
    both = isinstance(value, FunctionType) and isinstance(shown, FunctionType)
    return both and value.__code__ == shown.__code__


def complete(obj: Any, state: Any) -> None:
    """Set the attributes of a function or class, as cloudpickle does."""
    if isinstance(obj, type):
        _cp._class_setstate(obj, state)
    else:
        _cp._function_setstate(obj, state)


def _home(name: str) -> ModuleType | None:
    """Return the module that stands in for one of the sender, None where none does."""
    if _SCRIPT not in _standing_in:
        return None
    found = _standing_in.get(name)
    if found is None and name == SPAWNED:
        importlib.import_module("multiprocessing")  # gives the name to the program it is loaded by
        found = _stand_in(name)
        note_file(getattr(_standing_in[_SCRIPT], "__file__", None))
    elif found is None and name not in sys.modules and not _can_be_imported(name):
        found = _stand_in(name)
    return found


def _stand_in(name: str) -> ModuleType:
    made = _standing_in[name] = sys.modules[name] = ModuleType(name)
    cloudpickle.register_pickle_by_value(made)
    return made


def _can_be_imported(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def file_of_script() -> str | None:
    """Return the file of this process's script, None in a notebook."""
    file = getattr(sys.modules[_SCRIPT], "__file__", None)
    return os.path.abspath(file) if isinstance(file, str) else None


def note_file(file: str | None) -> None:
    """Let the module that stands in for a script be of its file, where that exists here.

    ``inspect`` and ``multiprocessing`` read it.
    """
    for name in (_SCRIPT, SPAWNED):
        home = _standing_in.get(name)
        if home is not None and file is not None and os.path.exists(file):
            home.__file__ = file
