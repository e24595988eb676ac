"""A run's way to its store: what the run saves, and what must be durable before the run ends."""

from __future__ import annotations

from distgraph.contract.events import LAST, Storage, Sync
from distgraph.driver.journal import SavesBehind
from distgraph.driver.ports import Store

__all__ = ("RunStorage",)


class RunStorage:
    """Carries out the instructions for the saver and the caches.

    Args:
        store: The store; None if the run has neither.
        has_journal: Whether a save waits until the journal has the event that it follows from.
    """

    def __init__(self, store: Store | None, *, has_journal: bool) -> None:
        self._store = store
        self._behind = SavesBehind(store.do) if has_journal and store is not None else None
        self._saves = False
        """Whether the run saved data that may not be durable yet."""
        self._is_last_asked = False
        self.broken = False
        """Whether the saver has failed: no later data is durable."""
        self.saves_known = 0
        """Saves, of those that the engine asks for while a journal is repeated, that are done."""

    def ask(self, instruction: Storage) -> None:
        """Carry out a read or a sync; it waits for the saves before it."""
        assert self._store is not None, "the engine asks, and there is neither saver nor cache"
        if self._behind is None:
            self._store.do(instruction)
        else:
            self._behind.read(instruction)

    def save(self, instruction: Storage) -> None:
        """Carry out a save, once the journal has the event it follows from."""
        self._saves = True
        if self._behind is None:
            self.ask(instruction)
        else:
            self._behind.add(instruction)

    def save_again(self, instruction: Storage) -> None:
        """Carry a save out, unless it is known to be done. What is saved twice is the same."""
        self._saves = True
        self.saves_known -= 1
        if self.saves_known < 0:
            assert self._store is not None, "the engine saves, and there is no saver"
            self._store.do(instruction)

    def finish(self) -> bool:
        """Ask for nothing more. Return whether the run's end waits for ``Synced`` with ``LAST``."""
        syncs = self._saves and not self.broken
        if syncs:
            self.ask(Sync(LAST))
        self._is_last_asked = True
        self._close_if_done()
        return syncs

    @property
    def waits(self) -> bool:
        """Whether anything waits until the log has a batch."""
        return self._behind is not None and not self._behind.is_empty

    def sent(self, batch: int) -> None:
        """Note that the events so far are on their way to the log, with a batch of operations."""
        if self._behind is not None:
            self._behind.sent(batch)

    def arrived(self, batch: int) -> None:
        """Carry out what follows from the events of the batches up to ``batch``."""
        if self._behind is not None:
            self._behind.arrived(batch)
            self._close_if_done()

    def close(self) -> None:
        """Carry out everything that waits, and take nothing any more."""
        if self._behind is not None:
            self._behind.release()
        if self._store is not None:
            self._store.close()

    def _close_if_done(self) -> None:
        behind = self._behind
        if self._is_last_asked and self._store is not None and (behind is None or behind.is_empty):
            self._store.close()
