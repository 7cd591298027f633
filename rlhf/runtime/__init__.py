"""What surrounds a run: configuration, processes, signals, run folders, threads, terminals."""
