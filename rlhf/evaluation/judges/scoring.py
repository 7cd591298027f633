"""Judges that score responses: a gold function, reward models, and axes of the gold score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.config import EvaluateConfig, named_paths
from rlhf.evaluation.core.metrics import Judge
from rlhf.evaluation.core.records import Record
from rlhf.rewards.function import RewardFunction, is_generative, load_function
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import load_reward
from rlhf.rewards.spec import RewardSpec
from rlhf.rewards.templates import JudgeTemplate
from rlhf.types import PromptRow

AxesFunction = Callable[..., Mapping[str, float | None]]
"""Prompt and response -> value of each axis."""

GOLD, REWARD_MODEL = "gold", "reward_model"


@dataclass(frozen=True, kw_only=True)
class ScoringJudge:
    """A judge that gives every response a number."""

    judge: Judge  # how records and results name it
    scorer: str | RewardFunction | RewardModel  # a folder, hub id or file.py:function, or loaded
    template: JudgeTemplate = field(default_factory=JudgeTemplate)


def judges_of_config(config: EvaluateConfig) -> list[ScoringJudge]:
    """The judges of the keys `gold` and `reward_model`; gold first, the others approximate it."""
    judges = []
    if config.gold:
        judges.append(ScoringJudge(judge=Judge(key=GOLD, kind=GOLD), scorer=config.gold))
    paths = named_paths(config.reward_model, "reward_model")
    for name, path in paths.items():
        judge = _reward_model_judge(name, single=len(paths) == 1)
        # Generative ones and servers have their own.
        template = config.judge_templates.get(path, JudgeTemplate())
        judges.append(ScoringJudge(judge=judge, scorer=path, template=template))
    return judges


def judges_of_objects(
    judges: Sequence[str | RewardFunction | RewardModel], template: JudgeTemplate
) -> list[ScoringJudge]:
    """Judges from strings as in the keys `gold` and `reward_model`, functions or reward models.

    Args:
        judges: the judges; a function is the gold score.
        template: the chat template of reward models that are not loaded yet.

    Raises:
        ConfigError: several functions, or two reward models with the same name.
    """
    functions = [each for each in judges if _is_gold(each)]
    if len(functions) > 1:
        raise ConfigError(
            f"judge has {len(functions)} functions; use one, the gold score.", code="bad-value"
        )
    models = {_name_of(each): each for each in judges if not _is_gold(each)}
    if len(models) + len(functions) < len(judges):
        raise ConfigError("judge has two reward models with the same name.", code="repeated-key")
    scoring = [ScoringJudge(judge=Judge(key=GOLD, kind=GOLD), scorer=each) for each in functions]
    for name, model in models.items():
        judge = _reward_model_judge(name, single=len(models) == 1)
        if isinstance(model, str):
            model = next(iter(named_paths([model], "judge").values()))
        scoring.append(ScoringJudge(judge=judge, scorer=model, template=template))
    return scoring


def judge_records(
    records: Sequence[Record],
    rows: Sequence[PromptRow],
    judges: Sequence[ScoringJudge],
    *,
    axes: str | None = None,
    device: torch.device,
) -> list[Record]:
    """The records with the scores of every judge and the axes.

    A reward model's score is normalised as for PPO: (raw - mean) / std.

    Args:
        records: responses to score.
        rows: the prompts, with the columns that a function may read.
        judges: who scores.
        axes: `file.py:function` from (prompt, completion) to {axis: number or None}.
        device: where reward models are loaded.

    Raises:
        TrainingError: a judge raised an error or returned something other than a number; the
            message has the prompt.
    """
    for judge in judges:
        scores = _scores(records, rows, judge, device)
        records = [
            replace(record, scores={**record.scores, judge.judge.key: score})
            for record, score in zip(records, scores, strict=True)
        ]
    return _with_axes(records, rows, axes) if axes else list(records)


def _is_gold(judge: str | RewardFunction | RewardModel) -> bool:
    """Whether the judge is the gold score: a function, but not a generative reward model."""
    if isinstance(judge, GenerativeReward) or (isinstance(judge, str) and is_generative(judge)):
        return False
    return not RewardSpec(judge).is_model


def _name_of(judge: str | RewardFunction | RewardModel) -> str:
    """The name of a reward model: of NAME=PATH, or the last part of its path."""
    if isinstance(judge, RewardModel | GenerativeReward):
        return Path(judge.path).name
    return next(iter(named_paths([str(judge)], "judge")))


def _reward_model_judge(name: str, *, single: bool) -> Judge:
    """A single reward model needs no name."""
    if single:
        return Judge(key=REWARD_MODEL, kind=REWARD_MODEL)
    return Judge(key=f"{REWARD_MODEL}:{name}", kind=REWARD_MODEL, source=name)


def _scores(
    records: Sequence[Record],
    rows: Sequence[PromptRow],
    judge: ScoringJudge,
    device: torch.device,
) -> list[float]:
    """One score per record. Equal texts are scored once, so that they tie."""
    places: dict[tuple[int, str], int] = {}
    for record in records:
        places.setdefault((record.prompt_index, record.response), len(places))
    unique = list(places)
    templates = {judge.scorer: judge.template} if isinstance(judge.scorer, str) else {}
    scores = load_reward(judge.scorer, templates=templates, device=device).score(
        [rows[index].prompt for index, _ in unique],
        [text for _, text in unique],
        [rows[index].columns for index, _ in unique],
    )
    values = scores.scores.tolist()
    return [float(values[places[record.prompt_index, record.response]]) for record in records]


def _with_axes(records: Sequence[Record], rows: Sequence[PromptRow], source: str) -> list[Record]:
    function = cast(AxesFunction, load_function(source))
    return [
        replace(r, axes=_axes_of(function, rows[r.prompt_index], r.text, source)) for r in records
    ]


def _axes_of(
    function: AxesFunction, row: PromptRow, text: str, source: str
) -> Mapping[str, float | None]:
    try:
        axes = function(row.prompt, text)
        return {str(k): None if v is None else float(v) for k, v in axes.items()}
    except Exception as error:
        raise TrainingError(
            f"axes={source} failed on prompt {row.prompt!r}: {error!r}", code="judge-failed"
        ) from error
