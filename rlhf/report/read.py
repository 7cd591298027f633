"""Reads a run folder for the report. Missing and incomplete files are left out without an error."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.errors import CheckpointError
from rlhf.manifest import MANIFEST
from rlhf.runtime.run_folder import CONFIG

STAGES = ("sft", "labels", "reward_model", "dpo", "kto", "ppo", "evaluation")
MAX_RESPONSES = 4000
Row = Mapping[str, Any]  # an object of a file that any version or tool may have written
_NO_JUDGE: dict[str, object] = {"baseline": None, "judge": None}


@dataclass(frozen=True, kw_only=True)
class StageView:
    """The files of one stage."""

    name: str
    manifest: Row
    metrics: Sequence[Row]
    config: str  # text of config.yaml
    samples: Mapping[str, Sequence[Row]]  # best, worst, random, … -> rows
    steps: Mapping[str, float]  # part of the stage -> seconds
    evaluation: Row
    gate: Row
    reward_evaluation: Row  # evaluation.json of a reward model
    responses: Sequence[Row]  # of an evaluation, at most MAX_RESPONSES
    label_stats: Row
    best: Row  # PPO's best/best.json: step, eval_score, eval_kl, …
    embeddings: Path  # samples/embeddings.npz, which may be missing


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Everything that the report shows."""

    folder: Path
    config: str
    stages: Sequence[StageView]
    rounds: Row  # rounds.json; the stages are those of its last round

    def stage(self, name: str) -> StageView | None:
        """The stage of that name; None if there is none."""
        return next((stage for stage in self.stages if stage.name == name), None)


def read_run(folder: Path) -> RunView:
    """The stages of a pipeline's folder, or the single stage of a recipe's folder.

    Raises:
        CheckpointError: the folder has no files of a run.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder; give a run's output_dir.", code="missing-file"
        )
    rounds = _object(folder / "rounds.json")
    parts = _stage_folders(folder, rounds) or [(_kind(folder), folder)]
    stages = [_read_stage(name, path) for name, path in parts]
    if not any(s.manifest or s.metrics or s.evaluation or s.config or s.steps for s in stages):
        raise CheckpointError(
            f"{folder} has no run: there is no metrics.jsonl, evaluation.json or {CONFIG}; give a "
            "run's output_dir.",
            code="missing-file",
        )
    return RunView(folder=folder, config=_text(folder / CONFIG), stages=stages, rounds=rounds)


def read_lines(path: Path, *, most: int | None = None) -> list[Row]:
    """The JSON objects of a JSONL file, without lines that a crash cut short.

    most: maximum number of lines, spread evenly over the file.
    """
    rows: list[Row] = []
    # Not splitlines(): a text may contain U+2028, which ends a line there and not in JSON.
    lines = _text(path).rstrip("\n").split("\n")
    for line in lines[:: 1 if most is None else max(1, -(-len(lines) // most))]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _stage_folders(folder: Path, rounds: Row) -> list[tuple[str, Path]]:
    """(name, folder) of each stage; of several rounds the last one's, where it has the stage."""
    listed = rounds.get("rounds")
    last = listed[-1] if isinstance(listed, list) and listed else {}
    newest = folder / str(last.get("folder", ".")) if isinstance(last, dict) else folder
    paths = [(name, newest / name) for name in STAGES]
    paths = [(name, path if path.is_dir() else folder / name) for name, path in paths]
    return [(name, path) for name, path in paths if path.is_dir()]


def _read_stage(name: str, folder: Path) -> StageView:
    evaluation = _with_valid_results(_object(folder / "evaluation.json"))
    of_reward_model = evaluation.get("kind") == "reward_model"
    samples = {path.stem: read_lines(path) for path in sorted((folder / "samples").glob("*.jsonl"))}
    return StageView(
        name=name,
        manifest=_object(folder / MANIFEST),
        metrics=read_lines(folder / "metrics.jsonl"),
        config=_text(folder / CONFIG),
        samples=samples,
        steps=_object(folder / "stage.json").get("done", {}),
        evaluation={} if of_reward_model else evaluation,
        reward_evaluation=evaluation if of_reward_model else {},
        gate=_object(folder / "gate.json"),
        responses=read_lines(folder / "answers.jsonl", most=MAX_RESPONSES),
        label_stats=_object(folder / "stats.json"),
        best=_object(folder / "best" / "best.json"),
        embeddings=folder / "samples" / "embeddings.npz",
    )


def _with_valid_results(evaluation: Row) -> Row:
    """Without results of another form: other tools write files of this name, too."""
    if "results" not in evaluation:
        return evaluation
    results = evaluation["results"]
    rows = results if isinstance(results, list) else []
    return {**evaluation, "results": [_NO_JUDGE | row for row in rows if _is_result(row)]}


def _is_result(row: object) -> bool:
    if not isinstance(row, dict):
        return False
    ends = (row.get("low"), row.get("high"))
    # Strengths from too few prompts have no interval; all other metrics have one.
    has_no_interval = row.get("metric") == "bradley_terry" and ends == (None, None)
    return (
        all(isinstance(row.get(key), str) for key in ("metric", "model"))
        and all(isinstance(row.get(key), int | float) for key in ("value", "n"))
        and (has_no_interval or all(isinstance(end, int | float) for end in ends))
    )


def _kind(folder: Path) -> str:
    """The name in the report of a single stage's folder."""
    stage = _object(folder / MANIFEST).get("stage")
    if stage is None and (folder / "evaluation.json").is_file():
        return str(_object(folder / "evaluation.json").get("kind", "evaluation"))
    return str(stage or folder.name)


def _object(path: Path) -> Row:
    try:
        content = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
