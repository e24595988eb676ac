"""Turns objects into bytes and back: data fast, code by value.

Two ways in, one way out. ``dumps_data`` is for what flows during a run (state, writes, events): the
plain C pickler, and cloudpickle only where plain pickle fails or would be wrong. ``dumps_code`` is
for what is shipped once (graphs, functions, schema classes): cloudpickle at once. ``loads`` reads
both, in any process that can import distgraph.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Generic

import cloudpickle
from cloudpickle import cloudpickle as _cp
from typing_extensions import is_typeddict

from distgraph.concurrency.forking import free_in_forks
from distgraph.errors import SerializationError
from distgraph.serde import module_objects, reducers, references, script_module
from distgraph.serde.reducers import register_serializer
from distgraph.serde.sources import keep_sources
from distgraph.serde.structs import with_fields

if TYPE_CHECKING:
    from distgraph.serde.diagnose import Culprit

__all__ = ("dumps", "dumps_code", "dumps_data", "loads", "register_serializer")

PROTOCOL = 5

# Classes and functions of __main__ are what plain pickle gets wrong without failing: it writes
# their names, and the reader has another __main__. Protocol 5 writes a module's name as exactly
# these bytes, whereas a text that merely contains the word is written with another length.
_OF_MAIN = b"\x8c\x08__main__"

# The pickler writes frames, and texts and bytes objects of 64 KiB or more in pieces of their own. A
# frame ends when it has reached 64 KiB: a piece above twice that size names no module.
_LONGEST_FRAME = (1 << 17) + 4096

_PLAIN = frozenset({bool, bytes, float, int, str, type(None)})
"""Types whose values hold nothing that a rule is for. State keys are often of these."""

_class_lock = free_in_forks(threading.RLock())
_class_blobs: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle, with distgraph's rules before its own."""

    _of_data = False

    def __init__(self, file: Any, protocol: int = PROTOCOL) -> None:
        super().__init__(file, protocol)
        self._ordinary: set[type] = set()
        self.filenames: list[str] = []
        """File names of the pickled code, in order."""

    def reducer_override(self, obj: Any) -> Any:
        cls = type(obj)
        if not self._of_data and (named := module_objects.reduce_by_name(obj)) is not None:
            return named
        if cls in self._ordinary:
            return NotImplemented
        if cls is CodeType:
            self.filenames.append(obj.co_filename)
            return _code, (len(self.filenames) - 1, *_cp._code_reduce(obj)[1])
        rule = reducers.find(cls, data=self._of_data)
        if rule is not None:
            reduced = rule(obj)
            if reduced is not NotImplemented:
                return reduced
        elif cls is not FunctionType and not issubclass(cls, type):
            self._ordinary.add(cls)
            return NotImplemented
        elif cls is FunctionType and obj.__dict__.keys() >= _SINGLEDISPATCH:
            obj._clear_cache()  # every process fills its own
        _send_unimportable(obj)
        reduced = super().reducer_override(obj)
        if not isinstance(reduced, tuple) or len(reduced) != 6:
            return reduced
        if isinstance(obj, type):  # by value
            if _PARENT_NAMESPACE in obj.__dict__:
                _leave_surroundings(obj, reduced[2][0])
            if is_typeddict(obj):
                make, (meta, name, bases, *rest), *state = reduced
                reduced = make, (meta, name, _typed_dict_bases(obj, bases), *rest), *state
            if reduced[0] is _cp._make_skeleton_class and obj.__qualname__ != obj.__name__:
                reduced[1][3]["__qualname__"] = obj.__qualname__  # cloudpickle leaves it out
            reduced = with_fields(obj, reduced)
        return script_module.as_at_home(obj, reduced, _travels)


def _travels(value: Any) -> bool:
    """Whether what an annotation names can be pickled; errors of types are the user's to see."""
    return isinstance(value, (type, FunctionType, ModuleType)) or not reason(value)


_modules_seen: dict[str, ModuleType] = {}


def _send_unimportable(obj: Any) -> None:
    """Let the module of a function or class travel by value, if no other process can import it.

    Servers load a user's file under a name of their own, such as ``__agent``.
    """
    name = getattr(obj, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or _modules_seen.get(module.__name__) is module:
        return
    _modules_seen[module.__name__] = module
    if module.__name__ == name != "__main__" and not _is_importable(name, module):
        cloudpickle.register_pickle_by_value(module)


def _is_importable(name: str, module: ModuleType) -> bool:
    """Return whether an import of the name finds the file that the module was loaded from."""
    if name == script_module.SPAWNED:
        return False
    parent = name.rpartition(".")[0]
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    no_file = spec is None and getattr(module, "__file__", None) is None
    made = no_file and not parent and type(module) is ModuleType  # by code, not by an import
    if not made and (not isinstance(origin, str) or not origin.endswith(".py")):
        return True
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and path is None:
        return False
    finders = [find for finder in sys.meta_path if (find := getattr(finder, "find_spec", None))]
    found: Any = next((spec for find in finders if (spec := find(name, path)) is not None), None)
    if found is None or not isinstance(origin, str):
        return found is not None
    return os.path.realpath(found.origin or "") == os.path.realpath(origin)


_SINGLEDISPATCH = {"registry", "dispatch", "_clear_cache"}
"""Attributes of a function of ``functools.singledispatch``."""


class _Names(threading.local):
    """The names of files for the code that is read just now."""

    current: Sequence[str] = ()


_names = _Names()


def _code(number: int, *parts: Any) -> CodeType:
    """Make a code object, of the file that it came from: cloudpickle leaves the name out."""
    code = CodeType(*parts)
    if number < len(_names.current):
        code = code.replace(co_filename=_names.current[number])
    return code


_NAMED = b"\x00distgraph-filenames"
"""Ends a pickle that is followed by names and sources of files, and by their length in eight
bytes."""


def with_filenames(
    blob: bytes, names: Sequence[str], sources: Mapping[str, str] | None = None
) -> bytes:
    """Append the file names of a pickle's code to the pickle, and the text of these files.

    Both are separate, because they differ between processes while the code is equal.
    """
    if not names:
        return blob
    script = script_module.file_of_script()
    files = pickle.dumps((list(names), dict(sources or {}), script), PROTOCOL)
    return b"".join((blob, files, len(files).to_bytes(8, "little"), _NAMED))


def content_hash(blob: bytes) -> str:
    """Return the hexadecimal SHA-256 of a pickle, without the appended file names."""
    end = _end_of(blob)
    content = hashlib.sha256(blob if end is None else blob[:end])
    if isinstance(blob, references.ReferringBlob):
        content.update(repr(blob.references).encode())
    return content.hexdigest()


def _end_of(blob: bytes | bytearray | memoryview) -> int | None:
    """Return where the pickle ends that names of files follow, None where none do."""
    tail = len(_NAMED)
    if bytes(blob[-tail:]) != _NAMED:
        return None
    return len(blob) - tail - 8 - int.from_bytes(blob[-tail - 8 : -tail], "little")


def _typed_dict_bases(cls: Any, bases: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the bases to make a TypedDict from, which Python 3.10 and 3.11 may not keep.

    A TypedDict that is derived from another one has ``dict`` as its base. What it has inherited is
    among its own attributes.
    """
    root = sys.modules[type(cls).__module__].TypedDict
    generic: Any = Generic
    found = [root if base is dict else base for base in bases if base is not generic]
    if generic in bases and cls.__parameters__:
        found.append(generic[cls.__parameters__])
    return tuple(found)


_PARENT_NAMESPACE = "__pydantic_parent_namespace__"


def _leave_surroundings(cls: type, state: dict[str, Any]) -> None:
    """Omit the local variables of the function that defines a pydantic class.

    Pydantic looks there for the names in annotations, as long as it has not found them all.
    """
    beside = state.get(_PARENT_NAMESPACE)
    if beside is not None:
        incomplete = not getattr(cls, "__pydantic_complete__", False)
        kept = {k: v for k, v in beside.items() if isinstance(_referent(v), type)}
        state[_PARENT_NAMESPACE] = kept if incomplete else None


def _referent(value: Any) -> Any:
    return value() if type(value).__name__ == "_PydanticWeakRef" else value


class _DataPickler(CodePickler):
    """Writes a class that must go by value as its id and a blob that is made once.

    A reader that knows the class neither unpickles it again nor overwrites its attributes. So an
    object that comes home is an instance of the very class that it left as, and that class has not
    changed (cloudpickle alone replaces its methods by copies with other globals).
    """

    _of_data = True

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            return _known_class, (_cp._get_or_create_tracker_id(obj), _class_blob(obj))
        return reduced


def _class_blob(cls: type) -> bytes:
    blob = _class_blobs.get(cls)
    if blob is None:
        blob = _class_blobs[cls] = _run(CodePickler, cls)
    return blob


def dumps_script_classes() -> list[bytes]:
    """Pickle the classes of this process's script, as far as they can be, each on its own.

    ``loads`` of each lets a process find the class by its name, as savers do that read a
    checkpoint.
    """
    return script_module.script_classes(_class_reference)


def _class_reference(cls: type) -> bytes:
    blob = _class_blob(cls)
    return pickle.dumps((_cp._get_or_create_tracker_id(cls), blob), PROTOCOL)


def learn_classes(pickled: Sequence[bytes]) -> None:
    """Make the classes that ``dumps_script_classes`` pickled, where this process lacks them."""
    for blob in pickled:
        _known_class(*pickle.loads(blob))


def _known_class(tracker_id: str, blob: bytes) -> Any:
    """Return the class that this process has under the id, or make it from ``blob``."""
    with _class_lock:
        known = _cp._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
        return loads(blob) if known is None else known


class _Pieces(list[bytes]):
    """A file that keeps what is written as it is."""

    write = list.append


def _run(pickler: Any, obj: Any) -> bytes:
    with io.BytesIO() as file:
        writer = pickler(file, PROTOCOL)
        with references.collected() as found:
            writer.dump(obj)
        return _referring(with_filenames(file.getvalue(), writer.filenames), found)


def _referring(blob: bytes, found: Sequence[Any]) -> bytes:
    return references.ReferringBlob(blob, found) if found else blob


def dumps_code(obj: Any) -> bytes:
    """Pickle functions, classes and their containers: ``__main__``, lambdas and closures by value.

    Raises:
        SerializationError: something in it cannot be pickled; the message says what and why.
    """
    while True:
        try:
            return _run(CodePickler, obj)
        except Exception as exc:
            culprit = _culprit(obj, CodePickler)
            if culprit is None or not module_objects.let_travel_by_name(culprit.around):
                raise _explained(culprit, exc) from exc


def dumps_data(obj: Any, *, name: str = "") -> bytes:
    """Pickle a value of the state, a write, or an event.

    Args:
        obj: The value.
        name: The user's name for the value, for errors: ``config`` gives
            ``config["configurable"]``.

    Raises:
        SerializationError: something in it cannot be pickled; the message says where and why.
    """
    if type(obj) in _PLAIN:
        return pickle.dumps(obj, PROTOCOL)
    try:
        pieces, found = _pickled(obj)
        if _plain_is_right(pieces):
            blob = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            return references.ReferringBlob(blob, found) if found else blob
    except Exception:
        pass
    try:
        return _run(_DataPickler, obj)
    except Exception as exc:
        raise _explained(_culprit(obj, _DataPickler), exc, name) from exc


def dumps_parcel(obj: Any) -> Any:
    """Variant of ``dumps_blobs`` for a Ray call, whose arguments may contain object references."""
    return references.parcel(dumps_blobs(obj))


def dumps_blobs(obj: Any) -> bytes:
    """Pickle what holds pickles, with the references that stand beside these."""
    pieces, found = _pickled(obj)
    return _referring(pieces[0] if len(pieces) == 1 else b"".join(pieces), found)


def _pickled(obj: Any) -> tuple[list[bytes], list[Any]]:
    """Pickle plainly. Return the pieces of the pickle, and the references that stand in it."""
    pieces = _Pieces()
    pickler = pickle.Pickler(pieces, PROTOCOL)
    pickler.dispatch_table = reducers.dispatch_table()
    here = references.here  # as ``references.collected``: most of what travels is pickled here
    around, here.found = here.found, []
    try:
        pickler.dump(obj)
        return pieces, here.found
    finally:
        here.found = around


dumps = dumps_data
"""Pickle anything. Where the kind is known, ``dumps_code`` saves a vain attempt."""


def loads(blob: bytes | bytearray | memoryview | references.Parcel) -> Any:
    """Read what ``dumps``, ``dumps_data`` or ``dumps_code`` wrote."""
    if type(blob) is bytes and not blob.endswith(_NAMED):
        return pickle.loads(blob)
    if isinstance(blob, references.Parcel):
        blob = references.ReferringBlob(blob.blob, blob.references)
    if isinstance(blob, references.ReferringBlob):
        with references.reading(blob):
            return loads(bytes(blob))
    end = _end_of(blob)
    if end is None:
        return pickle.loads(blob)
    around = _names.current
    _names.current, sources, script = pickle.loads(blob[end:])
    keep_sources(sources)
    script_module.note_file(script)
    try:
        return pickle.loads(blob)
    finally:
        _names.current = around


def _plain_is_right(pieces: list[bytes]) -> bool:
    """Return whether no class or function was written by name that has to go by value."""
    for piece in pieces:
        if len(piece) <= _LONGEST_FRAME:
            if _OF_MAIN in piece:
                return False
            if _cp._PICKLE_BY_VALUE_MODULES and any(
                name.encode() in piece for name in _cp._PICKLE_BY_VALUE_MODULES
            ):
                return False
    return True


def by_value(obj: Any) -> bool:
    """Return whether a function or class travels by value: its module is not the receiver's."""
    if not isinstance(obj, (FunctionType, type)):
        return False
    _send_unimportable(obj)
    return not _cp._should_pickle_by_reference(obj)


def named_by_module(obj: Any) -> bool:
    """Return whether the receiver finds ``obj`` under its name in a module that it can import."""
    found = _cp._lookup_module_and_qualname(obj)
    return found is not None and not _cp._is_registered_pickle_by_value(found[0])


def found_under(module: str, path: str) -> Any:
    """Return the object at a dotted path in a module that a receiver can import, or None."""
    home = sys.modules.get(module)
    main = sys.modules.get("__main__")  # multiprocessing gives it a second name
    if home is None or home is main or _cp._is_registered_pickle_by_value(home):
        return None
    found: Any = home
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def reason(obj: Any, pickler: type[CodePickler] = CodePickler) -> str:
    """Return in one line why ``obj`` does not pickle, or an empty string where it does."""
    try:
        _run(pickler, obj)
    except Exception as exc:
        return describe(exc)
    return ""


# A limit that is raised holds in the caller and its workers, not in the driver; from Python 3.12 on
# it does not hold for code in C.
TOO_DEEP = (
    "it is nested too deep for pickle. Remedy: flatten it, as into a list of items that name their "
    "parents; a higher sys.setrecursionlimit does not help"
)

_OWN_FRAMES = 50
"""More than the frames of Python code between a call of the pickler and the pickler itself."""


def _is_too_deep(exc: BaseException) -> bool:
    """Return whether the pickler had no room for what it was given.

    A method that calls itself without end, such as a ``__reduce__``, leaves its frames behind.
    """
    error = exc if isinstance(exc, RecursionError) else exc.__cause__  # cloudpickle's own
    if not isinstance(error, RecursionError):
        return False
    frames = itertools.islice(traceback.walk_tb(error.__traceback__), _OWN_FRAMES)
    return sum(1 for _ in frames) < _OWN_FRAMES


def describe(exc: BaseException) -> str:
    """Return a one-line description of a pickling error."""
    if _is_too_deep(exc):
        return TOO_DEEP
    text = " ".join(str(exc).split())
    return text or type(exc).__name__


def _culprit(obj: Any, pickler: type[CodePickler]) -> Culprit | None:
    from distgraph.serde import diagnose

    return diagnose.find_culprit(
        obj, lambda part: reason(part, pickler), data=pickler is _DataPickler
    )


def _explained(culprit: Culprit | None, exc: Exception, name: str = "") -> SerializationError:
    if culprit is None:
        return SerializationError(describe(exc))
    return SerializationError(culprit.sentence(name))
