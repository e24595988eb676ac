"""The cluster that a command looks at."""

from __future__ import annotations

import argparse
import os

from distgraph import status

__all__ = ("add_address", "use")

ADDRESS = "RAY_ADDRESS"


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--address``."""
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="address of the cluster's head; default: RAY_ADDRESS, or the Ray of this machine",
    )


def use(options: argparse.Namespace) -> None:
    """Make the cluster known to this process; it is joined when it is first asked.

    A command never starts a Ray: without an address, it joins the one that runs on this machine.
    """
    status.show_status(False)  # the output of a command is its own
    os.environ[ADDRESS] = options.address or os.environ.get(ADDRESS) or "auto"
