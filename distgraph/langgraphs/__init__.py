"""Graphs that LangGraph compiled, and LangGraph's own calls inside distgraph nodes."""
