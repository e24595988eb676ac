"""Errors of requests, and the JSON that clients get for them."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

__all__ = ("ProjectError", "RequestError", "on_failure", "on_http_error", "on_request_error")

logger = logging.getLogger("distgraph")


class ProjectError(ValueError):
    """``langgraph.json``, or what it names, cannot be used. The message has the remedy."""


class RequestError(Exception):
    """A request that cannot be carried out. The client gets the status and ``{"detail": ...}``."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


async def on_request_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a ``RequestError``."""
    assert isinstance(error, RequestError)
    return JSONResponse({"detail": error.detail}, error.status)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer what Starlette refuses: an unknown path, an unknown method."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def on_failure(request: Request, error: Exception) -> JSONResponse:
    """Answer a failure of the server. The log has the exception, the client no stack trace."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": "Internal Server Error"}, 500)
