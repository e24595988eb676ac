"""Exit codes of the command line."""

from __future__ import annotations

__all__ = ("FAILED", "INTERRUPTED", "NOT_FOUND", "NOT_YET", "OK", "TEXT", "USAGE")

OK = 0
"""The command did what it was asked for."""

FAILED = 1
"""``doctor`` found a problem, a part of the cluster does not answer, or the run that was watched
failed or was cancelled; or a setting is not allowed."""

USAGE = 2
"""The command line is not understood."""

NOT_FOUND = 3
"""There is no such cluster, or no such run."""

NOT_YET = 4
"""The run has not ended within the time that ``cancel`` waits."""

INTERRUPTED = 130
"""Ctrl-C, or the end of the reader of the output. Runs go on."""

TEXT = (
    "Exit codes: 0 done; 1 a problem was found, or the run failed or was cancelled; 2 wrong usage; "
    "3 no such cluster or run; 4 the run has not ended in time; 130 interrupted (runs go on)."
)
