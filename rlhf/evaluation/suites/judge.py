"""The judge of a suite's rubrics: from suite.yaml, or from the keys of the command."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rlhf.errors import ConfigError
from rlhf.evaluation.suites.suite import Figure, Suite
from rlhf.manifest import hash_text
from rlhf.rewards.judge import load_local_judge_file, load_remote_judge_file
from rlhf.rewards.judge_file import JudgeFile
from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import Reward
from rlhf.rewards.source import RewardSource

TIMEOUT = 600.0  # seconds of a grade; a reasoning model takes minutes


@dataclass(frozen=True, kw_only=True)
class JudgeKeys:
    """The judge that the command names; it replaces that of every suite."""

    judge: str | None = None  # an address, a folder or a hub id
    model: str = ""  # of an address
    max_tokens: int | None = None
    bf16: bool = False  # whether a local judge computes in bf16, of any suite


def judge_file(suite: Suite, figure: Figure, keys: JudgeKeys) -> JudgeFile:
    """The judge of a figure with a rubric.

    Raises:
        ConfigError: neither the suite nor the command names a judge, or its model.
    """
    settings: Mapping[str, Any] = suite.judge if keys.judge is None else {}
    judge = keys.judge or settings.get("judge")
    place = f"suite {suite.name}, figure {figure.name}"
    if not isinstance(judge, str):
        raise ConfigError(
            f"{place} has a rubric but no judge; give --judge ADDRESS_OR_FOLDER, write judge into "
            "suite.yaml, or leave the suite out with --only.",
            code="missing-key",
        )
    file = JudgeFile(
        name=figure.name,
        judge=judge,
        rubric=figure.rubric,
        low=figure.scale[0],
        high=figure.scale[1],
        model=keys.model or str(settings.get("model") or ""),
        max_tokens=keys.max_tokens or int(settings.get("max_tokens") or 512),
        temperature=float(settings.get("temperature") or 0.0),
        fields=settings.get("fields") or {},
    )
    if file.is_remote and not file.model:
        raise ConfigError(
            f"{place}: judge {judge} is an address; name its model with judge_model.",
            code="missing-key",
        )
    return file


def grading_hash(figure: Figure, file: JudgeFile) -> str:
    """A hash of all that decides a judge's grades: rubric, prompts, turn, and who judges."""
    settings = [file.rubric, file.low, file.high, file.judge, file.model, file.temperature]
    parts = [*settings, dict(file.fields), figure.turn, dict(figure.where)]
    return hash_text(json.dumps(parts, default=list))


def grading(file: JudgeFile, device: torch.device, *, bf16: bool) -> Reward:
    """A reward that grades responses; NaN where the judge gives no grade.

    `device` and `bf16` are those of a local judge.
    """
    calls = CallOptions(timeout=TIMEOUT)
    if not file.is_remote:
        scorer: Any = load_local_judge_file(file, device=device, bf16=bf16)
    else:
        # Unlike a reward in training, a judge of a suite stores no scores.
        scorer = load_remote_judge_file(file, calls, hash_text(file.rubric))
    source = RewardSource(name=file.name, weight=1.0, scorer=scorer)
    return Reward([source], on_error="skip", calls=calls)
