"""Public benchmarks of reward models and judges, read from files and scored by their own rules."""
