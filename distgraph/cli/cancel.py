"""End a started run. Its readers get RunCancelled, and its CPUs become free."""

from __future__ import annotations

import argparse
import time

from distgraph.cli import codes
from distgraph.cli.cluster import add_address, use
from distgraph.contract.started_runs import ONGOING
from distgraph.runs import attach

__all__ = ("HELP", "add_arguments", "run")

HELP = "end a started run"

_POLL = 0.05
"""Seconds between two questions whether the run has ended."""

_SOON = 2.0
"""Seconds that the command waits by itself, so that the request is under way when it returns."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("run_id", metavar="RUN", help="id of the run, as `distgraph runs` shows it")
    parser.add_argument(
        "--wait",
        nargs="?",
        type=float,
        const=float("inf"),
        metavar="SECONDS",
        help="wait until the run has ended, or for so many seconds; code 4 if it has not",
    )
    add_address(parser)


def run(options: argparse.Namespace) -> int:
    """Request the end of the run, and report whether it has ended."""
    use(options)
    handle = attach(options.run_id, backend="ray")
    status = handle.status
    if status not in ONGOING:
        print(f"run {handle.run_id} has ended already: {status}")
        return codes.OK
    handle.cancel()
    limit = _SOON if options.wait is None else options.wait
    until = time.monotonic() + limit
    while (status := handle.status) in ONGOING and time.monotonic() < until:
        time.sleep(_POLL)
    if status not in ONGOING:
        print(f"run {handle.run_id} has ended: {status}")
        return codes.OK
    print(f"run {handle.run_id} has not ended after {limit:g} s; its end is requested")
    return codes.OK if options.wait is None else codes.NOT_YET
