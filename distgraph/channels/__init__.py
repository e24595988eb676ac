"""Channels: what a state key is between supersteps. One small class a file."""

from distgraph.channels.any_value import AnyValue
from distgraph.channels.base import BaseChannel
from distgraph.channels.binop import BinaryOperatorAggregate
from distgraph.channels.delta import DeltaChannel
from distgraph.channels.ephemeral_value import EphemeralValue
from distgraph.channels.last_value import LastValue, LastValueAfterFinish
from distgraph.channels.named_barrier_value import NamedBarrierValue, NamedBarrierValueAfterFinish
from distgraph.channels.topic import Topic
from distgraph.channels.untracked_value import UntrackedValue

__all__ = (
    "AnyValue",
    "BaseChannel",
    "BinaryOperatorAggregate",
    "DeltaChannel",
    "EphemeralValue",
    "LastValue",
    "LastValueAfterFinish",
    "NamedBarrierValue",
    "NamedBarrierValueAfterFinish",
    "Topic",
    "UntrackedValue",
)
