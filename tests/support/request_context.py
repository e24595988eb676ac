"""Context variables as an application's modules have them."""

from contextvars import ContextVar

request_id = ContextVar("request_id", default="none")

bound = {}
"""Variables by name, made when they are first bound."""


class Tenant:
    current = ContextVar("tenant", default="nobody")
