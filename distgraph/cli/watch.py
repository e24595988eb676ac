"""Show the chunks of a started run, from any number on, until the run ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable

from distgraph.cli import codes
from distgraph.cli.cluster import add_address, use
from distgraph.errors import RunNotFound
from distgraph.runs import NumberedChunk, attach
from distgraph.views import progress

__all__ = ("HELP", "add_arguments", "run")

HELP = "show the chunks of a started run until it ends"

_FINE = ("success", "interrupted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("run_id", metavar="RUN", help="id of the run, as `distgraph runs` shows it")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--after",
        type=int,
        default=0,
        metavar="N",
        help="begin behind chunk number N; default: 0, which is the beginning",
    )
    start.add_argument("--new", action="store_true", help="begin with what comes from now on")
    parser.add_argument(
        "--live",
        action="store_true",
        help="show nodes, rates, processes and tokens in place of chunks; for runs that were "
        "started with progress=True",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for programs")
    add_address(parser)


def run(options: argparse.Namespace) -> int:
    """Print the chunks; return 0 if the run succeeded or was interrupted, else 1."""
    use(options)
    handle = attach(options.run_id, backend="ray")
    chunks: Iterable[NumberedChunk]
    try:
        chunks = handle.events(None if options.new else options.after)
        if options.live:
            chunks = progress(chunks, text=True, file=sys.stdout)
        for chunk in chunks:
            if options.live:
                continue
            print(_as_json(chunk) if options.json else f"{chunk.seq}  {chunk.chunk!r}", flush=True)
    except RunNotFound:
        raise
    except Exception as error:
        print(
            f"distgraph watch: run {handle.run_id}: {type(error).__name__}: {error}",
            file=sys.stderr,
        )
        return codes.FAILED
    status = handle.status
    if not options.json:
        print(f"run {handle.run_id} has ended: {status}", file=sys.stderr)
    return codes.OK if status in _FINE else codes.FAILED


def _as_json(chunk: NumberedChunk) -> str:
    return json.dumps({"seq": chunk.seq, "chunk": chunk.chunk}, default=repr)
