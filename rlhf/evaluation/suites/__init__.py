"""Suites: prompts, checks and figures in a folder that a team keeps, and a test of regressions."""
