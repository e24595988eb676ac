"""Runs the blocks of pages in a process of their own: ``runner.py BLOCKS.json OUT.json``.

The blocks of a page share the namespace of ``__main__``, in which a reader would run them. Pages on
Ray share one Ray and one session.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
import types
from typing import Any


def run(source: str, target: str) -> None:
    """Execute ``[[{page, line, code, ray}]]``, a list for each page, and write ``[[{printed,
    error}]]``: the blocks of a page up to an error, after each page."""
    with open(source, encoding="utf-8") as file:
        pages = json.load(file)
    if any(block["ray"] for blocks in pages for block in blocks):
        import ray  # a Ray whose workers' output does not mix with what the pages print

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    written = []
    for blocks in pages:
        written.append(run_page(blocks))
        with open(target, "w", encoding="utf-8") as file:
            json.dump(written, file)


def run_page(blocks: list[dict[str, Any]]) -> list[dict[str, str | None]]:
    """Execute the blocks of a page, and return what they print, up to an error."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    results: list[dict[str, str | None]] = []
    for block in blocks:
        os.environ["DISTGRAPH_BACKEND"] = "ray" if block["ray"] else "local"
        printed = io.StringIO()
        error = None
        try:
            # Line numbers of the page, so that a traceback points into it.
            code = compile("\n" * (block["line"] - 1) + block["code"], block["page"], "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, main.__dict__)
        except BaseException:
            error = traceback.format_exc()
        results.append({"printed": printed.getvalue(), "error": error})
        if error:
            break
    return results


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
