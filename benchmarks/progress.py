"""How far a measurement is, on the standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.harness import Tell


@contextmanager
def progress(title: str, total: int) -> Iterator[Tell]:
    """Show how many of ``total`` measurements are done."""
    done = 0
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        Console = Progress = None  # type: ignore[assignment, misc]
    console = Console(stderr=True) if Console is not None else None
    if console is None or not console.is_terminal:

        def tell(what: str) -> None:
            nonlocal done
            done += 1
            print(f"[{title} {done}/{total}] {what}", file=sys.stderr, flush=True)

        yield tell
        return
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(title, total=total)

        def show(what: str) -> None:
            nonlocal done
            progress.update(bar, completed=done, description=f"{title}: {what}")
            done += 1

        yield show
