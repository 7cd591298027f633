"""The reward of a run: reward models and functions, weighted and added up, breakdown kept."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from rlhf.data.rows.sources import split_weight
from rlhf.errors import ConfigError
from rlhf.rewards.ensemble import (
    UNCERTAINTY_COEF,
    Aggregation,
    aggregate,
    check_ensemble,
)
from rlhf.rewards.function import is_function, load_function
from rlhf.rewards.model import RewardModel
from rlhf.rewards.source import RewardSource, heads_of, values_of, values_or_failures
from rlhf.rewards.templates import JudgeTemplate
from rlhf.types import Prompt, Scores

Normalization = Literal["none", "mean", "mean_std"]
OnError = Literal["stop", "skip"]


class Reward:
    """Scores answers with every source and adds them up.

    on_error: `stop` raises for an answer that a source gives no finite number for; `skip` leaves
    that answer without a score and says why in `Scores.failures`.
    aggregation: `sum` adds reward models up like any source, each the mean of its heads.
    Otherwise all of them, and all their heads, are the members of one ensemble, which counts as
    one source: see rlhf/rewards/ensemble.py.
    """

    def __init__(
        self,
        sources: Sequence[RewardSource],
        *,
        on_error: OnError = "stop",
        aggregation: Aggregation = "sum",
        uncertainty_coef: float = UNCERTAINTY_COEF,
    ) -> None:
        self.sources = tuple(sources)
        self.on_error = on_error
        self.aggregation = aggregation
        self.uncertainty_coef = uncertainty_coef

    def score(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        columns: Sequence[Mapping[str, Any]] | None = None,
    ) -> Scores:
        """One score an answer; the breakdown holds each source's value before its weight.

        Raises:
            TrainingError: a source raised, or gave None, a number that is not finite, or
                another count of numbers; with the prompts it gave them for.
        """
        columns = [{} for _ in prompts] if columns is None else columns
        total = torch.zeros(len(prompts))
        breakdown, failures = {}, [""] * len(prompts)
        members = []
        for source in self.sources:
            if self.aggregation != "sum" and isinstance(source.scorer, RewardModel):
                skipped = None if self.on_error == "stop" else failures
                members.append(
                    heads_of(source, source.scorer, prompts, responses, columns, skipped)
                )
                breakdown[source.name] = members[-1].mean(dim=1)
                continue
            if self.on_error == "stop":
                found = values_of(source, prompts, responses, columns)
            else:
                found = values_or_failures(source, prompts, responses, columns, failures)
            values = torch.tensor(found)
            normalized = (values - source.shift) / source.divisor
            breakdown[source.name] = normalized
            total = total + source.weight * normalized
        if members:
            total = total + aggregate(
                torch.cat(members, dim=1),
                self.aggregation,
                uncertainty_coef=self.uncertainty_coef,
            )
        return Scores(scores=total, breakdown=breakdown, failures=failures)


def load_reward(
    sources: Sequence[str],
    *,
    normalize: Normalization = "mean_std",
    on_error: OnError = "stop",
    aggregation: Aggregation = "sum",
    uncertainty_coef: float = UNCERTAINTY_COEF,
    templates: Mapping[str, JudgeTemplate] | None = None,
    device: torch.device | str = "cpu",
    bf16: bool = False,
) -> Reward:
    """The weighted sum of `sources`: folders, hub ids, `file.py:function`, `WEIGHT*SOURCE`.

    A reward model's raw logit is shifted by its mean on demonstrations (so that their mean is
    0) and, with `mean_std`, divided by its std. Functions are taken as they are. `templates`:
    chat templates by source; a reward model without one reads its own.

    Raises:
        ConfigError: no source, the same one twice, a function that does not load, an ensemble of
            fewer than two members or with weights.
        CheckpointError: a folder or id that is no reward model.
    """
    weighted = [split_weight(source) for source in sources]
    names = [name for _, name in weighted]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"reward={list(sources)} names {'a source twice' if names else 'nothing'}; "
            "give each reward model or file.py:function once."
        )
    functions = {name: load_function(name) for name in names if is_function(name)}
    loaded: list[RewardSource] = []
    for weight, name in weighted:
        if name in functions:
            loaded.append(RewardSource(name=name, weight=weight, scorer=functions[name]))
            continue
        judge = (templates or {}).get(name, JudgeTemplate())
        model = RewardModel(
            name,
            chat_template=judge.template,
            template_kwargs=judge.kwargs,
            device=device,
            bf16=bf16,
        )
        loaded.append(
            RewardSource(
                name=name,
                weight=weight,
                scorer=model,
                shift=model.mean if normalize != "none" else 0.0,
                divisor=model.std if normalize == "mean_std" else 1.0,
            )
        )
    if aggregation != "sum":
        models = [
            (one.name, one.weight, one.scorer.num_heads)
            for one in loaded
            if isinstance(one.scorer, RewardModel)
        ]
        check_ensemble(aggregation, models)
    return Reward(
        loaded, on_error=on_error, aggregation=aggregation, uncertainty_coef=uncertainty_coef
    )
