"""Graphs that LangGraph compiled, and LangGraph's own calls inside nodes of ours."""
