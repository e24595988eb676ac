"""Watching a run: a live view (``progress``) and a timeline (``timeline``)."""

from distgraph.views.model import Attempt, NodeRow, Ran, Snapshot, WorkerRow
from distgraph.views.timelines import Timeline
from distgraph.views.watch import AsyncProgress, Progress, View, progress, timeline

__all__ = (
    "AsyncProgress",
    "Attempt",
    "NodeRow",
    "Progress",
    "Ran",
    "Snapshot",
    "Timeline",
    "View",
    "WorkerRow",
    "progress",
    "timeline",
)
