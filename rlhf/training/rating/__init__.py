"""Reward models from labels of single responses: verdicts, and ratings by axis."""
