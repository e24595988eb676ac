"""Show what the sessions of a cluster have to do: runs, queues, workers, events a second, bytes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from distgraph.cli import codes
from distgraph.cli.cluster import add_address, use
from distgraph.cli.text import amount, table
from distgraph.contract.load import ClusterLoad, DriverLoad, SessionLoad, WorkersLoad
from distgraph.status import counted

__all__ = ("HELP", "add_arguments", "lines", "run")

_NODES = 4
"""Nodes that a line of workers names."""

_LINES = 20
"""Lines of workers of a session."""

HELP = "show sessions, runs, queues, workers, events a second and buffered bytes"

_COLUMNS = (
    "session",
    "driver",
    "runs",
    "queued",
    "sent",
    "busy",
    "idle",
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
        if session.driver is not None:
            shown = _workers(session.driver.workers)
            found += [f"session {session.session}: workers {text}" for text in shown]
    for session in load.sessions:
        if session.driver is None:
            found.append(f"! session {session.session}: its driver is gone or does not answer")
        else:
            found += [f"! session {session.session}: {text}" for text in session.driver.silent]
        if session.broker is None:
            found.append(f"! session {session.session}: its broker is gone or does not answer")
    return found


def _workers(workers: Sequence[WorkersLoad]) -> list[str]:
    """Return what leased workers do: a line for each machine, and one for those not started yet."""
    by_host: dict[str, dict[str, list[WorkersLoad]]] = {}
    for some in workers:
        by_host.setdefault(some.host, {}).setdefault(some.phase, []).append(some)
    requested = by_host.pop("", {})
    shown = []
    for host, phases in by_host.items():
        parts = [f"{_number(some)} {phase} {_nodes(some)}" for phase, some in phases.items()]
        shown.append(f"on {host}: {', '.join(parts)}")
    if len(shown) > _LINES:
        shown[_LINES - 1 :] = [f"on {len(shown) - _LINES + 1} more machines"]
    return shown + [f"requested: {_number(some)} {_nodes(some)}" for some in requested.values()]


def _nodes(some: Sequence[WorkersLoad]) -> str:
    """Return how many workers each node has, as ``(agent 2, tools 1)``."""
    most = sorted(some, key=lambda load: -load.workers)
    named = [f"{load.node} {load.workers}" for load in most[:_NODES]]
    return f"({', '.join(named + ['…'] * (len(most) > _NODES))})"


def _number(workers: Iterable[WorkersLoad], phase: str = "") -> int:
    return sum(some.workers for some in workers if phase in ("", some.phase))


def _row(session: SessionLoad, rates: Mapping[str, float]) -> tuple[str, ...]:
    driver, broker = session.driver, session.broker
    of_driver: tuple[str, ...] = ("-",) * 8
    if driver is not None:
        numbers = (
            driver.runs,
            driver.queued,
            driver.sent,
            _number(driver.workers, "busy"),
            _number(driver.workers, "idle"),
            driver.executors,
            driver.pool_workers,
        )
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
                "driver": None if s.driver is None else _driver_as_json(s.driver),
                "broker": None if s.broker is None else s.broker._asdict(),
                "events_per_second": rates.get(s.session),
            }
            for s in load.sessions
        ],
    }


def _driver_as_json(driver: DriverLoad) -> dict[str, Any]:
    return driver._asdict() | {"workers": [some._asdict() for some in driver.workers]}


def _live(options: argparse.Namespace) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as live:
        for load, rates in _loads(options):
            shown = [time.strftime("%H:%M:%S  distgraph top"), *lines(load, rates)]
            live.update(Text("\n".join(shown), no_wrap=True), refresh=True)
