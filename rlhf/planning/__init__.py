"""What a run needs before it starts: memory, seconds, and what fits on a machine."""
