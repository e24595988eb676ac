"""What the driver knows of worker processes by their heartbeats. Pure; the clock is an argument.

A process that runs something sends a heartbeat each second. While its code holds the interpreter
lock, it sends its Python stacks instead. It sends neither when the process is stopped, its machine
hangs or the network is cut.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distgraph.concurrency.patience import left_out
from distgraph.contract.heartbeats import BEAT, SILENT, decode

__all__ = ("OVERDUE", "Health", "Heartbeats", "Overdue", "Process", "Silence")

OVERDUE = 2.0
"""Seconds behind its limit of time, after which an attempt is ended from outside of its process.
The process itself interrupts the attempt at the limit, and ends one second later."""

_STOPPED = 1.0
"""Seconds between two looks that count at most. Behind a longer time the driver itself was stopped,
or a reducer held its interpreter lock: what the processes have sent meanwhile is not read yet."""

_LATE = 2 * BEAT
"""Seconds without a heartbeat after which a process is late with it."""

_DUE = 4096
"""Limits of time that are remembered of attempts which have no process any more."""

_STACK = 16_384
"""Characters of a stack dump that are kept."""


@dataclass(eq=False)
class Process:
    """A worker process.

    Attributes:
        host, pid, role: Where it runs, and what it is: ``task``, ``executor`` or ``pool``.
        since: When something began to run there, by the driver's clock; None while it is idle.
        heard: When the last message of the process arrived.
        beat: When its Python code last sent something.
        lag: Seconds for which its event loop had not run, at that time.
        stack: Its Python stacks as of the last dump, "" if it sent a heartbeat since.
    """

    host: str
    pid: int
    role: str
    place: str
    """Ray's id of its machine."""
    heard: float
    beat: float
    identity: str = ""
    lag: float = 0.0
    behind: int = 0
    """Attempts that nobody waits for, and whose code has not ended for a while."""
    running: dict[str, float] = field(default_factory=dict)
    """Groups of attempts, and when each began."""
    due: dict[str, float] = field(default_factory=dict)
    """When attempts are to be ended that are limited in time."""
    stack: str = ""
    reported: bool = False
    is_doomed: bool = False
    """Whether the process was returned by ``doom``."""
    is_ended: bool = False
    """Whether the process was returned by ``stopped``."""
    waited: float | None = None
    """Seconds for which it had waited for a CPU at the last look, if it was late then."""

    @property
    def name(self) -> str:
        """How messages call the process."""
        return f"{self.role} process {self.pid} on {self.host}"


class Overdue(NamedTuple):
    """An attempt that goes on behind its limit of time."""

    name: str
    stack: str
    """The Python stacks of its process, "" where they are not known."""


class Health(NamedTuple):
    """The state of a shared process."""

    stuck: float = 0.0
    """Seconds for which its code, or its event loop, has not run; 0 where it is not known."""
    behind: int = 0
    """Attempts that nobody waits for, and whose code has not ended for a while."""
    stack: str = ""


class Silence(NamedTuple):
    """A process from which no heartbeat comes, or whose event loop does not run."""

    process: Process
    seconds: float
    """For how long."""
    blocked: bool
    """Whether it lives, and its code does not let Python run."""

    def __str__(self) -> str:
        return self.text(str)

    def text(self, describe: Callable[[str], str]) -> str:
        """Return the silence as text. ``describe``: says what runs under a name."""
        where = self.process.name
        runs = ", ".join(map(describe, self.process.running)) or "nothing"
        why = (
            "its code holds the interpreter lock or blocks the event loop"
            if self.blocked
            else "the process is stopped, or its machine or network hangs"
        )
        stack = f"\n{self.process.stack}" if self.process.stack else ""
        return f"{where} has not reacted for {self.seconds:.0f} s: {why}; it runs {runs}{stack}"


class Heartbeats:
    """The worker processes of a session.

    Args:
        waited: Returns for how long a process has waited for a CPU, None where it is not known.
            This time does not count as silence: see ``distgraph.concurrency.patience``.
    """

    def __init__(self, waited: Callable[[Process], float | None] = lambda process: None) -> None:
        self._processes: dict[Hashable, Process] = {}
        self._looked = float("inf")
        self._waited = waited
        self._due: OrderedDict[str, float] = OrderedDict()
        """The same as ``Process.due``, of lost processes and reported attempts."""

    def __len__(self) -> int:
        return len(self._processes)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes.values())

    def hello(self, connection: Hashable, message: Mapping[str, Any], now: float) -> None:
        """Note a process that has connected."""
        if not self._processes:
            self._looked = now
        self._processes[connection] = Process(
            host=str(message.get("host", "?")),
            pid=int(message.get("pid", 0)),
            role=str(message.get("role", "worker")),
            place=str(message.get("place", "")),
            heard=now,
            beat=now,
            identity=str(message.get("hello", "")),
        )

    def line(self, connection: Hashable, line: bytes, now: float) -> None:
        """Take a line from a process."""
        process = self._processes.get(connection)
        if process is None:
            return
        process.heard = now
        message = decode(line)
        if message is None:
            text = line.decode(errors="replace")
            kept = "" if text.startswith("Timeout (") else process.stack
            process.stack = f"{kept}{text}\n"[:_STACK]
            return
        process.beat, process.lag = now, float(message.get("lag", process.lag))
        process.behind = int(message.get("behind", process.behind))
        if process.lag < SILENT:
            process.stack, process.reported = "", False
        elif "stack" in message:
            process.stack = str(message["stack"])[:_STACK]
        if "begin" in message:
            process.running[str(message["begin"])] = now
        elif "end" in message:
            process.running.pop(str(message["end"]), None)
            process.due.pop(str(message["end"]), None)
        elif "limit" in message:
            process.due[str(message["limit"])] = now + float(message["left"]) + OVERDUE
        for name, left in dict(message.get("beat") or {}).items():
            if name in process.due and float(left) > 0:  # else the limit has been reached
                process.due[name] = now + float(left) + OVERDUE

    def gone(self, connection: Hashable) -> None:
        """Forget a process whose connection has ended. Its death is reported elsewhere."""
        process = self._processes.pop(connection, None)
        if process is not None:
            self._remember(process.due)

    def _remember(self, due: Mapping[str, float]) -> None:
        self._due.update(due)
        while len(self._due) > _DUE:
            self._due.popitem(last=False)

    def look(self, now: float) -> None:
        """Leave time out of account in which the driver itself did not run, or in which a process
        that is late with its heartbeat waited for a CPU. To be called before anything is concluded,
        and each second at least."""
        passed = max(0.0, now - self._looked)
        lost = passed - _STOPPED
        self._looked = now
        for process in self._processes.values():
            if lost > 0:
                process.heard = min(now, process.heard + lost)
                process.beat = min(now, process.beat + lost)
                process.due = {name: due + lost for name, due in process.due.items()}
            before, process.waited = process.waited, None
            if process.running and now - process.heard >= _LATE:
                process.waited = self._waited(process)
                process.heard += left_out(min(passed, _STOPPED), before, process.waited)

    def past_limit(self, name: str, now: float) -> bool:
        """Whether an attempt had reached its limit of time when its process was lost.

        Its process ends itself one second behind the limit, so that the limit is reached by now.
        """
        dues = (p.due[name] for p in self._processes.values() if name in p.due)
        due = next(dues, self._due.get(name))
        return due is not None and now >= due - OVERDUE

    def of(self, name: str) -> tuple[Hashable, Process] | None:
        """Return the process that runs a group of attempts and its connection, if it is known."""
        return next(((c, p) for c, p in self._processes.items() if name in p.running), None)

    def doom(self, name: str) -> Process | None:
        """Return the process that runs a group of attempts, to be killed, if it is known."""
        found = self.of(name)
        if found is None:
            return None
        found[1].is_doomed = True
        return found[1]

    def leaves(self, connection: Hashable) -> bool:
        """Whether a process that has ended a group may run something else: nobody kills it."""
        process = self._processes.get(connection)
        return process is not None and not process.is_doomed

    def health(self, identity: str, now: float) -> Health:
        """Return the state of a process by its name."""
        for process in self._processes.values():
            if process.identity == identity:
                return Health(max(now - process.beat, process.lag), process.behind, process.stack)
        return Health()

    def overdue(self, now: float) -> Sequence[Overdue]:
        """Return attempts that are behind their limits; each is returned once."""
        found = []
        for process in self._processes.values():
            for name in [name for name, due in process.due.items() if now >= due]:
                self._remember({name: process.due.pop(name)})
                found.append(Overdue(name, process.stack))
        return found

    def silences(self, now: float) -> Sequence[Silence]:
        """Return the processes that are silent now, and have something to run."""
        found = []
        for process in self._processes.values():
            if not process.running and process.role == "task":
                continue
            silent = now - process.heard
            stuck = max(now - process.beat, process.lag)
            if silent >= 2 * SILENT:
                found.append(Silence(process, silent, blocked=False))
            elif stuck >= SILENT:
                found.append(Silence(process, stuck, blocked=True))
        return found

    def stopped(self, now: float, limit: float) -> Sequence[Silence]:
        """Return the processes that run something, and from which nothing at all has come for so
        long: they are stopped. Each is returned once."""
        found = []
        for silence in self.silences(now):
            if silence.seconds >= limit and not silence.blocked and not silence.process.is_ended:
                silence.process.is_ended = True
                found.append(silence)
        return found

    def unreported(self, now: float) -> Sequence[Silence]:
        """Return the silences that have not been returned since they began."""
        found = [silence for silence in self.silences(now) if not silence.process.reported]
        for silence in found:
            silence.process.reported = True
        return found
