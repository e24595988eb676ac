"""Runs LangGraph's own tests against distgraph: ``python -m tests.conformance``."""
