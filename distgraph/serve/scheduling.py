"""Crons start their runs: one server process of several starts each."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from distgraph.serve.errors import RequestError
from distgraph.serve.records import Cron, now
from distgraph.serve.registry import Registry
from distgraph.serve.repeating import repeat
from distgraph.serve.run_requests import RunRequest
from distgraph.serve.runner import Runner

__all__ = ("CronScheduler", "check_schedule", "following_run")

logger = logging.getLogger("distgraph")

POLL = 1.0
"""Seconds between two looks at the crons."""


def check_schedule(schedule: object, zone: object) -> None:
    """Check a schedule and its time zone.

    Raises:
        RequestError: 422: one of them is wrong.
    """
    if not isinstance(schedule, str) or not croniter.is_valid(schedule):
        raise RequestError(
            422, f"schedule must be a cron expression such as '0 9 * * 1', got {schedule!r}"[:200]
        )
    if zone is None:
        return
    try:
        ZoneInfo(str(zone))
    except (KeyError, ValueError, OSError):
        raise RequestError(
            422, f"timezone must be an IANA name such as Europe/Berlin, got {zone!r}"[:200]
        ) from None


def following_run(cron: Cron, after: datetime) -> str | None:
    """Return when the first run of a cron after a time is to start: ISO 8601, UTC; None: never."""
    if not cron.enabled:
        return None
    try:
        there = after.astimezone(ZoneInfo(cron.timezone or "UTC"))
        due: datetime = croniter(cron.schedule, there).get_next(datetime)
    except CroniterBadDateError:
        return None
    found = due.astimezone(timezone.utc)
    if cron.end_time is not None and found > datetime.fromisoformat(cron.end_time):
        return None
    return found.isoformat()


class CronScheduler:
    """Starts the runs of crons in time.

    Runs whose time came while no server process lived are made up for by one.

    Args:
        registry: The crons.
        runner: Creates runs.
    """

    def __init__(self, registry: Registry, runner: Runner) -> None:
        self._registry = registry
        self._runner = runner

    async def serve(self) -> None:
        """Start runs, until cancelled."""
        await repeat(self.look, POLL, "crons cannot start runs")

    async def look(self) -> None:
        """Start the runs whose time has come."""
        begin = datetime.now(timezone.utc)
        due = await self._registry.crons.due(now(), lambda cron: following_run(cron, begin))
        for cron in due:
            await self._start(cron)

    async def _start(self, cron: Cron) -> None:
        try:
            wanted = RunRequest.parse(
                {
                    **cron.payload,
                    "assistant_id": cron.assistant_id,
                    "metadata": {**cron.metadata, "cron_id": cron.cron_id},
                    "on_completion": cron.on_run_completed,
                }
            )
            await self._runner.create(
                cron.thread_id,
                wanted,
                filters=cron.origin.get("thread"),
                metadata=wanted.metadata,
                user=cron.origin.get("user"),
                assistant_filters=cron.origin.get("assistant"),
            )
        except RequestError as error:
            if error.status == 409:  # multitask_strategy "reject"
                logger.info("cron %s: no run, the thread is busy", cron.cron_id)
                return
            logger.warning("cron %s is disabled, it starts no run: %s", cron.cron_id, error.detail)
            changes = {"enabled": False, "next_run_date": None, "updated_at": now()}
            await self._registry.crons.change(cron.cron_id, changes)
