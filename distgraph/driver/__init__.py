"""What hosts a run, the same for every backend: engine, saver, batching, congestion, the end."""
