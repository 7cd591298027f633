"""The checkpoints of a PPO run, for the frontier."""

import json
from pathlib import Path

from rlhf.models.adapter_folder import ADAPTER_CONFIG
from rlhf.runtime.run_folder import checkpoints, step_of


def steps_of_run(folder: Path) -> list[tuple[Path, int]]:
    """The run's checkpoints, and its final model if it was trained further; by step."""
    steps = [(path, step_of(path)) for path in checkpoints(folder)]
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    last = max((step for line in lines if (step := _step_of_line(line)) is not None), default=0)
    finished = any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG))
    if finished and all(step < last for _, step in steps):
        steps.append((folder, last))
    return steps


def _step_of_line(line: str) -> int | None:
    """The step of a line of metrics.jsonl; None if a crash cut the line short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None
