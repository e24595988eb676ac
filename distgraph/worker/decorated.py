"""A decorated function on its way to a worker, and the call of it there."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from distgraph.errors import SerializationError
from distgraph.worker.user_functions import INJECTED, wants_injection

__all__ = ("Decorated", "checked_name", "is_generator", "name_of")


class Decorated:
    """A user's function with the parts of the context that its signature names.

    Called as ``decorated(args, kwargs, context)``. A parameter that the caller gave is left as it
    is. Where the decorator left another object under the function's name in its module, the
    function is found there by workers, as undecorated functions are: it travels as that name.
    """

    __slots__ = ("_injected", "_shipped", "func", "is_async", "what")

    def __init__(self, func: Callable[..., Any], what: str) -> None:
        self.func = func
        self.what = what
        self.is_async = _is_async(func)
        self._injected = _injected(func)
        self._shipped: tuple[bytes, str] | None = None

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Any) -> Any:
        given = dict(kwargs)
        for name, position in self._injected:
            if name not in given and (position is None or position >= len(args)):
                given[name] = getattr(context, name)
        value = self.func(*args, **given)
        if not self.is_async and inspect.iscoroutine(value):
            value.close()
            raise TypeError(
                f"{self.what} is a plain function that returned a coroutine. Declare it "
                "`async def`, so that it is awaited"
            )
        return value

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, as callbacks receive them."""
        try:
            signature = inspect.signature(self.func)
            bound = signature.bind_partial(*args, **kwargs)
        except (TypeError, ValueError):
            return {"args": args, "kwargs": dict(kwargs)}
        bound.apply_defaults()
        found = {k: v for k, v in bound.arguments.items() if k not in ("self", "cls")}
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                found.update(found.pop(name, {}))
        return found

    def shipped(self) -> tuple[bytes, str]:
        """Return the pickle, made once in a process, and a hash of it.

        Raises:
            SerializationError: The function cannot be sent to a worker.
        """
        if self._shipped is None:
            from distgraph.serde.pickling import content_hash, dumps_code

            try:
                blob = dumps_code(self)
            except SerializationError as error:
                raise SerializationError(f"{self.what}: {error}") from error
            self._shipped = blob, content_hash(blob)
        return self._shipped

    def __reduce__(self) -> Any:
        module, name = getattr(self.func, "__module__", None), _path(self.func)
        if module is not None and self._is_at(module, name):
            return _from_module, (module, name, self.what)
        return Decorated, (self.func, self.what)

    def _is_at(self, module: str, name: str) -> bool:
        """Whether workers find the undecorated function under its own name."""
        from distgraph.serde.pickling import found_under

        return getattr(found_under(module, name), "decorated", None) is self

    def __repr__(self) -> str:
        return f"Decorated({self.func!r})"


def _from_module(module: str, name: str, what: str) -> Decorated:
    __import__(module)
    holder: Any = sys.modules[module]
    for part in name.split("."):
        holder = getattr(holder, part)
    decorated = getattr(holder, "decorated", None)
    if not isinstance(decorated, Decorated):
        raise ModuleNotFoundError(
            f"{what} is not in module {module!r} here, under the name {name!r}", name=module
        )
    return decorated


def name_of(func: Any) -> str:
    """Return the name of a function, of what a partial binds, or of a callable object's class."""
    if isinstance(func, functools.partial) and not hasattr(func, "__name__"):
        return name_of(func.func)
    return str(getattr(func, "__name__", type(func).__name__))


def checked_name(name: str, what: str) -> str:
    """Return a name, having checked that namespaces can hold it.

    Raises:
        ValueError: It contains what separates the parts of a namespace.
    """
    for reserved in ("|", ":"):
        if reserved in name:
            raise ValueError(f"{what} `{name}`: {reserved!r} is reserved, give it another name")
    return name


def _path(func: Any) -> str:
    return str(getattr(func, "__qualname__", ""))


def _is_async(func: Any) -> bool:
    while isinstance(func, functools.partial):
        func = func.func
    call = getattr(type(func), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(func) or (
        not inspect.isroutine(func) and inspect.iscoroutinefunction(call)
    )


def is_generator(func: Any) -> bool:
    """Whether a function yields."""
    while isinstance(func, functools.partial):
        func = func.func
    call = getattr(type(func), "__call__", None)  # noqa: B004
    several = [func] if inspect.isroutine(func) else [func, call]
    return any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in several)


def _injected(func: Any) -> tuple[tuple[str, int | None], ...]:
    """Return the parameters to fill in, each with its position where it has one."""
    try:
        parameters = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        return ()
    found: list[tuple[str, int | None]] = []
    for position, parameter in enumerate(parameters):
        if parameter.name in INJECTED and wants_injection(parameter):
            if parameter.kind is parameter.KEYWORD_ONLY:
                found.append((parameter.name, None))
            elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                found.append((parameter.name, position))
    return tuple(found)
