"""The weights of annotators, where they are asked for: estimated once, then read again.

With `annotator_weights: model` the rankings of each half of the prompts are scored by a model of
the other half.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.scorer import Scorer, score_ids
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.reward.annotators import (
    describe,
    estimate_reliabilities,
    read_reliabilities,
    weighted,
    write_reliabilities,
)
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import TokenRanking, flatten
from rlhf.training.reward.loss import settled_tie_threshold
from rlhf.training.reward.trainer import train_reward_model

HALVES = 2


def weigh_annotators(
    rankings: Sequence[TokenRanking],
    make_model: Callable[[], PreTrainedModel | PeftModel],
    *,
    run: RunConfig,
    model_config: ModelConfig,
    config: RewardModelConfig,
    pad_token_id: int,
    resuming: bool,
) -> list[TokenRanking]:
    """The rankings with their annotators' weights, as annotators.json of the run folder says.

    The file is written here, unless a run goes on: then it is read, so that its steps are those
    that it would have taken.

    Raises:
        ConfigError: as `estimate_reliabilities`.
    """
    if config.annotator_weights == "none":
        return list(rankings)
    folder = Path(run.output_dir)
    found = read_reliabilities(folder) if resuming else None
    if found is None:
        scores = None
        if config.annotator_weights == "model":
            scores = cross_fitted_scores(
                rankings,
                make_model,
                run=run,
                model_config=model_config,
                config=config,
                pad_token_id=pad_token_id,
            )
        reliabilities = estimate_reliabilities(rankings, scores)
        on_main_process(lambda: write_reliabilities(folder, reliabilities))
        found = reliabilities
    print_once(*describe(found))
    return weighted(rankings, found)


def cross_fitted_scores(
    rankings: Sequence[TokenRanking],
    make_model: Callable[[], PreTrainedModel | PeftModel],
    *,
    run: RunConfig,
    model_config: ModelConfig,
    config: RewardModelConfig,
    pad_token_id: int,
) -> list[list[float]]:
    """For each ranking the scores of its answers by a model of the other half of the prompts.

    A model that was trained on an annotator's rankings repeats their errors and would vouch for
    them. The two trainings take as many steps as the run itself; they start over where a run was
    broken off in them.

    Raises:
        ConfigError: so few prompts that a half is empty; else as `train_reward_model`.
    """
    folder = Path(run.output_dir) / "cross_fit"
    half = [int(hash_text(f"{run.seed} {row.group}")[:8], 16) % HALVES for row in rankings]
    if len(set(half)) < HALVES:
        raise ConfigError(
            "annotator_weights=model trains on each half of the prompts, and one half of these "
            f"{len({row.group for row in rankings})} is empty; use annotator_weights=agreement, "
            "or give more prompts."
        )
    tie_threshold = settled_tie_threshold(config, rankings)
    scores: dict[int, list[float]] = {}
    for number in range(HALVES):
        on_main_process(lambda: shutil.rmtree(folder, ignore_errors=True))
        print_once(f"annotator weights: a model of half the prompts, {number + 1} of {HALVES}")
        model = make_model()
        train_reward_model(
            model,
            [row for row, of in zip(rankings, half, strict=True) if of != number],
            [],
            run=replace(run, output_dir=str(folder), report_to=[]),
            model_config=model_config,
            config=_of_a_half(config, tie_threshold),
            pad_token_id=pad_token_id,
            data_sha256="",
            resume=None,
        )
        unseen = [index for index, of in enumerate(half) if of == number]
        scorer = Scorer(model, bf16=use_bf16(model_config))
        scores |= _scores(scorer, rankings, unseen, pad_token_id)
    on_main_process(lambda: shutil.rmtree(folder, ignore_errors=True))
    return [scores[index] for index in range(len(rankings))]


def _of_a_half(config: RewardModelConfig, tie_threshold: float) -> RewardModelConfig:
    """As the run itself, with its tie threshold and half of its steps, and nothing kept."""
    steps = None if config.max_steps is None else math.ceil(config.max_steps / HALVES)
    return replace(
        config,
        max_steps=steps,
        tie_threshold=tie_threshold or None,
        num_heads=1,
        early_stopping_patience=None,
        save_steps=10**9,
    )


def _scores(
    scorer: Scorer, rankings: Sequence[TokenRanking], chosen: Sequence[int], pad_token_id: int
) -> dict[int, list[float]]:
    """Scores of the chosen rankings, by their place; processes share them out."""
    state = PartialState()
    mine = chosen[state.process_index :: state.num_processes]
    flat = flatten([rankings[index] for index in mine])
    each = iter(score_ids(scorer, flat.ids, pad_token_id)[flat.index].tolist())
    found = [(index, [next(each) for _ in rankings[index].ids]) for index in mine]
    return dict(gather_object(found))
