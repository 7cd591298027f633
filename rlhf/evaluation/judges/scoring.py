"""Scores of the sampled answers: a gold function, reward models, and axes of the gold score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from rlhf.errors import TrainingError
from rlhf.evaluation.core.config import EvaluateConfig, named_paths
from rlhf.evaluation.core.metrics import Judge
from rlhf.evaluation.core.records import Record
from rlhf.rewards.function import load_function
from rlhf.rewards.reward import load_reward
from rlhf.rewards.templates import JudgeTemplate
from rlhf.types import PromptRow

GOLD, REWARD_MODEL = "gold", "reward_model"


def judges_of(config: EvaluateConfig) -> list[Judge]:
    """Who judges; the gold function first, since it is what the others stand in for."""
    found = [Judge(key=GOLD, kind="gold")] if config.gold else []
    for key, (name, _) in _reward_models(config).items():
        source = name if key != REWARD_MODEL else None
        found.append(Judge(key=key, kind=REWARD_MODEL, source=source))
    return found


def judge_records(
    records: Sequence[Record],
    rows: Sequence[PromptRow],
    config: EvaluateConfig,
    device: torch.device,
) -> list[Record]:
    """The records with the scores of every judge and the axes.

    A reward model's score is normalised as it was for PPO: (raw - mean) / std.

    Raises:
        TrainingError: a judge raised, or gave something other than a number, naming the prompt.
    """
    sources = {GOLD: config.gold} if config.gold else {}
    sources |= {key: path for key, (_, path) in _reward_models(config).items()}
    for key, source in sources.items():
        scores = _score(records, rows, source, config.judge_templates, device)
        records = [
            replace(r, scores={**r.scores, key: score})
            for r, score in zip(records, scores, strict=True)
        ]
    return _with_axes(records, rows, config.axes) if config.axes else list(records)


def _reward_models(config: EvaluateConfig) -> dict[str, tuple[str, str]]:
    """Key in a record's scores -> (name, path); the key of a single one needs no name."""
    paths = named_paths(config.reward_model, "reward_model")
    single = len(paths) == 1
    return {
        REWARD_MODEL if single else f"{REWARD_MODEL}:{name}": (name, path)
        for name, path in paths.items()
    }


def _score(
    records: Sequence[Record],
    rows: Sequence[PromptRow],
    source: str,
    templates: Mapping[str, JudgeTemplate],
    device: torch.device,
) -> list[float]:
    """One score a record. A text that came several times is scored once: a tie is a tie."""
    first: dict[tuple[int, str], int] = {}
    for record in records:
        first.setdefault((record.prompt_index, record.response), len(first))
    unique = list(first)
    scored = load_reward([source], templates=templates, device=device).score(
        [rows[index].prompt for index, _ in unique],
        [text for _, text in unique],
        [rows[index].columns for index, _ in unique],
    )
    values = scored.scores.tolist()
    return [float(values[first[(r.prompt_index, r.response)]]) for r in records]


def _with_axes(records: Sequence[Record], rows: Sequence[PromptRow], source: str) -> list[Record]:
    function = load_function(source)
    return [
        replace(r, axes=_axes_of(function, rows[r.prompt_index], r.text, source)) for r in records
    ]


def _axes_of(
    function: Callable[..., Any], row: PromptRow, text: str, source: str
) -> Mapping[str, float | None]:
    try:
        found = function(row.prompt, text)
        return {str(k): None if v is None else float(v) for k, v in found.items()}
    except Exception as error:
        raise TrainingError(f"axes {source} failed on prompt {row.prompt!r}: {error!r}") from error
