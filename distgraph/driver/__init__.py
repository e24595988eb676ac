"""Code that drives a run on every backend: engine, saver, batching, back-pressure, end of the
run."""
