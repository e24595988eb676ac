"""The tests of this folder run packages that LangGraph's users use, beside LangGraph itself.

The extra ``ecosystem`` has the packages; the reason of a skip names one that is not installed.
"""

from __future__ import annotations

from tests.support.backends import backend

__all__ = ("backend",)
