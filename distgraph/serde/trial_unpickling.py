"""Reading what was pickled where it was pickled, to see whether a worker could.

The trial must not change its own process: classes are those that exist (cloudpickle alone would
overwrite their methods by copies), objects of which there is one per process are made and dropped,
and a serializer that the user has registered, which may need what only workers have, is not called.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from cloudpickle import cloudpickle as _cp

from distgraph.serde import live, reducers, references, script_module
from distgraph.serde.pickling import CodePickler, _known_class, describe

__all__ = ("failure", "read_failure")


class _Unread:
    """Stands for what a serializer of the user makes."""

    def __init__(self, make: Any, args: Any) -> None:
        self.count = 1


def _existing_class(*args: Any) -> Any:
    known = [_cp._DYNAMIC_CLASS_TRACKER_BY_ID.get(a) for a in args if isinstance(a, str)]
    found = [cls for cls in known if cls is not None]
    return found[0] if found else _cp._make_skeleton_class(*args)


def _unchanged(cls: type, state: Any) -> type:
    return cls


def _completed(obj: Any, state: Any) -> Any:
    if not isinstance(obj, type):
        script_module.complete(obj, state[-1])
    return obj


def _by_id(tracker_id: str, blob: bytes) -> Any:
    return _existing_class(tracker_id)


def _reference(number: int, name: str) -> Any:
    return object()


class _Reader(pickle.Unpickler):
    def __init__(self, blob: bytes) -> None:
        super().__init__(io.BytesIO(blob))
        self.unread = False

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if found is reducers.make_as_registered:
            self.unread = True
        try:
            return _INSTEAD.get(found, found)
        except TypeError:  # not hashable
            return found


_INSTEAD: dict[Any, Any] = {
    _cp._make_skeleton_class: _existing_class,
    _cp._make_skeleton_enum: _existing_class,
    _cp._class_setstate: _unchanged,
    script_module.set_at_home: _completed,
    _known_class: _by_id,
    references._referred: _reference,
    live.one_per_process: live.made_anew,
    reducers.make_as_registered: _Unread,
}


def read_failure(blob: bytes) -> BaseException | None:
    """Return the error that prevents a worker from reading ``blob``, a pickle made by this process.

    None if ``blob`` is readable, or if the error may occur on this machine only: a missing file or
    module, or an unusable device (``RuntimeError``).
    """
    reader = _Reader(blob)
    try:
        reader.load()
    except RecursionError as error:
        return error
    except NotImplementedError as error:
        return error
    except (OSError, ImportError, MemoryError, RuntimeError):
        return None
    except Exception as error:
        return None if reader.unread else error
    return None


def failure(obj: Any) -> str:
    """Return in one line why ``obj`` cannot be pickled or read, an empty string where it can."""
    with io.BytesIO() as file:
        try:
            with references.collected():
                CodePickler(file).dump(obj)
        except Exception as exc:
            return describe(exc)
        error = read_failure(file.getvalue())
    return "" if error is None else unreadable(error)


def unreadable(error: BaseException) -> str:
    """Say why a worker cannot make an object from its pickled form."""
    why = f"{type(error).__name__}: {describe(error)}"
    return f"it cannot be made anew from what pickle writes ({why})"
