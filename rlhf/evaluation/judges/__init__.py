"""Judges that compare responses: reward functions, LLMs, people."""
