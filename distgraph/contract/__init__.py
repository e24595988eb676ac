"""Data types that callers, drivers, workers and brokers exchange: plain and picklable.

Every other package may import this one. It imports only types, errors, channels' base class and
constants, so that engine, workers and streams agree on data without knowing each other.
"""
