"""Webhooks: a POST with the run and its result when the run has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx

from distgraph.serve.encoding import as_json
from distgraph.serve.records import Run, now

__all__ = ("send_webhook",)

logger = logging.getLogger("distgraph")

_TIMEOUT = 10.0

_PAUSES = (1.0, 5.0, 0.0)
"""Seconds after each attempt that failed."""


async def send_webhook(url: str, run: Run, values: Any, error: Mapping[str, Any] | None) -> None:
    """Send a run that has ended to a URL: at most three attempts; a failure is logged."""
    body = as_json(
        {
            **run.shown(),
            "values": values,
            "error": error,
            "run_started_at": run.created_at,
            "run_ended_at": run.updated_at,
            "webhook_sent_at": now(),
        }
    )
    reason = ""
    async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
        for pause in _PAUSES:
            try:
                response = await client.post(
                    url, content=body, headers={"content-type": "application/json"}
                )
                if response.status_code < 400:
                    return
                reason = f"status {response.status_code}"
            except httpx.HTTPError as failure:
                reason = f"{type(failure).__name__}: {failure}"
            await asyncio.sleep(pause)
    logger.warning("the webhook of run %s was not delivered: %s", run.run_id, reason)
