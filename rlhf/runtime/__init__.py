"""Configuration, processes, signals, run folders, threads and terminal output of a run."""
