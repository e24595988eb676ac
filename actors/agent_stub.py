"""Stands in for the dashboard's agent of a local Ray that has no dashboard.

Run as a program, by Ray's raylet: it imports neither Ray nor anything else that takes time.
"""

from __future__ import annotations

import os
import sys
import time

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
"""The raylet reads them from files before it serves anybody; -1 stands for "not offered"."""

_WATCH = 1.0
"""Seconds between two looks whether the raylet is still there."""


def offer_nothing(folder: str, node: str) -> None:
    """Write that there are no ports.

    Args:
        folder: Of the Ray session.
        node: Hexadecimal id of the machine in Ray.
    """
    for name in PORTS:
        path = os.path.join(folder, f"{name}_{node}")
        with open(f"{path}.new", "w") as file:
            file.write("-1")
        os.replace(f"{path}.new", path)


def main() -> None:
    """Write the files, and wait for the end of the raylet."""
    raylet = os.getppid()
    given = dict(text[2:].split("=", 1) for text in sys.argv[1:] if "=" in text)
    offer_nothing(given["session-dir"], given["node-id"])
    while raylet != 1 and os.getppid() == raylet:
        time.sleep(_WATCH)


if __name__ == "__main__":
    main()
