"""Show what the sessions of the cluster have to do: runs, queues, events a second, bytes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from distgraph.cli import codes
from distgraph.cli.cluster import add_address, use
from distgraph.cli.text import amount, table
from distgraph.contract.load import ClusterLoad, SessionLoad
from distgraph.status import counted

__all__ = ("HELP", "add_arguments", "lines", "run")

HELP = "show sessions, runs, queues, events a second and buffered bytes"

_COLUMNS = (
    "session",
    "driver",
    "runs",
    "queued",
    "sent",
    "executors",
    "pool",
    "broker",
    "readers",
    "paused",
    "events/s",
    "buffered",
    "unread",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_address(parser)
    parser.add_argument("--once", action="store_true", help="show one picture, and end")
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="time between two pictures",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for programs")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ValueError
    return seconds


def run(options: argparse.Namespace) -> int:
    """Show pictures until interrupted, or one."""
    use(options)
    if options.json:
        for load, rates in _loads(options):
            print(json.dumps(_as_json(load, rates)), flush=True)
    elif sys.stdout.isatty() and not options.once and find_spec("rich") is not None:
        _live(options)
    else:
        for load, rates in _loads(options):
            print("\n".join(lines(load, rates)), flush=True)
    return codes.OK


def _loads(options: argparse.Namespace) -> Iterator[tuple[ClusterLoad, Mapping[str, float]]]:
    """Yield what was seen, and the events a second of each broker since the look before."""
    look = import_module("actors.overview").look
    before, then = look(), time.monotonic()
    while True:
        time.sleep(min(options.interval, 1.0) if options.once else options.interval)
        now: ClusterLoad = look()
        at = time.monotonic()
        yield now, rates(before, now, at - then)
        if options.once:
            return
        before, then = now, at


def rates(before: ClusterLoad, now: ClusterLoad, seconds: float) -> dict[str, float]:
    """Return the events a second of the brokers that were there at both looks, by session."""
    known = {s.session: s.broker.events for s in before.sessions if s.broker is not None}
    return {
        s.session: (s.broker.events - known[s.session]) / seconds
        for s in now.sessions
        if s.broker is not None and s.session in known
    }


def lines(load: ClusterLoad, rates: Mapping[str, float]) -> list[str]:
    """Return one picture as lines."""
    parts = [counted(load.machines, "machine")]
    for key, total in load.total.items():
        if total:
            parts.append(f"{total - load.free.get(key, 0.0):g} of {counted(total, key)} reserved")
    parts.append(counted(len(load.sessions), "session"))
    found = [", ".join(parts)]
    if load.sessions:
        found += table(_COLUMNS, [_row(session, rates) for session in load.sessions])
    for session in load.sessions:
        if session.driver is None:
            found.append(f"! session {session.session}: its driver is gone or does not answer")
        else:
            found += [f"! session {session.session}: {text}" for text in session.driver.silent]
        if session.broker is None:
            found.append(f"! session {session.session}: its broker is gone or does not answer")
    return found


def _row(session: SessionLoad, rates: Mapping[str, float]) -> tuple[str, ...]:
    driver, broker = session.driver, session.broker
    of_driver: tuple[str, ...] = ("-",) * 6
    if driver is not None:
        numbers = (driver.runs, driver.queued, driver.sent, driver.executors, driver.pool_workers)
        of_driver = (f"{driver.host}/{driver.pid}", *map(str, numbers))
    of_broker: tuple[str, ...] = ("-",) * 6
    if broker is not None:
        rate = rates.get(session.session)
        of_broker = (
            f"{broker.host}/{broker.pid}",
            str(broker.readers),
            str(broker.paused),
            "-" if rate is None else f"{rate:.0f}",
            amount(broker.buffered),
            amount(broker.unread),
        )
    return (session.session, *of_driver, *of_broker)


def _as_json(load: ClusterLoad, rates: Mapping[str, float]) -> dict[str, Any]:
    return {
        "at": time.time(),
        "machines": load.machines,
        "total": load.total,
        "free": load.free,
        "sessions": [
            {
                "session": s.session,
                "driver": None if s.driver is None else s.driver._asdict(),
                "broker": None if s.broker is None else s.broker._asdict(),
                "events_per_second": rates.get(s.session),
            }
            for s in load.sessions
        ],
    }


def _live(options: argparse.Namespace) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as live:
        for load, rates in _loads(options):
            shown = [time.strftime("%H:%M:%S  distgraph top"), *lines(load, rates)]
            live.update(Text("\n".join(shown), no_wrap=True), refresh=True)
