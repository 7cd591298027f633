"""Run stages in order: skip completed ones, resume interrupted ones."""
