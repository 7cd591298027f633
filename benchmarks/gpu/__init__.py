"""A bare machine with one GPU, measured in ten minutes: `python -m benchmarks.gpu --help`."""
