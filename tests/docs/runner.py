"""Runs the blocks of one page in a process of its own: ``runner.py BLOCKS.json OUT.json``.

The blocks share the namespace of ``__main__``, in which a reader would run them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
import types


def run(source: str, target: str) -> None:
    """Execute ``[{page, line, code, ray}]`` and write ``[{printed, error}]``, up to an error."""
    with open(source, encoding="utf-8") as file:
        blocks = json.load(file)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    results = []
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
    with open(target, "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
