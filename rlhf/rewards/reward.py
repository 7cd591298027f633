"""The reward of a run: its sources, weighted and added up, breakdown kept."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from rlhf.errors import ConfigError
from rlhf.rewards.case import Case, cases_of
from rlhf.rewards.concurrent import AsyncScorer, ConcurrentCalls, Outcome
from rlhf.rewards.config import (
    ENSEMBLES,
    UNCERTAINTY_COEF,
    Aggregation,
    Normalization,
    OnError,
)
from rlhf.rewards.counts import RewardCounts
from rlhf.rewards.ensemble import aggregate, check_ensemble
from rlhf.rewards.function import RewardFunction
from rlhf.rewards.http_shapes import Texts
from rlhf.rewards.model import RewardModel, check_verifier
from rlhf.rewards.options import CallOptions
from rlhf.rewards.scorers import load_scorer
from rlhf.rewards.source import (
    RewardSource,
    heads_of,
    values_of,
    values_of_outcomes,
    values_or_failures,
)
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
            `normalized_sum` is that sum here: a trainer standardises the sources, over all
            responses that it trains on. Otherwise all reward models and their heads are the members
            of one ensemble, which counts as one source: see rlhf/rewards/ensemble.py.
        uncertainty_coef: weight of the members' variance with aggregation="uncertainty".
        calls: limits of the calls of servers, judges, async functions and verifier:code.
    """

    def __init__(
        self,
        sources: Sequence[RewardSource],
        *,
        on_error: OnError = "stop",
        aggregation: Aggregation = "sum",
        uncertainty_coef: float = UNCERTAINTY_COEF,
        calls: CallOptions | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.on_error = on_error
        self.aggregation = aggregation
        self.uncertainty_coef = uncertainty_coef
        self.counts = RewardCounts()
        self._calls = ConcurrentCalls(calls or CallOptions(), self.counts, stop=on_error == "stop")

    @property
    def is_called(self) -> bool:
        """Whether a source is called: a server, judge, async function or verifier:code."""
        return any(isinstance(source.scorer, AsyncScorer) for source in self.sources)

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
        called = self._start_calls(cases_of(prompts, responses, columns))
        total = torch.zeros(len(prompts))
        breakdown, failures = {}, [""] * len(prompts)
        skipped = None if self.on_error == "stop" else failures
        members = []
        try:
            for source in self.sources:
                if self.aggregation in ENSEMBLES and isinstance(source.scorer, RewardModel):
                    heads = heads_of(source, source.scorer, prompts, responses, columns, skipped)
                    members.append(heads)
                    breakdown[source.name] = heads.mean(dim=1)
                else:
                    if isinstance(source.scorer, AsyncScorer):
                        outcomes = called.result()[source.name]
                        raw = values_of_outcomes(source, outcomes, prompts, skipped)
                    elif skipped is None:
                        raw = values_of(source, prompts, responses, columns)
                    else:
                        raw = values_or_failures(source, prompts, responses, columns, skipped)
                    normalized = source.normalized(torch.tensor(raw))
                    breakdown[source.name] = normalized
                    total = total + source.weight * normalized
                self._count(source.name, breakdown[source.name])
        finally:
            called.cancel()
        if members:
            total = total + aggregate(
                torch.cat(members, dim=1),
                self.aggregation,
                uncertainty_coef=self.uncertainty_coef,
            )
        return Scores(scores=total, breakdown=breakdown, failures=failures)

    def _start_calls(self, cases: Sequence[Case]) -> Future[Mapping[str, list[Outcome]]]:
        """The outcomes of the sources that are called, while this process scores by the others."""
        scorers = {
            source.name: source.scorer
            for source in self.sources
            if isinstance(source.scorer, AsyncScorer)
        }
        if scorers:
            return self._calls.start(scorers, cases)
        nothing: Future[Mapping[str, list[Outcome]]] = Future()
        nothing.set_result({})
        return nothing

    def _count(self, name: str, values: Tensor) -> None:
        counts = self.counts.of(name)
        counts.responses += len(values)
        counts.unusable += int((~values.isfinite()).sum())


def load_reward(
    rewards: RewardLike | Sequence[RewardLike],
    *,
    normalize: Normalization = "mean_std",
    on_error: OnError = "stop",
    aggregation: Aggregation = "sum",
    uncertainty_coef: float = UNCERTAINTY_COEF,
    templates: Mapping[str, JudgeTemplate] | None = None,
    calls: CallOptions | None = None,
    texts: Texts | None = None,
    device: torch.device | str = "cpu",
    bf16: bool = False,
) -> Reward:
    """The weighted sum of `rewards`, loaded.

    A reward model's raw logit is shifted by its mean on demonstrations (so that their mean is
    0) and, with `mean_std`, divided by its standard deviation; so is that of a server of this
    project. The values of other sources stay unchanged.

    Args:
        rewards: one or several of what `RewardLike` lists.
        normalize: of reward models: none, mean, mean_std, or probability.
        on_error: stop, or skip responses without a usable reward.
        aggregation: sum, or how reward models and their heads form one ensemble.
        uncertainty_coef: weight of the variance with aggregation="uncertainty".
        templates: chat templates by name; a reward model without one reads its own.
        calls: limits of the calls of servers, judges, async functions and verifier:code.
        texts: how conversations become texts, for servers that read texts.
        device: where reward models are loaded.
        bf16: whether they compute in bf16.

    Raises:
        ConfigError: no reward, the same one twice, a function that does not load, an ensemble of
            fewer than two members or with weights, probabilities of a model that has none.
        CheckpointError: a folder or id that is not a reward model.
    """
    specs, calls = parse_rewards(rewards), calls or CallOptions()
    scorers = {
        spec.name: load_scorer(spec, calls, texts, device=device, bf16=bf16)
        for spec in specs
        if not spec.is_model
    }  # before models
    sources = []
    for spec in specs:
        template = (templates or {}).get(spec.name, JudgeTemplate())
        scorer = scorers.get(spec.name) or _loaded(spec, template, device, bf16)
        sources.append(_source(spec, scorer, normalize))
    if aggregation in ENSEMBLES:
        models = [
            (source.name, source.weight, source.scorer.num_heads)
            for source in sources
            if isinstance(source.scorer, RewardModel)
        ]
        check_ensemble(aggregation, models)
    return Reward(
        sources,
        on_error=on_error,
        aggregation=aggregation,
        uncertainty_coef=uncertainty_coef,
        calls=calls,
    )


def _source(
    spec: RewardSpec,
    scorer: RewardModel | RewardFunction | AsyncScorer,
    normalize: Normalization,
) -> RewardSource:
    """The source with its scale: reward models and servers of this project have one."""
    if not isinstance(scorer, RewardModel | AsyncScorer):
        return RewardSource(name=spec.name, weight=spec.weight, scorer=scorer)
    as_probability = False
    if normalize == "probability" and isinstance(scorer, RewardModel):
        as_probability = True
        check_verifier(scorer.path, scorer.objective)
    elif normalize == "probability" and spec.kind == "server":
        raise ConfigError(
            f"normalize_reward=probability is for reward models on this machine, not for "
            f"{spec.name}; use another value.",
            code="unsupported",
        )
    return RewardSource(
        name=spec.name,
        weight=spec.weight,
        scorer=scorer,
        shift=scorer.mean if normalize in ("mean", "mean_std") else 0.0,
        divisor=scorer.std if normalize == "mean_std" else 1.0,
        is_probability=as_probability,
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
