"""What a machine holds, whatever it decides: its graphs, attempts, questions and story."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from distgraph._internal.ids import NewCheckpointId, derived_checkpoint_ids, scatter
from distgraph.contract.events import CancelTask, Finish, Instruction, RunOptions, StartTask, Wake
from distgraph.contract.failure import ShippedError
from distgraph.engine.calls import Switchboard
from distgraph.engine.checkpoints import increment
from distgraph.engine.frame import Frame
from distgraph.engine.narrator import Narrator
from distgraph.engine.recovery import (
    Ended,
)
from distgraph.engine.superstep import Task


class Core:
    """State of the ``Machine``, and what ends parts of it."""

    def __init__(
        self,
        options: RunOptions,
        *,
        new_checkpoint_id: NewCheckpointId | None = None,
        next_version: Callable[[Any], Any] = increment,
        random: Callable[[], float] | None = None,
    ) -> None:
        self._options = options
        self._say = Narrator(options)
        self._new_checkpoint_id = new_checkpoint_id or derived_checkpoint_ids(options.run_id)
        self._next_version = next_version
        self._frames: list[Frame] = []
        """Graphs of the run that have not ended."""
        self._waiting: dict[str, tuple[Frame, Callable[..., None]]] = {}
        """What goes on once the saver, the cache or the clock has answered, by the question's key;
        with the graph that waits for it."""
        self._asked = 0
        self._restarts = 0
        """Graphs that were started again."""
        self._drain: str | None = None
        """Why the run is to stop behind the current superstep."""
        self._random = random or scatter(options.run_id)
        self._visited: set[str] = set()
        self._running: dict[str, tuple[Frame, Task, StartTask]] = {}
        self._calls = Switchboard()
        self._out: list[Instruction] = []
        self._story: deque[tuple[Any, ...]] = deque(maxlen=32)
        self.finished = False

    @property
    def running(self) -> int:
        """Number of attempts that are on workers."""
        return len(self._running)

    @property
    def drain(self) -> str | None:
        """Why the run was asked to stop, None where it was not."""
        return self._drain

    def story(self) -> list[str]:
        """Return the last transitions, as text."""
        return [" ".join(str(part) for part in entry) for entry in self._story]

    def _wait(self, frame: Frame, go_on: Callable[..., None]) -> str:
        """Return the key of a question, the answer to which ``go_on`` is called with."""
        self._asked += 1
        key = str(self._asked)
        self._waiting[key] = (frame, go_on)
        return key

    def _answered(self, key: str, *answer: Any) -> None:
        frame, go_on = self._waiting.pop(key)
        if not frame.ended:
            go_on(*answer)

    def _later(self, frame: Frame, seconds: float, go_on: Callable[[], None]) -> None:
        self._out.append(Wake(self._wait(frame, go_on), seconds))

    def _over(self, frame: Frame) -> bool:
        return self.finished or frame.ended

    def _guard(self, frame: Frame, call: Callable[[], Any]) -> Any:
        """Run what may raise by the user's doing (reducers, schemas); a failure ends the run."""
        try:
            return call()
        except Exception as error:
            self._fail(frame, error)
            return None

    def _settle(self, frame: Frame, *, failed: bool) -> None:
        """Save what is left to be saved of a graph that ends."""
        if frame in self._frames:
            self._frames.remove(frame)
            self._out += frame.ledger.settle(failed=failed)

    def _cancel(self, unwanted: Callable[[Frame, Task], bool]) -> None:
        """Cancel running attempts."""
        for attempt_id, (frame, task, start) in list(self._running.items()):
            if unwanted(frame, task):
                del self._running[attempt_id]
                self._out.append(CancelTask(attempt_id, start.request.attempt))

    def _drop(self, frame: Frame) -> None:
        """Cancel whatever runs in a frame and below it."""
        for inner in [f for f in reversed(self._frames) if f.within(frame)]:
            inner.ended = True
            self._settle(inner, failed=True)
        frame.ended = True
        self._cancel(lambda owner, _: owner.within(frame))

    def _finish(self, finish: Finish) -> None:
        self._cancel(lambda *_: True)
        for frame in reversed(self._frames[:]):
            self._settle(frame, failed=finish.status != "done")
        self._story.append(("finished", finish.status))
        self.finished = True
        self._out.append(finish)

    # --- further up -----------------------------------------------------------------------------

    def _fail(
        self,
        frame: Frame,
        error: ShippedError | BaseException,
        task: Task | None = None,
        ended: Ended | None = None,
    ) -> None:
        raise NotImplementedError
