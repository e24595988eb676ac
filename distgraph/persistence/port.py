"""Blocking interface of a checkpoint saver, for the driver of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from distgraph.errors import UnsupportedError
from distgraph.persistence import sync_or_async
from distgraph.persistence.encoded_items import EncodedLists, encoder_of
from distgraph.persistence.opening import called_here, save_far, send_tails, together

if TYPE_CHECKING:
    from langgraph.checkpoint.base import (
        BaseCheckpointSaver,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
    )

__all__ = ("SaverCall", "SaverPort")

SaverCall = tuple[Literal["put", "put_writes"], tuple[Any, ...]]
"""A method of a saver, and what it is called with."""

OnlyAdds = Callable[[str, str], bool]


class SaverPort:
    """A saver with synchronous methods, for sync and async savers.

    Args:
        saver: The checkpoint saver.
        loop: The event loop of a caller that awaits the run: the saver's async methods run there.
            The methods of the port must then be called from another thread.
    """

    def __init__(
        self, saver: BaseCheckpointSaver[Any], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.saver = saver
        self._loop = loop
        self._only_adds: OnlyAdds | None = None
        """See ``of_run``, until the first checkpoint."""
        self._lists: EncodedLists | None = None

    @classmethod
    def of_run(cls, saver: BaseCheckpointSaver[Any], only_adds: OnlyAdds) -> SaverPort:
        """Return the port of a run in a process of its own.

        What a list had at the checkpoint before is neither sent nor serialized again. One run at a
        time may save by the port.

        Args:
            saver: The saver, or a stand-in.
            only_adds: Whether the reducer of a channel leaves the items of its list as they are,
                by the namespace of a checkpoint and the channel's name.
        """
        port = cls(saver)
        port._only_adds = only_adds
        send_tails(saver, only_adds)
        return port

    def get_tuple(self, config: Mapping[str, Any]) -> CheckpointTuple | None:
        """Return the checkpoint that ``config`` names, or the newest; None where there is none."""
        found: CheckpointTuple | None = self._call("get_tuple", config)
        return found

    def list(
        self,
        config: Mapping[str, Any] | None,
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> list[CheckpointTuple]:
        """Return checkpoints, newest first."""
        options = {"filter": filter, "before": before, "limit": limit}
        return list(self._call("list", config, **options))

    def put(
        self,
        config: Mapping[str, Any],
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Store a checkpoint; returns the config that names it."""
        if self._only_adds is not None:  # not before: it may have to be opened
            encode = encoder_of(called_here(self.saver))
            self._lists = None if encode is None else EncodedLists(self._only_adds, encode)
            self._only_adds = None
        given: Mapping[str, Any] = checkpoint
        if self._lists is not None:
            given = self._lists.encoded(config["configurable"].get("checkpoint_ns", ""), given)
        return dict(self._call("put", config, given, metadata, new_versions))

    def put_writes(
        self,
        config: Mapping[str, Any],
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store a task's writes; ``task_path`` is left out for savers that do not take it."""
        self._call("put_writes", config, writes, task_id, task_path)

    def save(self, calls: Sequence[SaverCall]) -> None:
        """Make several calls of ``put`` and ``put_writes`` in their order, at once where that is
        possible: in one message, or in one transaction.

        After a failure, some of the calls before it were carried out, and none behind it.
        """
        if len(calls) > 1 and save_far(self.saver, calls):
            return
        with together(self.saver) if len(calls) > 1 else nullcontext():
            for method, args in calls:
                getattr(self, method)(*args)

    def get_delta_channel_history(
        self, config: Mapping[str, Any], channels: Sequence[str]
    ) -> dict[str, Any]:
        """Return the seed and the writes of channels that a checkpoint holds no value of.

        Raises:
            UnsupportedError: The saver is of a version that has no such method.
        """
        if not hasattr(self.saver, "get_delta_channel_history"):
            raise UnsupportedError(
                f"{type(self.saver).__qualname__} cannot read a DeltaChannel ({', '.join(channels)}"
                "): install a langgraph-checkpoint that belongs to LangGraph 1.2 or newer"
            )
        return dict(self._call("get_delta_channel_history", config=config, channels=channels))

    def get_next_version(self, current: Any, channel: None = None) -> Any:
        """Return the version that follows ``current``."""
        return self.saver.get_next_version(current, channel)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        awaited = (
            self._loop is not None
            and sync_or_async.has_own(self.saver, "a" + method)
            and not getattr(self.saver, "for_threads", False)  # as that of the server
        )
        if not awaited:
            return sync_or_async.call(self.saver, method, args, kwargs)
        loop = sync_or_async.loop_of(self.saver) or self._loop
        assert loop is not None
        return sync_or_async.run_on(
            loop, partial(sync_or_async.acall, self.saver, method, args, kwargs), self.saver
        )
