"""Sample held-out responses, measure them, store the results."""
