"""The superstep engine: a pure state machine. No I/O, clock, thread or lock."""
