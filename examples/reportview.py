"""How ``report.py`` shows a run: live in a terminal, or as lines."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REPORT_LINES = 18


def count(number: int, one: str, plural: str = "s") -> str:
    """Return a number with its noun: ``1 host``, ``2 hosts``."""
    return f"{number} {one}{'' if number == 1 else plural}"


@dataclass
class Worker:
    """What one process has done so far."""

    host: str
    pid: int
    nodes: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0
    running: dict[str, int] = field(default_factory=dict)
    """Label of a task to its percentage."""


class View:
    """Follows a run and remembers who did what; subclasses draw."""

    def __init__(self, title: str, model: str, tasks: int) -> None:
        self.console = Console(highlight=False)
        self.title = title
        self.model = model
        self.tasks = tasks
        self.workers: dict[tuple[str, int], Worker] = {}
        self.report = ""
        self.node = "starting"
        self.analysed = 0
        self.started = time.perf_counter()
        self.first_event: float | None = None
        self.analysis_cpu = 0.0
        self.last_analysis = 0.0

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self, mode: str, chunk: Any) -> None:
        """Take in one chunk of the stream."""
        if mode == "messages":
            message, metadata = chunk
            if metadata["langgraph_node"] == "write":
                self.report += str(message.content)
                self.on_token(str(message.content))
        elif mode == "custom":
            self._task_event(chunk)
        else:
            for node in chunk:
                self.on_update(node)

    def _task_event(self, event: dict[str, Any]) -> None:
        now = self.elapsed()
        if self.first_event is None:
            self.first_event = now
        key = (event["host"], event["pid"])
        worker = self.workers.setdefault(key, Worker(*key))
        label = event["label"]
        self.node = event["node"]
        if event["kind"] == "progress":
            worker.running[label] = event["percent"]
            self.on_progress(worker, event)
            return
        worker.running.pop(label, None)
        worker.nodes[event["node"]] += 1
        worker.cpu += event["cpu"]
        if event["node"] == "analyse":
            self.analysed += 1
            self.analysis_cpu += event["cpu"]
            self.last_analysis = now
        self.on_done(worker, event)

    def elapsed(self) -> float:
        """Seconds since the view was made."""
        return time.perf_counter() - self.started

    def on_progress(self, worker: Worker, event: dict[str, Any]) -> None:
        """Draw a task's progress."""

    def on_done(self, worker: Worker, event: dict[str, Any]) -> None:
        """Draw a task's end."""

    def on_token(self, token: str) -> None:
        """Draw a piece of the report."""

    def on_update(self, node: str) -> None:
        """Draw that a node's writes are in."""

    def summary(self) -> None:
        """Print which hosts and processes ran what, and what the parallel run gained."""
        table = Table(title="Who ran what", title_justify="left")
        for column in ("host", "process", "nodes"):
            table.add_column(column)
        table.add_column("CPU s", justify="right")
        for worker in sorted(self.workers.values(), key=lambda w: (w.host, w.pid)):
            nodes = ", ".join(f"{name} x{times}" for name, times in sorted(worker.nodes.items()))
            table.add_row(worker.host, str(worker.pid), nodes, f"{worker.cpu:.2f}")
        self.console.print(table)
        hosts = {worker.host for worker in self.workers.values()}
        print(
            f"{count(len(self.workers), 'process', 'es')} on {count(len(hosts), 'host')}; "
            f"the caller is process {os.getpid()} on {socket.gethostname()}."
        )
        total, first = self.elapsed(), self.first_event or 0.0
        phase = self.last_analysis - first
        print(
            f"Elapsed {total:.1f} s: {first:.1f} s to the first event, {phase:.1f} s of analysis, "
            f"{total - self.last_analysis:.1f} s of report."
        )
        if phase >= 0.5:  # shorter ones are mostly the delay of the first event
            print(
                f"The analysis took {self.analysis_cpu:.1f} s of CPU time in {phase:.1f} s of the "
                f"clock: {self.analysis_cpu / phase:.1f} times as fast as one task after another."
            )


class PlainView(View):
    """Prints a line for each task, and the report as it arrives."""

    def __enter__(self) -> View:
        self._line(f"{self.title}; the report is written by {self.model}")
        return self

    def on_done(self, worker: Worker, event: dict[str, Any]) -> None:
        place = f"{self.analysed}/{self.tasks} " if event["node"] == "analyse" else ""
        end = "\n" if event["node"] == "write" else ""
        self._line(
            f"{end}{event['node']} {place}{event['label']}: {event['wall'] * 1000:.0f} ms "
            f"in process {worker.pid} on {worker.host}"
        )

    def on_progress(self, worker: Worker, event: dict[str, Any]) -> None:
        if event["node"] == "write":
            self._line(f"write: started in process {worker.pid} on {worker.host}\n")

    def on_token(self, token: str) -> None:
        print(token, end="", flush=True)

    def _line(self, text: str) -> None:
        body = text.lstrip("\n")
        print(f"{text[: len(text) - len(body)]}[{self.elapsed():6.2f} s] {body}", flush=True)


class LiveView(View):
    """Redraws one picture: the step, a row a process, the report as it grows."""

    def __init__(self, title: str, model: str, tasks: int) -> None:
        super().__init__(title, model, tasks)
        self.live = Live(
            console=self.console,
            get_renderable=self._picture,
            refresh_per_second=12,
            transient=True,
        )

    def __enter__(self) -> View:
        self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def summary(self) -> None:
        """Print the whole report, which the live view may have cut, and then the table."""
        self.console.print(self._head())
        self.console.print(Panel(Text(self.report.strip()), title="Report", title_align="left"))
        super().summary()

    def _head(self) -> Text:
        return Text.assemble((self.title, "bold"), f"\nmodel: {self.model}")

    def _picture(self) -> RenderableType:
        state = f"{self.elapsed():.1f} s  node: {self.node}  files: {self.analysed}/{self.tasks}"
        table = Table(expand=True, box=None, pad_edge=False)
        table.add_column("process", no_wrap=True)
        table.add_column("done", justify="right")
        table.add_column("CPU s", justify="right")
        table.add_column("running", ratio=2, no_wrap=True)
        table.add_column("", ratio=1)
        for worker in sorted(self.workers.values(), key=lambda w: (w.host, w.pid)):
            label, percent = next(iter(worker.running.items()), ("idle", 0))
            more = f" (+{len(worker.running) - 1})" if len(worker.running) > 1 else ""
            table.add_row(
                f"{worker.host}:{worker.pid}",
                str(worker.nodes.total()),
                f"{worker.cpu:.1f}",
                label + more,
                ProgressBar(total=100, completed=percent),
            )
        rows: list[RenderableType] = [self._head(), Text(state), table]
        if self.report:
            tail = "\n".join(self.report.strip().splitlines()[-REPORT_LINES:])
            rows.append(Panel(Text(tail), title="Report", title_align="left"))
        return Group(*rows)
