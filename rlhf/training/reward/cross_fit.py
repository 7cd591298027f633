"""Weights of annotators: estimated once, then read from annotators.json.

With `annotator_weights: model` the rankings of each half of the prompts are scored by a model that
was trained on the other half.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace

from rlhf.errors import ConfigError
from rlhf.manifest import hash_text
from rlhf.models.reward_init import load_model
from rlhf.models.scorer import Scorer
from rlhf.runtime.distributed import on_main_process, print_once
from rlhf.training.reward.annotators import (
    describe,
    estimate_reliabilities,
    read_reliabilities,
    weighted,
    write_reliabilities,
)
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import TokenRanking
from rlhf.training.reward.loop import train_reward_model
from rlhf.training.reward.loss import settled_tie_threshold
from rlhf.training.reward.metrics import response_scores
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.setup import RewardSetup

HALVES = 2


def weigh_annotators(
    rankings: Sequence[TokenRanking], setup: RewardSetup, *, resuming: bool
) -> list[TokenRanking]:
    """The rankings with their annotators' weights, which annotators.json of the run folder holds.

    The file is written here. A resumed run reads it instead, so that its steps are those of the
    interrupted run.

    Raises:
        ConfigError: see `estimate_reliabilities`.
    """
    if setup.config.annotator_weights == "none":
        return list(rankings)
    reliabilities = read_reliabilities(setup.folder) if resuming else None
    if reliabilities is None:
        scores = None
        if setup.config.annotator_weights == "model":
            scores = cross_fitted_scores(rankings, setup)
        estimated = estimate_reliabilities(rankings, scores)
        on_main_process(lambda: write_reliabilities(setup.folder, estimated))
        reliabilities = estimated
    print_once(*describe(reliabilities))
    return weighted(rankings, reliabilities)


def cross_fitted_scores(rankings: Sequence[TokenRanking], setup: RewardSetup) -> list[list[float]]:
    """For each ranking the scores of its responses by a model of the other half of the prompts.

    A model that was trained on an annotator's rankings repeats their errors and would confirm
    them. Each of the two trainings takes half the steps of the run. An interrupted run starts them
    from scratch.

    Raises:
        ConfigError: so few prompts that a half is empty; else see `train_reward_model`.
    """
    seed, folder = setup.run.seed, setup.folder / "cross_fit"
    halves = [int(hash_text(f"{seed} {row.group}")[:8], 16) % HALVES for row in rankings]
    if len(set(halves)) < HALVES:
        raise ConfigError(
            "annotator_weights=model trains on each half of the prompts, but one half of these "
            f"{len({row.group for row in rankings})} is empty; use annotator_weights=agreement, "
            "or give more prompts.",
            code="key-conflict",
        )
    half_setup = replace(
        setup,
        run=replace(setup.run, output_dir=str(folder), report_to=[]),
        config=_half_config(setup.config, settled_tie_threshold(setup.config, rankings)),
    )
    scores: dict[int, list[float]] = {}
    for number in range(HALVES):
        on_main_process(lambda: shutil.rmtree(folder, ignore_errors=True))
        print_once(f"annotator weights: a model of half the prompts, {number + 1} of {HALVES}")
        model = load_model(setup.model, seed, dtype=setup.weights_dtype)
        others = [row for row, half in zip(rankings, halves, strict=True) if half != number]
        model_scores = Scores(Scorer(model, bf16=setup.bf16), setup.chat.pad_token_id)
        train_reward_model(model_scores, others, [], half_setup, resume=None)
        unseen = [index for index, half in enumerate(halves) if half == number]
        values = response_scores(model_scores, [rankings[index] for index in unseen])
        scores |= dict(zip(unseen, [row.tolist() for row in values], strict=True))
    on_main_process(lambda: shutil.rmtree(folder, ignore_errors=True))
    return [scores[index] for index in range(len(rankings))]


def _half_config(config: RewardModelConfig, tie_threshold: float) -> RewardModelConfig:
    """The run's keys, with its tie threshold, half of its steps, and no checkpoint."""
    steps = None if config.max_steps is None else math.ceil(config.max_steps / HALVES)
    return replace(
        config,
        max_steps=steps,
        tie_threshold=tie_threshold or None,
        num_heads=1,
        early_stopping_patience=None,
        save_steps=10**9,
    )
