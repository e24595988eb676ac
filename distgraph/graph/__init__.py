"""Building graphs: ``StateGraph``, its schemas, edges and branches."""

from distgraph.constants import END, START
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.message import MessagesState, add_messages
from distgraph.graph.state import StateGraph

__all__ = ("END", "START", "CompiledStateGraph", "MessagesState", "StateGraph", "add_messages")
