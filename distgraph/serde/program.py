"""Graph programs on their way to the workers: checked early, pickled once, found by their hash."""

from __future__ import annotations

import importlib
import io
import os
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import is_
from types import CellType, FunctionType
from typing import Any, NamedTuple

from distgraph.contract.spec import GraphProgram, GraphSpec
from distgraph.errors import SerializationError
from distgraph.serde import diagnose, pickling, references, trial_unpickling
from distgraph.serde.module_objects import let_travel_by_name
from distgraph.serde.reloads import After, reloads
from distgraph.serde.sources import is_installed, sources_of

__all__ = (
    "ProgramBlob",
    "check_program",
    "dumps_spec",
    "extend_path",
    "load_program",
    "load_spec",
    "user_paths",
)

_MISSING = object()

_CONTAINERS = (list, set, dict)
_LOOKED_AT = 1000
"""Objects in a container that are compared."""


# --- at the caller -------------------------------------------------------------------------------


def check_program(program: GraphProgram) -> bytes:
    """Pickle a compiled graph as its workers will get it.

    Raises:
        SerializationError: names the node, the variable that it captured, and the remedy.
    """
    return _pickle(program)[0]


class _RecordingPickler(pickling.CodePickler):
    """Remembers which functions it wrote by value."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickling.PROTOCOL)
        self.functions: list[FunctionType] = []

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if isinstance(obj, FunctionType) and reduced is not NotImplemented:
            self.functions.append(obj)
        return reduced


class _Unsent(Exception):
    """A program cannot be pickled, or not be read: why, and what says so of a part."""

    def __init__(self, why: str, reason: diagnose.Reason) -> None:
        super().__init__(why)
        self.why, self.reason = why, reason


def _pickle(program: GraphProgram) -> tuple[bytes, list[FunctionType], list[str]]:
    while True:
        try:
            return _pickle_once(program)
        except _Unsent as unsent:
            found = _culprit(program, unsent.reason)
            if found is None or not let_travel_by_name(found[1].around):
                raise _blame(program, unsent.why, found) from unsent.__cause__


def _pickle_once(program: GraphProgram) -> tuple[bytes, list[FunctionType], list[str]]:
    with io.BytesIO() as file:
        pickler = _RecordingPickler(file)
        try:
            with references.collected() as found, references.staying() as staying:
                modules = reloads()
                pickler.dump(After(modules, program) if modules else program)
        except Exception as exc:
            raise _Unsent(pickling.describe(exc), pickling.reason) from exc
        names = pickler.filenames
        blob = pickling.with_filenames(file.getvalue(), names, sources_of(names))
    if found:
        blob = references.ReferringBlob(blob, found)
    _check_readable(blob)
    return blob, pickler.functions, staying


_readable: OrderedDict[str, None] = OrderedDict()
_READABLE_KEPT = 256


def _check_readable(blob: bytes) -> None:
    """Refuse a program that workers could not read; each blob is tried once."""
    digest = pickling.content_hash(blob)
    if digest in _readable:
        return
    error = trial_unpickling.read_failure(blob)
    if error is not None:
        raise _Unsent(trial_unpickling.unreadable(error), trial_unpickling.failure) from error
    _readable[digest] = None
    while len(_readable) > _READABLE_KEPT:
        _readable.popitem(last=False)


def _culprit(program: GraphProgram, reason: diagnose.Reason) -> tuple[str, diagnose.Culprit] | None:
    """Return the first object that cannot be sent, after the name of its owner."""
    for owner, part in _parts(program, ""):
        culprit = diagnose.find_culprit(part, reason)
        if culprit is not None:
            return owner, culprit
    return None


def _blame(
    program: GraphProgram, why: str, found: tuple[str, diagnose.Culprit] | None
) -> SerializationError:
    if found is not None:
        return diagnose.program_error(*found)
    return SerializationError(f"graph {program.spec.name!r} cannot be sent to a worker: {why}")


def _parts(program: GraphProgram, within: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a program that hold user code, each with the name of its owner."""
    for name, node in program.nodes.items():
        owner = f"node {name!r}{within}"
        yield owner, node.bound
        for writer in node.writers:
            edge = getattr(getattr(writer, "branch", writer), "name", None)
            yield f"conditional edge {edge!r} of {owner}" if edge else owner, writer
        yield owner, node
    for name, child in program.subgraphs.items():
        yield from _parts(child, f" of subgraph {name!r}{within}")
    for key, channel in program.spec.channels.items():
        yield f"state key {key!r}{within}", channel
    for name, spec in program.spec.nodes.items():
        yield f"input schema of node {name!r}{within}", spec.mapper
        yield f"node {name!r}{within}", spec
    yield f"context_schema{within}", program.context_schema
    yield f"store{within}", program.store


class _Binding(NamedTuple):
    """A name that a function looks up, and what it stood for when the function was pickled."""

    scope: Any
    name: str
    value: Any


class ProgramBlob:
    """The pickled program of a compiled graph, pickled again only after a name was rebound.

    A function of ``__main__``, a lambda or a closure takes along what its globals and captured
    variables stand for. ``get`` compares these by identity and pickles anew when one of them is
    another object by now, or when the function's code or defaults were replaced. Lists, sets and
    dicts are looked into. Another object that was changed in place after the first run is not
    noticed; an edit of an imported module is, once this process has reloaded the module.
    """

    def __init__(self, program: GraphProgram) -> None:
        self._program = program
        self.staying: tuple[str, ...] = ()
        """Names of the savers, stores and the like that stay in this process, as of ``get``."""
        self._lock = threading.Lock()
        self._current: tuple[bytes, str] | None = None
        self._reloads = reloads()
        self._globals: list[_Binding] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._contents: list[tuple[Any, _Contents]] = []
        self._functions: list[tuple[FunctionType, Any, Any, Any]] = []

    def check(self) -> None:
        """Pickle the program, and keep nothing of it: what it holds may change until the first run.

        Raises:
            SerializationError: as ``check_program``.
        """
        check_program(self._program)

    def get(self) -> tuple[bytes, str]:
        """Return the blob and the hexadecimal SHA-256 of its content.

        Raises:
            SerializationError: as ``check_program``.
        """
        with self._lock:
            if self._current is None or not self._fresh():
                self._current, self._reloads = None, reloads()
                blob, functions, staying = _pickle(self._program)
                self._watch(functions)
                self.staying = tuple(staying)
                self._current = blob, pickling.content_hash(blob)
            return self._current

    def _fresh(self) -> bool:
        if self._reloads is not reloads():
            return False
        for scope, name, value in self._globals:
            if scope.get(name, _MISSING) is not value:
                return False
        for cell, value in self._cells:
            if _content(cell) is not value:
                return False
        for container, contents in self._contents:
            if not _same(_contents(container), contents):
                return False
        for function, code, defaults, kwdefaults in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not kwdefaults
            ):
                return False
        return True

    def _watch(self, functions: Sequence[FunctionType]) -> None:
        bindings: dict[tuple[int, str], _Binding] = {}
        cells: dict[int, tuple[CellType, Any]] = {}
        for function in functions:
            scope = function.__globals__
            for name in diagnose.global_names(function.__code__):
                value = scope.get(name, _MISSING)
                bindings[id(scope), name] = _Binding(scope, name, value)
            for cell in function.__closure__ or ():
                cells[id(cell)] = cell, _content(cell)
        self._globals = list(bindings.values())
        self._cells = list(cells.values())
        held = {id(v): v for _, _, v in self._globals} | {id(v): v for _, v in self._cells}
        self._contents = [(v, _contents(v)) for v in held.values() if type(v) in _CONTAINERS]
        self._functions = [(f, f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]


class _Contents(NamedTuple):
    lengths: list[int]
    objects: list[Any]


def _contents(container: Any) -> _Contents:
    """Return what a list, set or dict holds, and what the containers in it do, as far as it goes.

    Keys and values of a dict count alike.
    """
    found = _Contents([], [])
    waiting, seen = [container], {id(container)}
    while waiting and (room := _LOOKED_AT - len(found.objects)) > 0:
        container = waiting.pop()
        found.lengths.append(len(container))
        try:
            items = list(islice(container, room))
            if type(container) is dict:
                items += islice(container.values(), room)
        except RuntimeError:  # another thread changes it: then it is never the same
            items = [object()]
        found.objects.extend(items)
        for item in items:
            if type(item) in _CONTAINERS and id(item) not in seen:
                seen.add(id(item))
                waiting.append(item)
    return found


def _same(one: _Contents, other: _Contents) -> bool:
    return one.lengths == other.lengths and all(map(is_, one.objects, other.objects))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return _MISSING


def dumps_spec(spec: GraphSpec, *, with_classes: bool) -> bytes:
    """Pickle the spec of a graph for its driver.

    Args:
        spec: The spec.
        with_classes: Whether the driver also gets the classes of this process's script. A
            saver that it opens finds them by name only.
    """
    classes = pickling.dumps_script_classes() if with_classes else []
    modules, value = reloads(), (spec, classes)
    return pickling.dumps_code(After(modules, value) if modules else value)


def user_paths() -> tuple[str, ...]:
    """Return where this process finds the user's own modules, as absolute paths, in search order.

    That is ``sys.path`` less the standard library and installed packages, which every worker has.
    """
    found: dict[str, None] = {}
    for entry in sys.path:
        path = os.path.abspath(entry)  # an empty entry is the current directory
        if not is_installed(path) and os.path.exists(path):
            found[path] = None
    return tuple(found)


# --- at the worker -------------------------------------------------------------------------------


def extend_path(paths: Sequence[str]) -> bool:
    """Append the existing directories of ``paths`` to ``sys.path``; return whether any was new."""
    new = [path for path in paths if path not in sys.path and os.path.exists(path)]
    sys.path.extend(new)
    if new:
        importlib.invalidate_caches()
    return bool(new)


def load_spec(blob: bytes) -> GraphSpec:
    """Unpickle what ``dumps_spec`` pickled, on the driver."""
    spec, classes = pickling.loads(blob)
    pickling.learn_classes(classes)
    known: GraphSpec = spec
    return known


def load_program(blob: bytes, paths: Sequence[str] = ()) -> GraphProgram:
    """Unpickle a program on a worker.

    Args:
        blob: What ``check_program`` or ``ProgramBlob.get`` returned.
        paths: The caller's ``user_paths()``: where they exist here as well (one machine, a shared
            file system), they are searched for a module that is missing.

    Raises:
        SerializationError: a module is missing here or differs from the caller's; names it, this
            host, and the remedies.
    """
    try:
        try:
            return _loaded(blob)
        except ModuleNotFoundError:
            if not extend_path(paths):
                raise
            return _loaded(blob)
    except SerializationError:
        raise
    except ModuleNotFoundError as exc:
        raise SerializationError(_missing_module(exc.name or str(exc))) from exc
    except Exception as exc:
        raise SerializationError(
            f"the graph's program cannot be read on host {socket.gethostname()}: "
            f"{type(exc).__name__}: {pickling.describe(exc)}. Remedy: install the caller's versions"
            " of the modules that its nodes use on every node of the cluster, or ship them with "
            'ray.init(runtime_env={"working_dir": "."})'
        ) from exc


def _loaded(blob: bytes) -> GraphProgram:
    program: GraphProgram = pickling.loads(blob)
    return program


def _missing_module(module: str) -> str:
    top = module.partition(".")[0]
    return (
        f"a node needs module {module!r}, which is not installed on host {socket.gethostname()}. "
        'Remedy, one of: ship your own code with ray.init(runtime_env={"working_dir": "."}) or '
        f'runtime_env={{"py_modules": [{top}]}}; install the package on every node, or with '
        f'runtime_env={{"pip": [{top!r}]}}; or, for a module of pure Python, call '
        f"cloudpickle.register_pickle_by_value({top}) before the run"
    )
