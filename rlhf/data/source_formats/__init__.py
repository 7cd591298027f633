"""Converters for the published formats of preference data and demonstrations."""
