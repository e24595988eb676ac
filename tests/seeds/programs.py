"""Runs blocks of a guide as a reader would: one after another, as cells or as a script."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import textwrap
import types
from typing import Any

HEAD = "async def main():\n"


def migrated(code: str, package: str) -> str:
    """Swap the package of the imports: the whole migration of a reader's program."""
    return re.sub(r"^(\s*from )langgraph\b", rf"\1{package}", code, flags=re.M)


def run_cells(package: str, *cells: str) -> tuple[str, dict[str, Any]]:
    """Execute cells in one namespace named ``__main__``, awaiting at top level as notebooks do.

    Returns: what the cells printed, and their names.
    """
    module = types.ModuleType("__main__")
    names = module.__dict__
    printed = io.StringIO()

    async def run() -> None:
        for i, cell in enumerate(cells):
            code = compile(
                migrated(cell, package),
                f"<cell {i}>",
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            if code.co_flags & inspect.CO_COROUTINE:
                await eval(code, names)
            else:
                exec(code, names)

    with contextlib.redirect_stdout(printed):
        asyncio.run(run())
    return printed.getvalue(), names


def as_script(package: str, *cells: str, awaits: bool = False) -> str:
    """Join cells into one script; the last one goes into a coroutine where it awaits."""
    *before, last = (migrated(cell, package) for cell in cells)
    if awaits:
        last = f"import asyncio\n\n\n{HEAD}{textwrap.indent(last, '    ')}\n\nasyncio.run(main())\n"
    return "\n".join([*before, last])
