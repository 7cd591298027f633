"""One HTML file, written from a run folder and from nothing else."""
