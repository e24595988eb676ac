"""Endpoints of crons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.serve.access import Action
from distgraph.serve.conditions import Filters
from distgraph.serve.encoding import plain
from distgraph.serve.errors import RequestError
from distgraph.serve.http import answer, body_of, id_of, nothing, page_of, paged, selected, user_of
from distgraph.serve.records import Cron, Page, new_id, now
from distgraph.serve.run_requests import RUN_FIELDS, RunRequest, report_ignored
from distgraph.serve.scheduling import check_schedule, following_run
from distgraph.serve.starting import permission_to_run

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("CronEndpoints",)

_OWN = ("schedule", "timezone", "end_time", "enabled", "on_run_completed", "metadata")
"""Fields of a body that are the cron's; the others are those of its runs."""


class CronEndpoints:
    """Endpoints of crons.

    A user sees their own crons, or those that a handler for crons permits.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        one = "/runs/crons/{cron_id}"
        return [
            Route("/runs/crons/search", self.search, methods=["POST"]),
            Route("/runs/crons/count", self.count, methods=["POST"]),
            Route("/runs/crons", self.create, methods=["POST"]),
            Route("/threads/{thread_id}/runs/crons", self.create, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.change, methods=["PATCH"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Create a cron, for a thread or for runs without one."""
        server = self._server
        thread_id = id_of(request, "thread_id") if "thread_id" in request.path_params else None
        body = await body_of(request)
        check_schedule(body.get("schedule"), body.get("timezone"))
        wanted = _wanted(body)
        user = user_of(request)
        value: dict[str, Any] = {
            "payload": _payload(body),
            "schedule": body["schedule"],
            "cron_id": new_id(),
            "thread_id": thread_id,
            "user_id": None if user is None else user["identity"],
            "end_time": _end(body),
            "metadata": dict(wanted.metadata),
        }
        await server.access.authorize(request, "crons", "create", value)
        report_ignored(body, RUN_FIELDS.union(_OWN), "crons")
        permission = await permission_to_run(server, request, thread_id, wanted)
        assistant = await server.runner.permitted_assistant(
            wanted.assistant_id, permission.assistant
        )
        if thread_id is not None:
            found = await server.registry.thread(thread_id, permission.thread)
            if found is None:
                raise RequestError(404, f"Thread with ID {thread_id} not found")
        stamp = now()
        cron = Cron(
            cron_id=value["cron_id"],
            assistant_id=assistant.assistant_id,
            schedule=body["schedule"],
            created_at=stamp,
            updated_at=stamp,
            thread_id=thread_id,
            payload=plain(value["payload"]),
            metadata={**permission.metadata, **(value["metadata"] or {})},
            timezone=body.get("timezone"),
            end_time=value["end_time"],
            on_run_completed=wanted.on_completion,
            enabled=_enabled(body),
            user_id=value["user_id"],
            origin=plain(
                {"user": user, "thread": permission.thread, "assistant": permission.assistant}
            ),
        )
        cron = _scheduled(cron)
        await server.registry.crons.add(cron)
        return answer(cron.shown())

    async def get(self, request: Request) -> Response:
        """Answer with a cron."""
        return answer((await self._cron(request, "read")).shown())

    async def change(self, request: Request) -> Response:
        """Change fields of a cron, and of the requests for its runs."""
        body = {k: v for k, v in (await body_of(request)).items() if v is not None}
        cron = await self._cron(request, "update", body)
        check_schedule(body.get("schedule", cron.schedule), body.get("timezone", cron.timezone))
        body["metadata"] = {**cron.metadata, **(body.get("metadata") or {})}
        wanted = _wanted(
            {
                "on_run_completed": cron.on_run_completed,
                **cron.payload,
                **body,
                "assistant_id": cron.assistant_id,
            }
        )
        self._server.project.webhooks.check(wanted.webhook)
        changed = _scheduled(
            replace(
                cron,
                schedule=body.get("schedule", cron.schedule),
                timezone=body.get("timezone", cron.timezone),
                end_time=_end(body) if "end_time" in body else cron.end_time,
                enabled=_enabled(body, cron.enabled),
                on_run_completed=wanted.on_completion,
                metadata=wanted.metadata,
                payload=plain({**cron.payload, **_payload(body)}),
                updated_at=now(),
            )
        )
        await self._server.registry.crons.change(cron.cron_id, asdict(changed))
        return answer(changed.shown())

    async def delete(self, request: Request) -> Response:
        """Delete a cron."""
        cron = await self._cron(request, "delete")
        await self._server.registry.crons.delete(cron.cron_id)
        return nothing()

    async def search(self, request: Request) -> Response:
        """Answer with the crons that fit."""
        body = await body_of(request)
        page = page_of(body, Cron)
        found, total = await self._find(request, body, page)
        return paged([selected(cron.shown(), body.get("select")) for cron in found], total, page)

    async def count(self, request: Request) -> Response:
        """Answer with the number of crons that fit."""
        body = await body_of(request)
        _, total = await self._find(request, body, page_of({"limit": 1}, Cron))
        return answer(total)

    async def _find(
        self, request: Request, body: dict[str, Any], page: Page
    ) -> tuple[list[Cron], int]:
        value = {**body, "metadata": dict(body.get("metadata") or {})}
        filters, user_id = await self._visible(request, "search", value)
        assistant_id = body.get("assistant_id")
        if assistant_id is not None:
            assistant_id = (await self._server.runner.assistant(assistant_id)).assistant_id
        return await self._server.registry.crons.search(
            page,
            assistant_id=assistant_id,
            thread_id=body.get("thread_id"),
            user_id=user_id,
            enabled=body.get("enabled"),
            metadata=value["metadata"],
            filters=filters,
        )

    async def _cron(
        self, request: Request, action: Action, value: dict[str, Any] | None = None
    ) -> Cron:
        cron_id = id_of(request, "cron_id")
        value = {} if value is None else value
        value["cron_id"] = cron_id
        filters, user_id = await self._visible(request, action, value)
        value.pop("cron_id")
        cron = await self._server.registry.crons.get(cron_id, filters)
        if cron is None or user_id not in (None, cron.user_id):
            raise RequestError(404, f"Cron with ID {cron_id} not found")
        return cron

    async def _visible(
        self, request: Request, action: Action, value: dict[str, Any]
    ) -> tuple[Filters, str | None]:
        """Return the conditions on the crons of a request, and the user that has to own them."""
        filters = await self._server.access.authorize(request, "crons", action, value)
        user = user_of(request)
        return filters, None if user is None or filters else str(user["identity"])


def _payload(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _OWN}


def _wanted(body: Mapping[str, Any]) -> RunRequest:
    """Return the request for the runs of a cron."""
    return RunRequest.parse({**body, "on_completion": body.get("on_run_completed")})


def _enabled(body: Mapping[str, Any], default: bool = True) -> bool:
    value = body.get("enabled", default)
    if value is not None and not isinstance(value, bool):
        raise RequestError(422, f"enabled must be true or false, got {value!r}"[:200])
    return default if value is None else value


def _end(body: Mapping[str, Any]) -> str | None:
    given = body.get("end_time")
    if given is None:
        return None
    try:
        time = datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    except ValueError:
        raise RequestError(422, f"end_time must be ISO 8601, got {given!r}"[:200]) from None
    time = time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
    return time.astimezone(timezone.utc).isoformat()


def _scheduled(cron: Cron) -> Cron:
    """Return a cron with the time of its next run."""
    return replace(cron, next_run_date=following_run(cron, datetime.now(timezone.utc)))
