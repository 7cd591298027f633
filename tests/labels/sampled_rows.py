"""Rows as `rlhf sample` writes them, and files of rows."""

import json
from pathlib import Path

TALK = [{"role": "user", "content": "Hallo?"}]
SAMPLED = [
    {"prompt": TALK, "responses": ["a", " ", "b"], "models": ["x", "y", "z"], "category": "q"},
    {"prompt": "only one", "responses": ["a", ""], "models": ["x", "y"]},
]


def write(path: Path, rows: list) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
