"""Score texts: a reward model, a Python function, or a weighted sum of several."""
