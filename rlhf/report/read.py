"""A run folder as the report sees it. What is missing or cut short is left out, no error."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.errors import CheckpointError
from rlhf.manifest import MANIFEST
from rlhf.runtime.run_folder import CONFIG

STAGES = ("sft", "labels", "reward_model", "ppo", "evaluation")
MAX_ANSWERS = 4000
Row = Mapping[str, Any]
_NO_JUDGE: dict[str, Any] = {"baseline": None, "judge": None}


@dataclass(frozen=True, kw_only=True)
class StageView:
    """One folder with what a stage left in it."""

    name: str
    manifest: Row
    metrics: Sequence[Row]
    config: str  # config.yaml as it lies there
    samples: Mapping[str, Sequence[Row]]  # best, worst, random, … -> rows
    steps: Mapping[str, float]  # part of the stage -> seconds it took
    evaluation: Row
    gate: Row
    health: Row  # a reward model's own evaluation.json
    answers: Sequence[Row]  # of an evaluation, MAX_ANSWERS lines at most
    label_stats: Row
    best: Row  # of PPO, what best/ holds: step, eval_score, eval_kl, …
    embeddings: Path  # samples/embeddings.npz, which may not be there


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Everything the report is made from."""

    folder: Path
    config: str
    stages: Sequence[StageView]

    def stage(self, name: str) -> StageView | None:
        """The stage of that name, where there is one."""
        return next((stage for stage in self.stages if stage.name == name), None)


def read_run(folder: Path) -> RunView:
    """What lies in the folder: a chain's stages, or one stage's own files.

    Raises:
        CheckpointError: it holds nothing that a run leaves.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; name a run's output_dir.")
    names = [name for name in STAGES if (folder / name).is_dir()]
    parts = [(name, folder / name) for name in names] or [(_kind(folder), folder)]
    stages = [_read_stage(name, path) for name, path in parts]
    if not any(s.manifest or s.metrics or s.evaluation or s.config or s.steps for s in stages):
        raise CheckpointError(
            f"{folder} holds no run: neither metrics.jsonl nor evaluation.json nor {CONFIG}."
        )
    return RunView(folder=folder, config=_text(folder / CONFIG), stages=stages)


def read_lines(path: Path, *, most: int | None = None) -> list[Row]:
    """The JSON objects of a JSONL file; a line that a crash cut short is left out.

    most: lines that are read, spread evenly over a longer file.
    """
    rows: list[Row] = []
    lines = _text(path).splitlines()
    for line in lines[:: 1 if most is None else max(1, -(-len(lines) // most))]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _read_stage(name: str, folder: Path) -> StageView:
    figures = _with_sound_results(_object(folder / "evaluation.json"))
    of_rewards = figures.get("kind") == "reward_model"
    samples = {path.stem: read_lines(path) for path in sorted((folder / "samples").glob("*.jsonl"))}
    return StageView(
        name=name,
        manifest=_object(folder / MANIFEST),
        metrics=read_lines(folder / "metrics.jsonl"),
        config=_text(folder / CONFIG),
        samples=samples,
        steps=_object(folder / "stage.json").get("done", {}),
        evaluation={} if of_rewards else figures,
        health=figures if of_rewards else {},
        gate=_object(folder / "gate.json"),
        answers=read_lines(folder / "answers.jsonl", most=MAX_ANSWERS),
        label_stats=_object(folder / "stats.json"),
        best=_object(folder / "best" / "best.json"),
        embeddings=folder / "samples" / "embeddings.npz",
    )


def _with_sound_results(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Without results that are none of ours: another tool's file may have that name, too."""
    if "results" not in evaluation:
        return evaluation
    given = evaluation["results"]
    sound = [_NO_JUDGE | row for row in given if _is_figure(row)] if isinstance(given, list) else []
    return {**evaluation, "results": sound}


def _is_figure(row: object) -> bool:
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(key), str) for key in ("metric", "model"))
        and all(isinstance(row.get(key), int | float) for key in ("value", "low", "high", "n"))
    )


def _kind(folder: Path) -> str:
    """What a single stage's folder is called in the report."""
    stage = _object(folder / MANIFEST).get("stage")
    if stage is None and (folder / "evaluation.json").is_file():
        return str(_object(folder / "evaluation.json").get("kind", "evaluation"))
    return str(stage or folder.name)


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
