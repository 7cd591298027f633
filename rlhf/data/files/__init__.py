"""Read files, hub datasets and rows in memory into plain dictionaries."""
