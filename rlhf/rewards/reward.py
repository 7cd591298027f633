"""The reward of a run: reward models and functions, weighted and added up, breakdown kept."""

from collections.abc import Mapping, Sequence

import torch

from rlhf.rewards.config import UNCERTAINTY_COEF, Aggregation, Normalization, OnError
from rlhf.rewards.ensemble import aggregate, check_ensemble
from rlhf.rewards.function import RewardFunction
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.model import RewardModel, check_verifier
from rlhf.rewards.source import RewardSource, heads_of, values_of, values_or_failures
from rlhf.rewards.spec import RewardLike, RewardSpec, parse_rewards
from rlhf.rewards.templates import JudgeTemplate
from rlhf.types import Prompt, Scores


class Reward:
    """Scores responses with every source and adds them up.

    Args:
        sources: the summands.
        on_error: `stop` raises for a response without a finite value; `skip` leaves it without a
            score and puts the reason into `Scores.failures`.
        aggregation: `sum` adds reward models like any source, each as the mean of its heads.
            Otherwise all reward models and their heads are the members of one ensemble, which
            counts as one source: see rlhf/rewards/ensemble.py.
        uncertainty_coef: weight of the members' variance with aggregation="uncertainty".
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
        columns: Sequence[Mapping[str, object]] | None = None,
    ) -> Scores:
        """One score per response; the breakdown holds each source's value before its weight.

        Raises:
            TrainingError: a source raised, or returned None, a number that is not finite, or
                another count of numbers; the message names the prompts.
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
                raw = values_of(source, prompts, responses, columns)
            else:
                raw = values_or_failures(source, prompts, responses, columns, failures)
            values = torch.tensor(raw)
            normalized = source.normalized(values)
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
    rewards: RewardLike | Sequence[RewardLike],
    *,
    normalize: Normalization = "mean_std",
    on_error: OnError = "stop",
    aggregation: Aggregation = "sum",
    uncertainty_coef: float = UNCERTAINTY_COEF,
    templates: Mapping[str, JudgeTemplate] | None = None,
    device: torch.device | str = "cpu",
    bf16: bool = False,
) -> Reward:
    """The weighted sum of `rewards`, loaded.

    A reward model's raw logit is shifted by its mean on demonstrations (so that their mean is
    0) and, with `mean_std`, divided by its standard deviation. A function's values stay unchanged.

    Args:
        rewards: one or several of what `RewardLike` lists.
        normalize: of reward models: none, mean, mean_std, or probability.
        on_error: stop, or skip responses without a usable reward.
        aggregation: sum, or how reward models and their heads form one ensemble.
        uncertainty_coef: weight of the variance with aggregation="uncertainty".
        templates: chat templates by name; a reward model without one reads its own.
        device: where reward models are loaded.
        bf16: whether they compute in bf16.

    Raises:
        ConfigError: no reward, the same one twice, a function that does not load, an ensemble of
            fewer than two members or with weights, probabilities of a model that has none.
        CheckpointError: a folder or id that is not a reward model.
    """
    specs = parse_rewards(rewards)
    functions = {spec.name: spec.function() for spec in specs if spec.is_function}  # before models
    sources = []
    for spec in specs:
        if spec.name in functions:
            scorer: RewardModel | RewardFunction = functions[spec.name]
            if isinstance(scorer, GenerativeReward):
                scorer.use(device, bf16=bf16)
            sources.append(RewardSource(name=spec.name, weight=spec.weight, scorer=scorer))
            continue
        model = _loaded(spec, (templates or {}).get(spec.name, JudgeTemplate()), device, bf16)
        if normalize == "probability":
            check_verifier(model.path, model.objective)
        sources.append(
            RewardSource(
                name=spec.name,
                weight=spec.weight,
                scorer=model,
                shift=model.mean if normalize in ("mean", "mean_std") else 0.0,
                divisor=model.std if normalize == "mean_std" else 1.0,
                is_probability=normalize == "probability",
            )
        )
    if aggregation != "sum":
        models = [
            (source.name, source.weight, source.scorer.num_heads)
            for source in sources
            if isinstance(source.scorer, RewardModel)
        ]
        check_ensemble(aggregation, models)
    return Reward(
        sources, on_error=on_error, aggregation=aggregation, uncertainty_coef=uncertainty_coef
    )


def _loaded(
    spec: RewardSpec, template: JudgeTemplate, device: torch.device | str, bf16: bool
) -> RewardModel:
    if isinstance(spec.source, RewardModel):
        return spec.source
    return RewardModel(
        str(spec.source),
        chat_template=template.template,
        template_kwargs=template.kwargs,
        device=device,
        bf16=bf16,
    )
