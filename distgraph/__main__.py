"""The command line: ``python -m distgraph doctor``, or ``distgraph doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 1 where something does not fit."""
    parser = argparse.ArgumentParser(prog="distgraph", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="show versions here and on every machine, CPUs, GPUs and extras, and run one node",
    )
    doctor.add_argument(
        "--address", help="the cluster to look at, as RAY_ADDRESS; default: that or a local Ray"
    )
    options = parser.parse_args(arguments)
    from actors.doctor import examine  # Ray is needed from here on

    return examine(options.address)


if __name__ == "__main__":
    raise SystemExit(main())
