"""Validate rows, filter them by length, mix sources, split off held-out rows."""
