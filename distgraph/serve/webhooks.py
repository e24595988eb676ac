"""Webhooks: a POST with the run and its result when the run has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from distgraph.serve.encoding import as_json
from distgraph.serve.errors import ProjectError, RequestError
from distgraph.serve.records import Run, now

__all__ = ("Webhooks",)

logger = logging.getLogger("distgraph")

_TIMEOUT = 10.0

_PAUSES = (1.0, 5.0, 0.0)
"""Seconds after each attempt that failed."""

_PREFIX = "LG_WEBHOOK_"

_VARIABLE = re.compile(r"\$\{\{\s*env\.(\w+)\s*\}\}")

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The key ``webhooks`` of ``langgraph.json``: where webhooks may go, and with which headers."""

    disabled: bool = False
    """Whether none is sent: ``http.disable_webhooks``."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers of each webhook; ``${{ env.NAME }}`` stands for a variable of the environment."""
    prefix: str = _PREFIX
    """How names of variables begin that ``headers`` may name."""
    https: bool = False
    domains: tuple[str, ...] = ()
    """Hosts that a webhook may go to, ``*.example.com`` for all below one; (): every host."""
    ports: tuple[int, ...] = ()
    """Ports that it may go to; (): every port."""
    length: int | None = None
    """Characters that a URL may have."""

    @classmethod
    def of(cls, given: Mapping[str, Any], *, disabled: bool = False) -> Webhooks:
        """Return what ``langgraph.json`` says.

        Raises:
            ValueError: A value is wrong; the text begins with the name of its key.
        """
        url = given.get("url") or {}
        length = url.get("max_url_length")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int)):
            raise ValueError(f"url.max_url_length must be a number of characters, got {length!r}")
        headers = given.get("headers") or {}
        if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
            raise ValueError(f"headers must be an object of strings, got {type(headers).__name__}")
        return cls(
            disabled,
            headers,
            str(given.get("env_prefix") or _PREFIX),
            bool(url.get("require_https", False)),
            tuple(host.lower() for host in _list(url, "allowed_domains", str, "names of hosts")),
            tuple(_list(url, "allowed_ports", int, "numbers of ports")),
            length,
        )

    def check(self, url: str | None) -> None:
        """Check that a webhook may go to a URL.

        Raises:
            RequestError: 422: it may not; says which rule of ``langgraph.json`` it breaks.
        """
        if url is None or self.disabled:
            return
        if self.length is not None and len(url) > self.length:
            raise RequestError(422, f"webhook has more than {self.length} characters")
        try:
            parts = httpx.URL(url)  # as what sends it understands it
            if not parts.host:
                raise httpx.InvalidURL("it names no host")
        except httpx.InvalidURL as error:
            raise RequestError(422, f"webhook must be a URL: {error}"[:200]) from None
        host, port = parts.host.rstrip("."), parts.port or _PORTS.get(parts.scheme)
        if self.https and parts.scheme != "https":
            raise RequestError(422, f"webhook must be an https URL, got {url[:100]!r}")
        if self.domains and not any(_fits(host, domain) for domain in self.domains):
            raise RequestError(
                422, f"webhook may not go to {host[:100]!r}: webhooks.url.allowed_domains"
            )
        if self.ports and port not in self.ports:
            raise RequestError(
                422, f"webhook may not go to port {port}: webhooks.url.allowed_ports"
            )

    def resolved_headers(self) -> dict[str, str]:
        """Return the headers, with the values of the environment.

        Raises:
            ProjectError: A variable is not set, or may not be named.
        """
        return {name: _VARIABLE.sub(self._variable, text) for name, text in self.headers.items()}

    def _variable(self, found: re.Match[str]) -> str:
        name = found[1]
        if not name.startswith(self.prefix):
            raise ProjectError(
                f"webhooks.headers names the variable {name}: names must begin with "
                f"{self.prefix}, or as webhooks.env_prefix says"
            )
        try:
            return os.environ[name]
        except KeyError:
            raise ProjectError(
                f"webhooks.headers names the variable {name}, which is not set"
            ) from None

    async def send(self, url: str, run: Run, values: Any, error: Mapping[str, Any] | None) -> None:
        """Send a run that has ended to a URL: at most three attempts; a failure is logged."""
        if self.disabled:
            return
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
        headers = {**self.resolved_headers(), "content-type": "application/json"}
        reason = ""
        async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
            for pause in _PAUSES:
                try:
                    response = await client.post(url, content=body, headers=headers)
                    if response.status_code < 400:
                        return
                    reason = f"status {response.status_code}"
                except httpx.HTTPError as failure:
                    reason = f"{type(failure).__name__}: {failure}"
                await asyncio.sleep(pause)
        logger.warning("the webhook of run %s was not delivered: %s", run.run_id, reason)


def _list(given: Mapping[str, Any], key: str, kind: type[Any], what: str) -> list[Any]:
    value = given.get(key) or []
    if not isinstance(value, list) or not all(
        isinstance(each, kind) and not isinstance(each, bool) for each in value
    ):
        raise ValueError(f"url.{key} must be a list of {what}, got {value!r}")
    return value


def _fits(host: str, domain: str) -> bool:
    if domain.startswith("*."):
        return host.endswith(domain[1:])
    return host == domain
