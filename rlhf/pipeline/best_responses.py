"""The best of K sampled responses by a reward, as demonstrations.

    python -m rlhf.pipeline.best_responses --settings SETTINGS.json

It is a program of its own, so that the memory of the reward models is free before SFT starts.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import cast

import torch

from rlhf.data.files.read import read_rows
from rlhf.errors import DataError
from rlhf.manifest import write_atomically
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.reward import Reward, load_reward
from rlhf.rewards.spec import parse_rewards
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.progress import progress
from rlhf.types import Prompt

AT_ONCE = 256  # responses scored between two moves of the progress bar
SCORED, BEST, STATS = "scored.jsonl", "best.jsonl", "stats.json"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """K responses to a prompt with their scores; NaN for one without a usable reward."""

    prompt: Prompt
    responses: Sequence[str]
    columns: Mapping[str, object]
    scores: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class RoundStats:
    """Scores of a round: of all responses, and of those that are trained on."""

    prompts: int
    mean_score: float  # of all responses: what the policy is worth on these prompts
    best_score: float  # mean over prompts of their best response
    kept: int  # responses to train on
    kept_score: float
    skipped: int  # responses without a usable reward


def read_candidates(path: Path) -> list[Scored]:
    """Sampled responses, without scores."""
    rows = []
    for _, row in read_rows(str(path)):
        assert isinstance(row, dict)
        columns = {k: v for k, v in row.items() if k not in ("prompt", "responses", "models")}
        prompt = cast(Prompt, row["prompt"])
        responses = cast(Sequence[str], row["responses"])
        rows.append(Scored(prompt=prompt, responses=responses, columns=columns, scores=()))
    return rows


def score_candidates(reward: Reward, rows: Sequence[Scored]) -> list[Scored]:
    """The rows with the score of each response."""
    flat = [(row, text) for row in rows for text in row.responses]
    scores: list[float] = []
    with progress("score responses", len(flat)) as advance:
        for start in range(0, len(flat), AT_ONCE):
            part = flat[start:][:AT_ONCE]
            scored = reward.score(
                [row.prompt for row, _ in part],
                [text for _, text in part],
                [row.columns for row, _ in part],
            )
            scores += scored.scores.tolist()
            advance(len(part))
    given = iter(scores)
    return [
        Scored(
            prompt=row.prompt,
            responses=row.responses,
            columns=row.columns,
            scores=[next(given) for _ in row.responses],
        )
        for row in rows
    ]


def best_of(row: Scored, *, keep: int, min_score: float | None) -> list[tuple[str, float]]:
    """The different responses with the highest scores, best first, with their scores.

    Blank responses, and those without a score or below `min_score`, are left out. Of equal scores
    the response that was sampled first is better.
    """
    least = float("-inf") if min_score is None else min_score
    pairs = list(zip(row.responses, row.scores, strict=True))
    usable = [(text, score) for text, score in pairs if text.strip() and score >= least]
    first: dict[str, tuple[str, float]] = {}
    for text, score in sorted(usable, key=lambda pair: -pair[1]):
        first.setdefault(text.strip(), (text, score))
    return list(first.values())[:keep]


def stats_of(rows: Sequence[Scored], kept: Sequence[tuple[str, float]]) -> RoundStats:
    """The statistics of a round."""
    finite = [[score for score in row.scores if score == score] for row in rows]
    scores = [score for of_prompt in finite for score in of_prompt]
    return RoundStats(
        prompts=len(rows),
        mean_score=mean(scores) if scores else float("nan"),
        best_score=mean([max(of_prompt) for of_prompt in finite if of_prompt] or [float("nan")]),
        kept=len(kept),
        kept_score=mean([score for _, score in kept] or [float("nan")]),
        skipped=sum(len(row.scores) for row in rows) - len(scores),
    )


def select(
    folder: Path, reward: Reward, *, candidates: Path, keep: int, min_score: float | None
) -> RoundStats:
    """Write scored.jsonl, best.jsonl and stats.json to `folder`.

    Raises:
        DataError: no response is kept.
        TrainingError: the reward failed.
    """
    rows = score_candidates(reward, read_candidates(candidates))
    chosen = [(row, best_of(row, keep=keep, min_score=min_score)) for row in rows]
    stats = stats_of(rows, [pair for _, pairs in chosen for pair in pairs])
    if not stats.kept:
        raise DataError(
            f"none of the responses in {candidates} has a score of at least {min_score}; the "
            f"mean is {stats.mean_score:.3g}: lower min_score.",
            code="no-rows",
        )
    _write(folder / SCORED, [
        {"prompt": row.prompt, "responses": row.responses, "scores": row.scores} for row in rows
    ])  # fmt: skip
    _write(folder / BEST, [_demonstration(row, *pair) for row, pairs in chosen for pair in pairs])
    write_atomically(folder / STATS, json.dumps(asdict(stats), indent=2) + "\n")
    return stats


def main() -> None:
    """Score and select, with the settings of a JSON file."""
    parser = argparse.ArgumentParser(prog="rlhf.pipeline.best_responses", allow_abbrev=False)
    parser.add_argument("--settings", required=True)
    content = json.loads(Path(parser.parse_args().settings).read_text(encoding="utf-8"))
    quiet_logs()
    config = RewardConfig(**content["reward"])
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    raw = content["chat_template"] == "none"
    reward = load_reward(
        config.reward,
        normalize=config.normalize_reward,
        on_error=config.on_reward_error,
        aggregation=config.reward_aggregation,
        uncertainty_coef=config.uncertainty_coef,
        templates=config.templates(parse_rewards(config.reward), raw=raw),
        calls=config.calls,
        device=device,
    )
    select(
        Path(content["folder"]),
        reward,
        candidates=Path(content["candidates"]),
        keep=content["keep"],
        min_score=content["min_score"],
    )


def _demonstration(row: Scored, text: str, score: float) -> dict[str, object]:
    tools = {"tools": row.columns["tools"]} if "tools" in row.columns else {}
    return {"prompt": row.prompt, "completion": text, **tools, "score": score}


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    run(main, name="rlhf rejection_sampling")
