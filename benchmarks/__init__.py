"""Our PPO engine beside TRL 1.12's, on the same work: `python -m benchmarks --help`."""
