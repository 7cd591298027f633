"""Read a file or a hub dataset into plain dicts: JSONL, JSON, CSV, Parquet."""
