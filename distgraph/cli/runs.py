"""List the started runs of the cluster, oldest first."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import get_args

from distgraph.cli import codes
from distgraph.cli.cluster import add_address, use
from distgraph.cli.text import age, table
from distgraph.contract.started_runs import RunStatus
from distgraph.runs import RunInfo, list_runs

__all__ = ("HELP", "add_arguments", "run")

HELP = "list the started runs of the cluster"

_COLUMNS = ("run", "status", "graph", "thread", "started", "events", "from", "detached")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_address(parser)
    parser.add_argument(
        "--status",
        action="append",
        choices=get_args(RunStatus),
        help="only runs of this status; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for programs")


def run(options: argparse.Namespace) -> int:
    """Print the runs."""
    use(options)
    found = [
        info
        for info in list_runs(backend="ray")
        if not options.status or info.status in options.status
    ]
    if options.json:
        for info in found:
            print(json.dumps(info._asdict()))
    elif found:
        print("\n".join(lines(found, time.time())))
    else:
        print("no started run is known in the cluster (runs of invoke and stream are not listed)")
    return codes.OK


def lines(found: Sequence[RunInfo], now: float) -> list[str]:
    """Return a table of runs as lines."""
    rows = [
        (
            info.run_id,
            info.status,
            info.graph,
            info.thread_id or "-",
            f"{age(now - info.started_at)} ago",
            f"{info.oldest}-{info.last}" if info.oldest <= info.last else "-",
            f"{info.host}/{info.pid}",
            "yes" if info.detached else "no",
        )
        for info in found
    ]
    return table(_COLUMNS, rows)
