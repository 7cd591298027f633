"""What the runs cost: responses sampled, tokens trained on, seconds."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlhf.data.files.read import read_rows
from rlhf.data.rows.load import load_rankings
from rlhf.data.rows.load_thumbs import thumbs_of
from rlhf.data.rows.split import prompt_key
from rlhf.manifest import hash_text
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.pipeline.best_responses import BEST, SCORED
from rlhf.pipeline.compare.runs import TRAIN, Run, rounds_of
from rlhf.pipeline.runner import Stage, Step, read_stage
from rlhf.training.common.metrics import MetricsLine, read_metrics
from rlhf.training.ppo.config import PPOConfig

SECONDS = "seconds.jsonl"
Count = Callable[[str], int]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one run; that of the reward model, which runs share, is not part of it."""

    responses: int  # sampled while it trained
    tokens: int  # response tokens of optimizer steps: each token counts once per pass over it
    seconds: float  # of its processes, with their start, over all attempts


def token_counter(model: str, chat_template: str) -> Count:
    """A function that counts the model's tokens of a response, its end token included."""
    chat = tokenizer_of_model(model, chat_template)

    def count(text: str) -> int:
        return len(chat.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1

    return count


def cost_of(run: Run, parsed: Sequence[Any], labels: "LabelTokens", count: Count) -> Cost:
    """The cost of a finished run.

    Args:
        run: the run.
        parsed: its configuration, as `parse_config` returns it.
        labels: tokens of the labels that dpo and kto train on.
        count: tokens of a response.
    """
    folder = run.folder / TRAIN
    record = read_stage(folder)
    seconds = seconds_of(run, record.inputs) if record else 0.0
    if run.method.recipe == "ppo":
        responses, tokens = ppo_cost(read_metrics(folder), parsed[4])
    elif run.method.recipe == "rejection_sampling":
        responses, tokens = rejection_cost(folder, rounds_of(run.method), count)
    else:
        responses, config = 0, parsed[3]
        steps = max((int(line["step"] or 0) for line in read_metrics(folder)), default=0)
        rows = config.per_device_train_batch_size * config.gradient_accumulation_steps
        rows *= steps * int(str((record.inputs if record else {}).get("num_processes", 1)))
        tokens = round(rows * labels.per_row(run.method.recipe))
    return Cost(responses=responses, tokens=tokens, seconds=round(seconds, 1))


def timed(stage: Stage, run: Run) -> Stage:
    """The stage of a run; the seconds of each attempt are added to a file next to its folder.

    An attempt whose comparison was killed (SIGKILL) is not counted.
    """
    return replace(stage, steps=[_timed(step, run, _digest(stage.inputs)) for step in stage.steps])


def _timed(step: Step, run: Run, inputs: str) -> Step:
    def measured() -> int:
        start = time.monotonic()
        try:
            return step.run()
        finally:
            line = {"inputs": inputs, "seconds": round(time.monotonic() - start, 1)}
            with (run.folder / SECONDS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return replace(step, run=measured)


def seconds_of(run: Run, inputs: Mapping[str, object]) -> float:
    """Seconds of all attempts at the stage with these inputs."""
    digest = _digest(inputs)
    rows = _rows(run.folder / SECONDS)
    return sum(float(str(row["seconds"])) for row in rows if row.get("inputs") == digest)


def _digest(inputs: Mapping[str, object]) -> str:
    return hash_text(json.dumps(inputs, sort_keys=True))


def ppo_cost(lines: Sequence[MetricsLine], config: PPOConfig) -> tuple[int, int]:
    """Responses sampled, and response tokens times passes over them.

    Means of logged iterations stand for those between them (logging_steps).
    """
    logged = [line for line in lines if line.get("response_length") is not None]
    if not logged:
        return 0, 0
    last = int(logged[-1]["step"] or 0)
    length = sum(float(line["response_length"] or 0) for line in logged) / len(logged)
    trained = last * config.rollout_batch_size * length * config.num_ppo_epochs
    return int(logged[-1].get("episode") or 0), round(trained)


def rejection_cost(folder: Path, rounds: int, count: Count) -> tuple[int, int]:
    """Responses sampled in all rounds, and tokens of the best ones times SFT's epochs."""
    responses = tokens = 0
    for number in range(1, rounds + 1):
        sampled, sft = folder / f"round-{number}" / "responses", folder / f"round-{number}" / "sft"
        responses += sum(len(_list(row, "responses")) for row in _rows(sampled / SCORED))
        best = sum(count(str(row["completion"])) for row in _rows(sampled / BEST))
        epochs = [float(line.get("epoch") or 0) for line in read_metrics(sft)]
        tokens += round(best * max(epochs, default=0.0))
    return responses, tokens


@dataclass(frozen=True, kw_only=True)
class LabelTokens:
    """Mean response tokens of the rows that dpo and kto count their batches in."""

    dpo: float  # of a prompt: all its different responses
    kto: float  # of a thumb

    def per_row(self, recipe: str) -> float:
        """Of a row of this recipe."""
        return self.dpo if recipe == "dpo" else self.kto


def label_tokens(path: Path, count: Count) -> LabelTokens:
    """The tokens of the rankings in a file that `label_stage` wrote."""
    rows = load_rankings(str(path), keep_tied=True).rows
    cached: dict[str, int] = {}

    def tokens(text: str) -> int:
        return cached.setdefault(text, count(text))

    by_prompt: dict[str, set[str]] = {}
    for row in rows:
        by_prompt.setdefault(prompt_key(row.prompt), set()).update(row.responses)
    sums = [sum(map(tokens, texts)) for texts in by_prompt.values()]
    thumbs = [tokens(thumb.completion) for row in rows for thumb in thumbs_of(row)]
    return LabelTokens(dpo=_mean(sums), kto=_mean(thumbs))


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _rows(path: Path) -> list[Mapping[str, object]]:
    if not path.is_file():
        return []
    return [row for _, row in read_rows(str(path)) if isinstance(row, dict)]


def _list(row: Mapping[str, object], key: str) -> list[object]:
    value = row.get(key)
    return value if isinstance(value, list) else []
