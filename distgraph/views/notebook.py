"""A run as one cell output of a notebook that is updated while the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from distgraph.views.model import Snapshot
from distgraph.views.page import page

__all__ = ("NotebookView",)


class NotebookView:
    """Updates one output. ``text``: whether the text of models is shown."""

    interval = 0.3

    def __init__(self, text: bool = False) -> None:
        self._text = text
        self._title = ""
        self._ranks: Sequence[Sequence[str]] = ()
        self._display: Any = import_module("IPython.display")
        self._output: Any = None

    def begin(self, title: str, ranks: Sequence[Sequence[str]]) -> None:
        """Open the output."""
        self._title, self._ranks = title, ranks
        self._output = self._display.display(self._display.HTML(""), display_id=True)

    def token(self, text: str) -> None:
        """The page shows the text."""

    def draw(self, now: Snapshot) -> None:
        """Show a moment."""
        shown = page(self._title, self._ranks, now, text=self._text)
        self._output.update(self._display.HTML(shown))

    def end(self, now: Snapshot) -> None:
        """Show the end."""
        self.draw(now)
