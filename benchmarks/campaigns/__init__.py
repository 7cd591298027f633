"""Labelling tools whose servers are killed while people label; counts what each tool loses."""
