"""Writers of a node, which run after the node and turn its return value into writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from distgraph._internal.keys import BRANCH_TO, ROOT, TASKS
from distgraph._internal.mistakes import nearest
from distgraph._internal.schema_objects import object_updates
from distgraph.constants import END, START
from distgraph.contract.spec import Reader, Write
from distgraph.errors import InvalidUpdateError, ParentCommand
from distgraph.interop import own
from distgraph.types import Command, Send

__all__ = ("EdgeWriter", "StateWriter")


@dataclass(frozen=True)
class EdgeWriter:
    """Writes that are the same whatever the node returned: its edges and joins."""

    writes: tuple[Write, ...]
    is_async: ClassVar[bool] = False

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return self.writes

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return self.writes


@dataclass(frozen=True)
class StateWriter:
    """State updates, ``Command`` and ``Send`` in a node's return value.

    Attributes:
        node: Name of the node, for errors.
        keys: State keys that the node may write; others in a dict are ignored.
    """

    node: str
    keys: tuple[str, ...]
    is_async: ClassVar[bool] = False

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        """Return the writes.

        Raises:
            InvalidUpdateError: The value cannot update the state.
            ParentCommand: The value is, or holds, a ``Command(graph=Command.PARENT)``.
        """
        if type(value) is dict and self.keys != (ROOT,):  # as most nodes return
            known = [(key, item) for key, item in value.items() if key in self.keys]
            if len(known) == len(value):
                return known
        value = own(value)
        writes = (*self._updates(value), *self._control(value))
        for key in () if context is None else self._unknown(value):
            message = f"node {self.node!r} returned {key!r}, which is no state key and is ignored."
            context.ignored.append(message + nearest(key, self.keys))
        return writes

    def _unknown(self, value: Any) -> list[Any]:
        """Return the keys of an update that are no state keys."""
        if self.node == START:  # what the caller passes is checked where the run begins
            return []
        if isinstance(value, Command):
            value = value.update if value.graph != Command.PARENT else None
        if self.keys == (ROOT,) or not isinstance(value, dict):
            return []
        return [key for key in value if key not in self.keys]

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return self(value, read, context)

    def _updates(self, value: Any) -> Sequence[Write]:
        if isinstance(value, Command):
            return self._of_command(value)
        if isinstance(value, Send):
            return ()
        if isinstance(value, (list, tuple)) and any(
            isinstance(item, Command) or (isinstance(item, Send) and self.keys != (ROOT,))
            for item in value
        ):
            writes: list[Write] = []
            for item in value:
                writes.extend(self._updates(item))
            return writes
        if value is None:
            return ()
        if self.keys == (ROOT,):
            return ((ROOT, value),)
        if isinstance(value, dict):
            return [(key, item) for key, item in value.items() if key in self.keys]
        updates = object_updates(value, self.keys)
        if updates is None:
            got = f"Expected dict, got {_shown(value)} ({type(value).__name__})."
            if self.node == START:
                raise InvalidUpdateError(
                    f"Input of the graph: {got} Pass a dict of state keys, an object of the "
                    "state's class, a Command, or None to continue a thread"
                )
            raise InvalidUpdateError(
                f"Node `{self.node}`: {got} Return a dict of state keys, a Command, a Send, a list "
                "with Commands or Sends, an object of the state's class, or None"
            )
        return updates

    def _of_command(self, command: Command[Any]) -> Sequence[Write]:
        if command.graph == Command.PARENT:
            return ()
        updates = command.update_as_tuples()
        if self.keys == (ROOT,):
            return updates
        if updates and updates == [(ROOT, command.update)]:
            raise InvalidUpdateError(
                f"Node `{self.node}`: Command(update=…) must be a dict of state keys, a list of "
                "(key, value) pairs or an object of the state's class, got "
                f"{_shown(command.update)}"
            )
        return [(key, item) for key, item in updates if key in self.keys]

    def _control(self, value: Any) -> Sequence[Write]:
        if isinstance(value, (list, tuple)):
            return [w for item in value for w in self._control_of(item)]
        return self._control_of(value)

    def _control_of(self, value: Any) -> Sequence[Write]:
        if isinstance(value, Send):
            return ((TASKS, value),)
        if not isinstance(value, Command):
            return ()
        if value.graph == Command.PARENT:
            raise ParentCommand(value)
        targets: Any = value.goto
        if isinstance(targets, (str, Send)):
            targets = (targets,)
        writes: list[Write] = []
        for target in targets:
            if isinstance(target, Send):
                writes.append((TASKS, target))
            elif not isinstance(target, str):
                raise InvalidUpdateError(
                    f"Node `{self.node}`: Command(goto=…) takes node names and Sends, "
                    f"got {target!r}"
                )
            elif target != END:
                writes.append((BRANCH_TO.format(target), None))
        return writes


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
