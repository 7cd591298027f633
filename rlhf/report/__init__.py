"""The report: one HTML file, written from a run folder alone."""
