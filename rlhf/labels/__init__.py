"""Preference labels: the store, import and export, the label page, simulated annotators."""
