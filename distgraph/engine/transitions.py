"""What happened on a machine: its last transitions, and a recording that can be replayed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distgraph.contract.events import InputEvent, RunOptions
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import shown_attempt

__all__ = ("Recording", "Story", "Transition")


class Transition(NamedTuple):
    """One change of state of a task, of a graph or of the run. Holds no user data."""

    event: int
    """Number of the event that caused the transition, from 1."""
    cause: str
    """Class of that event."""
    name: str
    """Name of the node or graph, "" for the run."""
    id: str
    """Id of the task, with the number of its part; namespace of a graph; "" for the run."""
    start: str
    finish: str

    def __str__(self) -> str:
        subject = f"{self.name} {self.id}".strip() or "run"
        return f"event {self.event} ({self.cause}): {subject}: {self.start} -> {self.finish}"


State = str | int
"""A state by name, or the number of a running attempt."""


class Story:
    """The last transitions of a machine, each with the event that caused it."""

    def __init__(self) -> None:
        self._transitions: deque[tuple[int, type[Any], str, str, State, State]] = deque(maxlen=64)
        self._events = 0
        self._cause: type[Any] = type(None)

    def begin(self, event: InputEvent) -> None:
        """Make ``event`` the cause of the transitions that follow."""
        self._events += 1
        self._cause = type(event)

    def note(self, name: str, id: str, start: State, finish: State) -> None:
        """Add a transition. A number stands for the attempt with that number."""
        self._transitions.append((self._events, self._cause, name, id, start, finish))

    def of(self, id: str | None = None) -> tuple[Transition, ...]:
        """Return the transitions of a task (its parts included) or graph, or all of them."""
        return tuple(
            Transition(event, cause.__name__, name, subject, _words(start), _words(finish))
            for event, cause, name, subject, start, finish in self._transitions
            if id is None or subject.startswith(id)
        )


def _words(state: State) -> str:
    return f"attempt {shown_attempt(state)}" if isinstance(state, int) else state


@dataclass
class Recording:
    """All that decides what a machine does. Picklable if the graph's reducers are.

    Ids that are drawn for messages of a ``DeltaChannel`` are not part of it.
    """

    spec: GraphSpec
    options: RunOptions
    events: list[InputEvent] = field(default_factory=list)
    """Copies, made before reducers could change a value in place."""
    drawn: list[Any] = field(default_factory=list)
    """Checkpoint ids, versions and random numbers, in the order in which the machine drew them."""

    def keep(self, event: InputEvent) -> None:
        """Add an event. Values that cannot be copied are kept as they are."""
        try:
            self.events.append(deepcopy(event))
        except Exception:
            self.events.append(event)

    def drawing(self, source: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``source``, what it returns being recorded."""

        def draw(*args: Any) -> Any:
            value = source(*args)
            self.drawn.append(value)
            return value

        return draw
