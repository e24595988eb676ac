"""What the driver tells of a run: its own events, as far as the caller asked for them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from distgraph._internal.chat_messages import whole_messages
from distgraph._internal.keys import INTERRUPT
from distgraph.contract.events import Emit, Instruction, RunOptions
from distgraph.engine.frame import Frame
from distgraph.engine.outputs import (
    checkpoint_payload,
    read_values,
    task_payload,
    task_result_payload,
    update_of,
    with_interrupts,
)
from distgraph.engine.superstep import Task


class Narrator:
    """Turns what happens on the machine into ``Emit`` instructions, appended to ``out``."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._stream = options.stream
        self._tags = options.tags
        self._seen_messages: set[str] = set()
        self.out: list[Instruction] = []

    def started(self, frame: Frame, tasks: Sequence[Task]) -> None:
        """Tell of the tasks of a step."""
        if self._wants(frame, "tasks"):
            for task in tasks:
                if not task.hidden:
                    value = _shown_input(frame, task)
                    payload = task_payload(
                        task.id, task.name, value, task.triggers, task.metadata, self._tags
                    )
                    self._emit(frame, "tasks", payload, "task")

    def succeeded(self, frame: Frame, task: Task) -> None:
        """Tell of a task's messages that were not streamed, its update and its result."""
        if task.hidden:
            return
        if self._wants(frame, "messages"):
            for message in whole_messages([v for _, v in task.writes], self._seen_messages):
                metadata = {"ls_integration": "langgraph", **task.metadata}
                self._emit(frame, "messages", (message, metadata))
        self.wrote(frame, task)
        self.ended(frame, task)

    def wrote(self, frame: Frame, task: Task) -> None:
        """Tell of a task's update."""
        if self._wants(frame, "updates") and not task.hidden:
            update = update_of(task.name, task.writes, frame.output_keys)
            if task.cached:
                update["__metadata__"] = {"cached": True}
            self._emit(frame, "updates", update)

    def ended(self, frame: Frame, task: Task, error: Any = None) -> None:
        """Tell of a task's result, or the error in place of it."""
        if self._wants(frame, "tasks") and not task.hidden:
            keys = frame.graph.spec.stream_channels
            payload = task_result_payload(
                task.id, task.name, task.writes, keys, error, task.interrupts
            )
            self._emit(frame, "tasks", payload, "task_result")

    def interrupted(self, frame: Frame, task: Task) -> None:
        """Tell of the questions that a task has put."""
        if self._wants(frame, "updates"):
            self._emit(frame, "updates", {INTERRUPT: task.interrupts})
        if self._wants(frame, "values"):
            state = read_values(frame.graph.channels, frame.output_keys)
            self._emit(frame, "values", with_interrupts(state, task.interrupts))
        self.ended(frame, task)

    def stopped(self, frame: Frame) -> None:
        """Tell of a static breakpoint."""
        if self._wants(frame, "updates"):
            self._emit(frame, "updates", {INTERRUPT: ()})

    def values(self, frame: Frame, *, resumed: bool = False) -> None:
        """Tell of the state after a step, or where it goes on, and keep it as the output so far."""
        frame.output = read_values(frame.graph.channels, frame.output_keys)
        if self._wants(frame, "values"):
            # going on, it is the state after the step before
            step = frame.graph.step - 1 if resumed else None
            self._emit(frame, "values", frame.output, step=step)

    def checkpoint(self, frame: Frame, tasks: Sequence[Task]) -> None:
        """Tell of the checkpoint that the next tasks start from."""
        ledger = frame.ledger
        if not (ledger.saves and self._wants(frame, "checkpoints")):
            return
        payload = checkpoint_payload(ledger, tasks, self._options.configurable, frame.output_keys)
        self._emit(frame, "checkpoints", payload, "checkpoint", step=frame.graph.step - 1)

    def has_seen(self, message_ids: Set[str]) -> None:
        """Note messages that were streamed, or were there before: they are not told again."""
        self._seen_messages |= message_ids

    def _wants(self, frame: Frame, mode: str) -> bool:
        if frame.parent is not None and not self._stream.subgraphs:
            return False
        modes = self._stream.modes
        return mode in modes or (mode in ("tasks", "checkpoints") and "debug" in modes)

    def _emit(
        self,
        frame: Frame,
        mode: str,
        payload: Any,
        debug_type: str | None = None,
        step: int | None = None,
    ) -> None:
        at = frame.graph.step if step is None else step
        self.out.append(Emit(frame.ns, at, mode, payload, debug_type))


def _shown_input(frame: Frame, task: Task) -> Any:
    value = frame.graph.input_of(task)
    if not task.pulled or task.node.mapper is None:
        return value
    try:
        return task.node.mapper(value)
    except Exception:  # the worker meets the same failure, and reports it as the node's
        return value
