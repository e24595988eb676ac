"""Which channels hold lists that grow, and of which therefore only the new items need be sent."""

from __future__ import annotations

from distgraph.channels.binop import BinaryOperatorAggregate, is_keeping_items
from distgraph.channels.delta import DeltaChannel
from distgraph.langgraphs.vocabulary import private_if_loaded

__all__ = ("only_adds",)


def only_adds(channel: object) -> bool:
    """Return whether the reducer of a channel is known to leave the items of its list as they are.

    Of a function of the user's that is not known: it may change an item in place.
    """
    if type(channel) is BinaryOperatorAggregate:
        return is_keeping_items(channel.operator)
    if type(channel) is DeltaChannel:
        of_messages = private_if_loaded("_messages_delta_reducer")
        return of_messages is not None and channel.reducer is of_messages
    return False
