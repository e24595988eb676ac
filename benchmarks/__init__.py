"""What distgraph costs, beside LangGraph in process and raw Ray: ``python -m benchmarks``."""
