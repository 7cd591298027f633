"""The logged metrics in literal numbers: two responses made by hand, no model."""

import dataclasses

import pytest
import torch

from rlhf.training.ppo.experience import make_experience
from rlhf.training.ppo.metrics import (
    Clock,
    experience_metrics,
    held_out_metrics,
    rollout_metrics,
)
from rlhf.types import ScoredRollouts
from tests.training.ppo.test_experience import MASK, config, scored
from tests.training.ppo.tiny_ppo import settings

NAN = float("nan")


def judged() -> ScoredRollouts:
    """Scores 2 and -3 of two sources; entropies 1, 2 and 3, NaN behind them."""
    rollouts_with_scores = scored()
    scores = dataclasses.replace(
        rollouts_with_scores.scores,
        breakdown={"a/x.py:f": torch.tensor([1.0, 0.0]), "b": torch.tensor([1.0, -3.0])},
    )
    entropies = torch.tensor([[1.0, 2.0], [3.0, NAN]])
    rollouts = dataclasses.replace(rollouts_with_scores.rollouts, entropies=entropies)
    return dataclasses.replace(rollouts_with_scores, rollouts=rollouts, scores=scores)


def test_literal_rollout_metrics():
    """k1 = 0.2, 0.4 | -0.2, sum 0.4 over 3 tokens of 2 responses.

    k3 = e^-0.2 - 0.8, e^-0.4 - 0.6 | e^0.2 - 1.2 = 0.018731, 0.070320 | 0.021403, sum 0.110454.
    The scores' mean is -0.5, and both are 2.5 from it.
    """
    assert rollout_metrics(judged()) == pytest.approx(
        {
            "score": -0.5,
            "score_std": 2.5,
            "kl": 0.2,
            "kl_k3": 0.110454 / 2,
            "kl_per_token": 0.4 / 3,
            "kl_k3_per_token": 0.110454 / 3,
            "entropy": 2.0,
            "response_length": 1.5,
            "eos_rate": 0.5,
            "distinct_2": 1.0,
            "score/x.py:f": 0.5,
            "score/b": -1.0,
        },
        abs=1e-5,
    )


def test_literal_experience_metrics():
    """Returns 1.3, 1.8 | -2.9 have variance 6.6633; less the values 0.5, 1 | -1 they are 0.8, 0.8
    | -1.9, variance 2.43: 1 - 2.43 / 6.6633. Rewards -0.1, 1.8 | -2.9 are -0.6 a response."""
    keys = settings(
        output_dir="run",
        model_name_or_path="m",
        train_data="rows",
        max_steps=1,
        lam=0.5,
        on_reward_error="skip",
        rollout_batch_size=4,
        num_minibatches=1,
    )
    metrics = experience_metrics(make_experience(judged(), keys.ppo, kl_coef=0.5), keys)
    expected = {"reward": -0.6, "explained_variance": 0.635318, "rewards_skipped": 2}
    assert metrics == pytest.approx(expected, abs=1e-5)


def test_literal_held_out_metrics():
    """The standard error of two scores 2.5 from their mean: 2.5 / √2."""
    metrics = held_out_metrics(judged())
    assert metrics["eval_score_error"] == pytest.approx(2.5 / 2**0.5)
    assert (metrics["eval_score"], metrics["eval_eos_rate"]) == (-0.5, 0.5)


def test_speeds_are_over_all_phases():
    """2 responses of 3 tokens in 1.5 + 2.5 seconds."""
    clock = Clock()
    clock.seconds = {"seconds_rollout": 1.5, "seconds_update": 2.5}
    metrics = clock.speeds(make_experience(judged(), config(), kl_coef=0.0))
    assert int(MASK.sum()) == 3
    assert (metrics["samples_per_second"], metrics["tokens_per_second"]) == (0.5, 0.75)
    assert metrics["seconds_rollout"] == 1.5
