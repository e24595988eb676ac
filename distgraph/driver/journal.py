"""The journal of a run: the events that its engine handled and the values that it drew, so that
another driver can take the run over.

An engine that handles the same events, and draws the same values, decides the same. The journal
lies in the run's log, in order with what came of each event: to repeat the journal is to arrive
exactly where the stream stands. Nothing is saved before the journal knows why (``SavesBehind``).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from distgraph.contract.events import (
    AttemptEnded,
    Finish,
    InputEvent,
    Instruction,
    LoadCheckpoint,
    LookUp,
    RunStarted,
    Storage,
    Sync,
    Wake,
)
from distgraph.contract.stream import Journal, Note, Reduced
from distgraph.errors import DriverLost
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import ReferringBlob

__all__ = (
    "Draws",
    "JournalWriter",
    "SavesBehind",
    "current_draws",
    "not_the_same",
    "repeat_journal",
    "repeat_random_bytes",
)


class Draws:
    """What an engine and reducers draw: ids, versions, random bytes.

    While the journal of a lost driver is repeated, they draw what they drew then.
    """

    def __init__(self) -> None:
        self._drawn: list[Any] = []
        self._again: deque[Any] = deque()
        self.repeats = False
        """Whether a journal is repeated."""

    @property
    def next(self) -> Any:
        """What is drawn next while a journal is repeated; None if nothing is."""
        return self._again[0] if self._again else None

    def of(self, source: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``source``, what it returns being kept."""

        def draw(*args: Any) -> Any:
            if self._again:
                value = self._again.popleft()
            else:
                with _drawing(None):  # what a source draws for itself is in its value
                    value = source(*args)
            self._drawn.append(value)
            return value

        return draw

    def repeat(self, drawn: tuple[Any, ...]) -> None:
        """Let the next draws give what was drawn before."""
        self._again.extend(drawn)

    def take(self) -> tuple[Any, ...]:
        """Return what was drawn since the last call.

        Raises:
            DriverLost: Less was drawn than there was to be repeated.
        """
        drawn = tuple(self._drawn)
        self._drawn.clear()
        if self._again:
            raise not_the_same()
        return drawn

    def active(self) -> AbstractContextManager[None]:
        """Keep also the random bytes that this thread takes from the system, as ``uuid4`` does."""
        return _drawing(self)


def current_draws() -> Draws | None:
    """Return the draws of the engine that this thread runs; None for a run without a journal."""
    draws: Draws | None = getattr(_current, "draws", None)
    return draws


_current = threading.local()
_urandom = os.urandom


@contextmanager
def _drawing(draws: Draws | None) -> Iterator[None]:
    around = getattr(_current, "draws", None)
    _current.draws = draws
    try:
        yield
    finally:
        _current.draws = around


def repeat_random_bytes() -> None:
    """Let ``os.urandom`` repeat what it gave in the engine of a run that is taken over.

    For the process of a driver, whose only user code are reducers: they give ids to messages.
    """
    os.urandom = _random_bytes


def _random_bytes(size: int, /) -> bytes:
    draws: Draws | None = getattr(_current, "draws", None)
    if draws is None:
        return _urandom(size)
    found: bytes = draws.of(_urandom)(size)
    return found


class JournalWriter:
    """Writes the journal of one run.

    Args:
        limit: Bytes of events; a run with more cannot be taken over.
        saved: Returns the number of saves that were carried out.
        journal: What an earlier driver of the run has written.
    """

    def __init__(
        self, limit: int, saved: Callable[[], int], journal: Journal | None = None
    ) -> None:
        self.draws = Draws()
        self._left = limit
        self._saved = saved
        self._journal = journal
        if journal is not None and journal.notes:  # the engine draws before its first event
            self.draws.repeat(journal.notes[0].drawn)
            self.draws.repeats = True

    def pack(self, event: InputEvent) -> bytes | None:
        """Pickle an event before the engine handles it. None if it cannot be kept: the journal
        ends."""
        if isinstance(event, AttemptEnded) and event.outcome.tail:
            event = AttemptEnded(replace(event.outcome, tail=()))  # the log has it
        try:
            packed = dumps_data(event)
        except Exception:  # it holds what only this process has
            return None
        self._left -= len(packed)
        # a reference dies with the driver that owns what it refers to
        return None if self._left < 0 or isinstance(packed, ReferringBlob) else packed

    def note(self, packed: bytes) -> Note | None:
        """Return the note of an event that the engine has handled; None as for ``pack``."""
        drawn = self.draws.take()
        for value in drawn:
            if isinstance(value, Reduced):
                self._left -= len(value.packed)
                if self._left < 0 or isinstance(value.packed, ReferringBlob):
                    return None
        return Note(packed, drawn, self._saved())

    def repeat(self) -> Iterator[InputEvent]:
        """Yield the events of the earlier driver. Each is handled before the next is asked for.

        Raises:
            DriverLost: The engine did not draw what it drew for the earlier driver.
        """
        assert self._journal is not None
        for number, note in enumerate(self._journal.notes):
            if number:
                self.draws.repeat(note.drawn)
            self._left -= len(note.event)
            event: InputEvent = loads(note.event)
            yield event
            if len(self.draws.take()) != len(note.drawn):
                raise not_the_same()
        self.draws.repeats = False

    @property
    def saved_before(self) -> int:
        """Saves that the earlier driver is known to have carried out."""
        notes = () if self._journal is None else self._journal.notes
        return max((note.saved for note in notes), default=0)


class Repeated(NamedTuple):
    """Where an engine stands that has handled the events of a journal again."""

    begun: bool
    """Whether the run had been started."""
    unanswered: list[Storage | Wake]
    """Requests to which the journal has no reply."""
    finish: Finish | None
    """The end of the run, if the engine has ended."""


def repeat_journal(
    journal: JournalWriter,
    handle: Callable[[InputEvent], list[Instruction]],
    carry_out: Callable[[Instruction], None],
) -> Repeated:
    """Let an engine handle the events of an earlier driver's journal.

    Args:
        journal: The journal.
        handle: Lets the engine handle an event.
        carry_out: Carries out what is neither a request nor the end of the run.

    Raises:
        DriverLost: The engine did not draw what it drew for the earlier driver.
    """
    asked: dict[str, Storage | Wake] = {}
    finish: Finish | None = None
    begun = False
    for event in journal.repeat():
        begun = begun or isinstance(event, RunStarted)
        asked.pop(getattr(event, "key", ""), None)
        with journal.draws.active():
            for instruction in handle(event):
                if isinstance(instruction, (LoadCheckpoint, LookUp, Sync, Wake)):
                    asked[instruction.key] = instruction
                elif isinstance(instruction, Finish):
                    finish = instruction
                else:
                    carry_out(instruction)
    return Repeated(begun, list(asked.values()), finish)


class SavesBehind:
    """Instructions for the saver that wait until the journal has the events they follow from.

    Args:
        do: Carries an instruction out.
    """

    def __init__(self, do: Callable[[Storage], None]) -> None:
        self._do = do
        self._waiting: list[Storage] = []
        self._of_batches: deque[tuple[int, list[Storage]]] = deque()

    def add(self, instruction: Storage) -> None:
        """Take an instruction that follows from an event of the next batch."""
        self._waiting.append(instruction)

    def read(self, instruction: Storage) -> None:
        """Carry a read out, at once unless something is to be saved before."""
        if self._waiting or self._of_batches:
            self._waiting.append(instruction)
        else:
            self._do(instruction)

    def sent(self, batch: int) -> None:
        """Note that the events so far are on their way to the log."""
        if self._waiting:
            self._of_batches.append((batch, self._waiting))
            self._waiting = []

    def arrived(self, batch: int) -> None:
        """Carry out what follows from the batches up to ``batch``."""
        while self._of_batches and self._of_batches[0][0] <= batch:
            for instruction in self._of_batches.popleft()[1]:
                self._do(instruction)

    def release(self) -> None:
        """Carry out everything: the run ends with this driver."""
        self.sent(0)
        while self._of_batches:
            for instruction in self._of_batches.popleft()[1]:
                self._do(instruction)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._waiting or self._of_batches)


def not_the_same() -> DriverLost:
    """Return the error of a run that another driver cannot take over."""
    return DriverLost(
        "the superstep driver died, and another one could not take the run over: the engine did "
        "not repeat what it had done. A reducer depends on the time or on random numbers. Start "
        "the run again with the input None"
    )
