"""Show versions here and on every machine, CPUs, GPUs and extras, and run one node."""

from __future__ import annotations

import argparse
from importlib import import_module

__all__ = ("HELP", "add_arguments", "run")

HELP = "show versions here and on every machine, CPUs, GPUs and extras, and run one node"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--address", help="the cluster to look at, as RAY_ADDRESS; default: that or a local Ray"
    )


def run(options: argparse.Namespace) -> int:
    """Print the report; return 0, or 1 where something does not fit."""
    code: int = import_module("actors.doctor").examine(options.address)
    return code
