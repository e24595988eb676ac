"""Fixtures of the tests of views."""

from __future__ import annotations

from tests.support.backends import backend

__all__ = ("backend",)
