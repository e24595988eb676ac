"""Packing of segments for a connection: large blobs go beside the pickle, and are not copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph.contract.stream import Segment
from distgraph.streaming.transport import Fetched
from distgraph.wire.frames import Bytes

__all__ = ("pushes_apart", "pushes_together", "segments_apart", "segments_together")

LARGE = 64 << 10
"""Bytes from which a blob goes beside the pickle. In its place stands its number there."""


def segments_apart(segments: Sequence[Segment], blobs: list[Bytes]) -> Sequence[Segment]:
    """Return segments without their large blobs, and add those to ``blobs``."""
    if any(map(_is_apart, segments)):
        return [_apart(segment, blobs) for segment in segments]
    return segments


def segments_together(segments: Sequence[Segment], blobs: Sequence[Bytes]) -> Sequence[Segment]:
    """Return segments with their large blobs."""
    return [_together(segment, blobs) for segment in segments] if blobs else segments


def pushes_apart(found: list[Fetched], blobs: list[Bytes]) -> list[Fetched]:
    """As ``segments_apart``, for a push."""
    if not any(_is_apart(delivery.segment) for each in found for delivery in each.deliveries):
        return found
    return [
        each._replace(
            deliveries=[d._replace(segment=_apart(d.segment, blobs)) for d in each.deliveries]
        )
        for each in found
    ]


def pushes_together(found: list[Fetched], blobs: Sequence[Bytes]) -> list[Fetched]:
    """As ``segments_together``, for a push."""
    if not blobs:
        return found
    return [
        each._replace(
            deliveries=[d._replace(segment=_together(d.segment, blobs)) for d in each.deliveries]
        )
        for each in found
    ]


def _is_apart(segment: Segment) -> bool:
    blob = segment.blob
    return type(blob) is memoryview or (type(blob) is bytes and len(blob) >= LARGE)


def _apart(segment: Segment, blobs: list[Bytes]) -> Segment:
    blob = segment.blob
    if not isinstance(blob, (bytes, memoryview)) or not _is_apart(segment):
        return segment
    blobs.append(blob)
    place: Any = len(blobs) - 1
    return segment._replace(blob=place)


def _together(segment: Segment, blobs: Sequence[Bytes]) -> Segment:
    place: Any = segment.blob
    if not isinstance(place, int):
        return segment
    blob: Any = blobs[place]
    return segment._replace(blob=blob)
