"""The end of a run, which waits until its data is saved and its cancelled attempts have ended."""

from __future__ import annotations

from distgraph.contract.events import Finish
from distgraph.driver.ports import Group

__all__ = ("RunEnd",)


class RunEnd:
    """Decides when the end of a run is reported."""

    def __init__(self) -> None:
        self._finish: Finish | None = None
        self._is_durable = True
        self._leaving: set[Group] = set()
        """Groups that were cancelled and have not ended yet."""

    @property
    def is_decided(self) -> bool:
        """Whether the engine has ended the run, and the end is not reported yet."""
        return self._finish is not None

    def decide(self, finish: Finish, *, is_durable: bool) -> None:
        """Note how the engine has ended the run, and whether all saved data is durable."""
        self._finish, self._is_durable = finish, is_durable

    def cancelled(self, group: Group) -> None:
        """Note a group that was asked to end: the end of the run waits for it."""
        self._leaving.add(group)

    def ended(self, group: Group) -> None:
        """Note the end of a group, cancelled or not."""
        self._leaving.discard(group)

    def saved(self) -> None:
        """Note that all saved data is durable."""
        self._is_durable = True

    def not_saved(self, error: BaseException) -> None:
        """Note that the saver has failed: that is the run's error, unless it has one."""
        assert self._finish is not None
        if self._finish.error is None:
            self._finish = Finish("error", error=error)
        self._is_durable = True

    def due(self) -> Finish | None:
        """Return the end of the run if nothing has to be waited for."""
        return self._finish if self._is_durable and not self._leaving else None

    def reported(self) -> None:
        """Note that the end was reported, or that none will be."""
        self._finish = None
