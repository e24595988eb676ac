"""A module that notes whether the code of an event loop has imported it."""

import asyncio
from contextvars import ContextVar


def _is_on_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


IS_ON_LOOP = _is_on_loop()

user = ContextVar("user", default="nobody")
