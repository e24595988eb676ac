"""The state methods of a compiled graph: reading, listing and writing what its threads hold.

They run in the process of the caller, with the saver that the graph was compiled with. Each is one
body of steps (``snapshots.py``, ``updates.py``), followed by the saver's methods or their async
forms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from distgraph._internal.steps import Steps, afollow, follow
from distgraph.graph.snapshots import history_of, state_at, state_of
from distgraph.graph.thread_place import Place, locate
from distgraph.graph.updates import check_supersteps, update_thread
from distgraph.interop import caught_as_either
from distgraph.types import StateSnapshot, StateUpdate

__all__ = ("StateMethods",)

T = TypeVar("T")
Config = Mapping[str, Any]


class StateMethods:
    """The methods of a compiled graph that read and write its threads."""

    def get_state(self, config: Config, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the state of a thread: the latest, or the checkpoint that the config names.

        The latest state is the current state: values include the writes of finished tasks of an
        incomplete superstep, and only pending interrupts are listed. With a ``checkpoint_id``, the
        snapshot shows the superstep that follows the checkpoint as the superstep started.

        Args:
            config: ``configurable``: ``thread_id``; ``checkpoint_id`` for a past checkpoint;
                ``checkpoint_ns`` for a subgraph. The configs of snapshots and of their tasks
                contain these keys.
            subgraphs: Whether tasks that are subgraphs carry their own snapshot as ``state``.

        Raises:
            ValueError: The graph has no checkpointer, or the config no thread.
        """
        place = locate(self, config)
        return self._follow(place, state_at(place, nested=subgraphs))

    async def aget_state(self, config: Config, *, subgraphs: bool = False) -> StateSnapshot:
        """Async variant of ``get_state``."""
        place = locate(self, config)
        return await self._afollow(place, state_at(place, nested=subgraphs))

    def get_state_history(
        self,
        config: Config,
        *,
        filter: Mapping[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield the states of a thread's checkpoints, newest first, each a record of its step.

        Args:
            config: As for ``get_state``.
            filter: Only checkpoints with this metadata, such as ``{"source": "loop"}``.
            before: Only checkpoints older than that of this config.
            limit: How many at most.

        Raises:
            ValueError: The graph has no checkpointer, or the config no thread.
        """
        place = locate(self, config)
        options = {"filter": filter, "before": before, "limit": limit}

        def states() -> Iterator[StateSnapshot]:
            for found in self._follow(place, history_of(place, **options)):
                yield self._follow(place, state_of(place, found))

        return states()

    def aget_state_history(
        self,
        config: Config,
        *,
        filter: Mapping[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Async variant of ``get_state_history``."""
        place = locate(self, config)
        options = {"filter": filter, "before": before, "limit": limit}

        async def states() -> AsyncIterator[StateSnapshot]:
            for found in await self._afollow(place, history_of(place, **options)):
                yield await self._afollow(place, state_of(place, found))

        return states()

    def update_state(
        self,
        config: Config,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> dict[str, Any]:
        """Write the state of a thread as if a node had returned ``values``.

        The node's edges apply, so the next run on the returned config continues after the node.
        With a ``checkpoint_id`` in the config, the thread forks at this checkpoint.

        Args:
            config: As for ``get_state``.
            values: The node's return value: a dict, a ``Command``, …
            as_node: The node. Default: the node that ran last. ``END`` without values discards the
                remaining tasks; ``"__input__"`` writes ``values`` as a run writes its input;
                ``"__copy__"`` saves a copy of the checkpoint as its sibling.
            task_id: The id of the node's task, if the node has several tasks.

        Returns:
            A config that names the new checkpoint.

        Raises:
            InvalidUpdateError: The last node is ambiguous, or the update is not possible.
            ValueError: The graph has no checkpointer, or the config no thread.
        """
        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    async def aupdate_state(
        self,
        config: Config,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> dict[str, Any]:
        """Async variant of ``update_state``."""
        return await self.abulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(
        self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> dict[str, Any]:
        """Write the state of a thread several times: a checkpoint for each list of updates.

        Updates of one list are applied together, as those of the nodes of a step are.

        Args:
            config: As for ``get_state``.
            supersteps: Lists of ``StateUpdate(values, as_node, task_id)``, as ``update_state``
                takes them; ``as_node`` is needed where a list has several.

        Returns:
            A config that names the last checkpoint.

        Raises:
            InvalidUpdateError: An update is not possible.
            ValueError: There are no updates, the graph has no checkpointer, or the config no
                thread.
        """
        place, updates = self._to_update(config, supersteps)
        return self._follow(place, update_thread(place, updates))

    async def abulk_update_state(
        self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> dict[str, Any]:
        """Async variant of ``bulk_update_state``."""
        place, updates = self._to_update(config, supersteps)
        return await self._afollow(place, update_thread(place, updates))

    def _to_update(
        self, config: Config, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> tuple[Place, list[list[StateUpdate]]]:
        updates = check_supersteps(supersteps)
        return locate(self, config, updates=True), updates

    def _follow(self, place: Place, steps: Steps[T]) -> T:
        with caught_as_either():
            return follow(steps, place.saver)

    async def _afollow(self, place: Place, steps: Steps[T]) -> T:
        with caught_as_either():
            return await afollow(steps, place.saver)
