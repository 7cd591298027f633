"""Trainers, each a file that reads from top to bottom; checkpoints; metrics."""
