"""Replacements for transformers layers that are faster on a CPU."""
