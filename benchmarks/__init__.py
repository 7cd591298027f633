"""Benchmarks of PPO in rlhf and TRL 1.12 on the same workloads: `python -m benchmarks --help`."""
