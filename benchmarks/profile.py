"""Where CPU time goes: of a step, a run, a task, a saved step, an event, a tool call and so on.

``python -m benchmarks.profile`` prints the microseconds of each process and thread. The system
counts them: nothing is sampled, and other work on the machine matters less than for durations.
Threads have the names of ``distgraph.concurrency.threads``, cut off after 15 characters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import durable, fanout, first_event, large_state, runs, steps, streaming, tools
from benchmarks.engines import Engine, engines
from benchmarks.harness import LANGGRAPH, TITLES
from benchmarks.usage import tree

REPEATS = 3

_ROLES = {"ray::SuperstepDriver": "driver", "ray::StreamBroker": "broker"}
_RAYS_OWN = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
_LEAST = 5.0
"""Microseconds below which a thread has no row of its own in a table."""

Row = tuple[str, str]
"""What a process is, and a thread of it."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What threads have used."""

    cpu: float = 0.0
    """Microseconds."""
    switches: float = 0.0
    """Times that they gave their core to another thread, or lost it."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu + other.cpu, self.switches + other.switches)

    def since(self, other: Spent, count: int) -> Spent:
        """Return what was used since then, for each of ``count`` pieces of work."""
        return Spent((self.cpu - other.cpu) / count, (self.switches - other.switches) / count)


Profile = Mapping[Row, Spent]


@dataclass(frozen=True, slots=True)
class Work:
    """What is profiled."""

    title: str
    count: int
    """Pieces of the work."""
    of: Callable[[Engine], Callable[[], object]]
    """Returns what does all of it."""


def _steps(engine: Engine) -> Callable[[], object]:
    return partial(steps.run, steps.graph_of(engine, steps.rewrite), 1_000, 1 << 10)


def _one_node(engine: Engine) -> Callable[[], object]:
    graph = first_event.graph_of(engine)
    return lambda: [first_event.whole_run(graph) for _ in range(300)]


def _fanouts(tasks: int, runs: int, engine: Engine) -> Callable[[], object]:
    graph = fanout.graph_of(engine)

    def run() -> None:
        for _ in range(runs):
            fanout.run(graph, tasks)

    return run


def _saved(engine: Engine) -> Callable[[], object]:
    return partial(durable.run, engine, durable.in_memory, 300)


def _many(engine: Engine) -> Callable[[], object]:
    return partial(runs.run, runs.graph_of(engine, runs.await_it), 100)


def _events(engine: Engine) -> Callable[[], object]:
    graph = streaming.graph_of(engine, 1 / streaming.PACE, is_async=False)
    return partial(streaming.streamed, graph, 1, 100)


def _tool_calls(engine: Engine) -> Callable[[], object]:
    given = tools.message("wait", 200, {"seconds": tools.WAIT})
    return partial(tools.run, tools.awaited(tools.graph_of(engine)), given)


def _large(engine: Engine) -> Callable[[], object]:
    return partial(large_state.run, large_state.long(engine), 20)


WORKS = (
    Work("step, 1 KB", 1_000, _steps),
    Work("run of one node", 300, _one_node),
    Work("task of 64", 64 * 20, partial(_fanouts, 64, 20)),
    Work("task of 1,000", 1_000 * 3, partial(_fanouts, 1_000, 3)),
    Work("saved step, to 300 messages", 300, _saved),
    Work("step of 100 runs, async", 100 * runs.STEPS, _many),
    Work("event at 50/s", 100, _events),
    Work("tool call of 200", 200, _tool_calls),
    Work("step, 10 MB", 20, _large),
)


def role(title: str, *, is_caller: bool) -> str:
    """Return what a process is, by its title."""
    if is_caller:
        return "caller"
    known = _ROLES.get(title)
    if known is not None:
        return known
    return "workers" if title.startswith("ray::") and title not in _RAYS_OWN else "Ray"


def read(*, own_first: bool) -> dict[tuple[int, int], tuple[Row, Spent]]:
    """Return what each thread of this process, and of those below it, has used so far.

    Number 0 stands for all threads of a process, those included that have ended.

    ``own_first``: look at this thread first, otherwise last. Looking takes time of this thread.
    """
    found = {}
    me = os.getpid()
    for pid in sorted(tree(me), key=lambda pid: (pid == me) is not own_first):
        tasks = _folders(Path(f"/proc/{pid}/task"))
        for task in sorted(tasks, key=lambda task: (task.name == str(me)) is not own_first):
            with suppress(OSError, IndexError):
                title = Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0].strip()
                name = "main" if task.name == str(pid) else (task / "comm").read_text().strip()
                kind = role(title, is_caller=pid == me)
                thread = name if name == "main" or name.startswith("distgraph") else "others"
                row = (kind, "all" if kind == "Ray" else thread)
                found[pid, int(task.name)] = (row, _spent(task))
                if not own_first or (pid, 0) not in found:  # beside this thread's own figure
                    ended = (kind, "all" if kind == "Ray" else "ended")
                    found[pid, 0] = (ended, _of_process(pid))
    return found


def _of_process(pid: int) -> Spent:
    """Return what all threads of a process have used, also those that have ended."""
    return Spent(time.clock_gettime_ns((~pid) << 3 | 2) / 1e3)  # its clock, as in the C library


def _folders(parent: Path) -> list[Path]:
    with suppress(OSError):
        return list(parent.iterdir())
    return []


def _spent(task: Path) -> Spent:
    lines = (task / "status").read_text().splitlines()
    switches = sum(int(line.split(":")[1]) for line in lines if "ctxt_switches" in line)
    return Spent(int((task / "schedstat").read_text().split()[0]) / 1e3, switches)


def profiled(work: Callable[[], object], count: int) -> Profile:
    """Return what each thread uses for one of the ``count`` pieces of some work."""
    before = read(own_first=False)
    work()
    rows: dict[Row, Spent] = {}
    ended: dict[int, tuple[Row, float]] = {}
    after = read(own_first=True)
    for (pid, thread), (row, now) in sorted(after.items()):
        _, then = before.get((pid, thread), (row, Spent()))
        spent = now.since(then, count)
        if thread == 0:
            ended[pid] = row, spent.cpu
            continue
        rows[row] = rows.get(row, Spent()) + spent
        if pid in ended:
            ended[pid] = ended[pid][0], ended[pid][1] - spent.cpu
    for row, cpu in ended.values():  # a step that takes long goes on in a thread of its own
        rows[row] = rows.get(row, Spent()) + Spent(max(0.0, cpu))
    return rows


def total(profile: Profile) -> Spent:
    """Return the sum of all threads."""
    return sum(profile.values(), Spent())


def measured(work: Work) -> tuple[Profile, float]:
    """Return the profile with the least CPU time, and the microseconds of LangGraph's process."""
    ours, theirs = (work.of(engine) for engine in engines())
    ours()
    found = [profiled(ours, work.count) for _ in range(REPEATS)]
    theirs()
    least = float("inf")
    for _ in range(REPEATS):
        begin = time.process_time()
        theirs()
        least = min(least, (time.process_time() - begin) * 1e6 / work.count)
    return min(found, key=lambda profile: total(profile).cpu), least


def rows(found: Sequence[tuple[Profile, float]]) -> list[list[str]]:
    """Return the table's rows: of each thread, those with the most CPU time first, and of all."""
    profiles = [profile for profile, _ in found]
    most = {
        row: max(profile.get(row, Spent()).cpu for profile in profiles)
        for profile in profiles
        for row in profile
    }
    kinds: dict[str, float] = {}
    for (kind, _), cpu in most.items():
        kinds[kind] = max(kinds.get(kind, 0.0), cpu)
    order = sorted(most, key=lambda row: (-kinds[row[0]], row[0], -most[row]))
    shown: list[list[str]] = []
    for row in order:
        if most[row] >= _LEAST:
            cells = [f"{profile.get(row, Spent()).cpu:,.0f}" for profile in profiles]
            shown.append([*row, *cells])
    shown.append(["all", "", *(f"{total(profile).cpu:,.0f}" for profile in profiles)])
    shown.append(["all", "changes", *(f"{total(profile).switches:.1f}" for profile in profiles)])
    shown.append([TITLES[LANGGRAPH], "all", *(f"{theirs:,.0f}" for _, theirs in found)])
    return shown


def as_markdown() -> str:
    """Measure everything, and return the table."""
    from benchmarks.report import table

    heads: list[Any] = ["process", "thread", *(work.title for work in WORKS)]
    return "\n".join(table(heads, rows([measured(work) for work in WORKS])))


if __name__ == "__main__":
    print(as_markdown())
