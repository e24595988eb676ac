"""Tables, ages and amounts as text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ("age", "amount", "table")

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (0.0, "s"))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows below their column heads as lines, each column as wide as its longest cell."""
    all_rows = [columns, *rows]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in all_rows
    ]


def age(seconds: float) -> str:
    """Return a duration in its largest unit: ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    seconds = max(0.0, seconds)
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{int(seconds / (size or 1.0))} {unit}"


def amount(size: float) -> str:
    """Return an amount of bytes: ``512 B``, ``1.5 KiB``, ``20.0 MiB``."""
    units = ["GiB", "MiB", "KiB", "B"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:.0f} B" if units[-1] == "B" else f"{size:.1f} {units[-1]}"
