"""Longer studies: score-KL frontier, alignment tax, best-of-n, lm-eval."""
