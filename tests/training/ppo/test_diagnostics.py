"""Warnings when a run goes wrong, from literal metrics."""

import dataclasses
import math

import pytest
import torch

from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.diagnostics import (
    Warnings,
    check_finite,
    collapse_warnings,
    over_budget,
    overfit_warnings,
    starting_warnings,
)
from rlhf.training.ppo.metrics import distinct_2
from tests.errors import raises
from tests.training.ppo.tiny_ppo import make_folder, scored_of, trainer

HEALTHY = {
    "distinct_2": 0.8,
    "eos_rate": 0.9,
    "approx_kl": 0.02,
    "response_length": 20.0,
    "kl": 3.0,
    "score": 1.0,
}
BASELINE = {"distinct_2": 0.9, "eos_rate": 0.95}


def config(**changes) -> PPOConfig:
    return PPOConfig(**{"max_steps": 2, "max_completion_length": 40, **changes})


def kinds(**changes) -> set[str]:
    return set(collapse_warnings({**HEALTHY, **changes}, BASELINE, config(target_kl=4.0)))


def test_literal_distinct_2():
    """5 6 5 6 has pairs 56 65 56, and 5 6 has 56: 2 distinct of 4; padding makes no pair."""
    ids = torch.tensor([[5, 6, 5, 6], [5, 6, 0, 0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    assert distinct_2(ids, mask) == 0.5
    assert distinct_2(ids[:, :1], mask[:, :1]) == 0.0


def test_healthy_iteration_has_no_warnings():
    assert kinds() == set()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"distinct_2": 0.44}, "distinct_2"),  # below half of 0.9
        ({"eos_rate": 0.47}, "eos_rate"),  # below half of 0.95
        ({"approx_kl": 0.17}, "approx_kl"),  # what a collapse in one iteration had
        ({"response_length": 38.0}, "length"),  # 95% of 40
        ({"kl": 8.1}, "kl"),  # above twice the target of 4
    ],
)
def test_each_sign_of_collapse_has_its_warning(changes, kind):
    assert kinds(**changes) == {kind}


@pytest.mark.parametrize(
    "changes",
    [
        {"distinct_2": 0.46},
        {"eos_rate": 0.48},
        {"approx_kl": 0.1},
        {"response_length": 37.9},
        {"kl": 7.9},
    ],
)
def test_values_inside_each_limit_have_no_warning(changes):
    assert kinds(**changes) == set()


def test_warns_when_score_rises_while_held_out_score_falls():
    """Best 1.0 held out at 0.9 in training. 0.7 is three standard errors of 0.1 below."""

    def warnings_of(held_out, score, best=1.0):
        metrics = {"eval_score": held_out, "eval_score_error": 0.1}
        return overfit_warnings(metrics, score, best_score=best, score_at_best=0.9)

    assert (
        "eval_score fell from 1.00 to 0.70 while score rose from 0.90 to 1.20"
        in (warnings_of(0.7, 1.2)["eval_score"])
    )
    assert warnings_of(0.85, 1.2) == {}  # within the noise
    assert warnings_of(0.7, 0.8) == {}  # both fell: no over-optimisation
    assert warnings_of(0.7, 1.2, best=-math.inf) == {}  # nothing to compare with yet


START = {
    "first_ratio": 1.0,
    "first_approx_kl": 0.0,
    "first_clip_fraction": 0.0,
    "kl_per_token": 0.0,
    "kl_k3_per_token": 0.0,
}


def test_limits_at_the_start_depend_on_the_precision():
    metrics = START | {"first_ratio": 1.0005, "kl_per_token": 2e-5}
    assert starting_warnings(1, metrics, bf16=False).keys() == {"first_ratio", "first_kl"}
    assert starting_warnings(2, metrics, bf16=False).keys() == {"first_ratio"}
    assert starting_warnings(1, metrics, bf16=True) == {}


@pytest.mark.parametrize("recomputed", [False, True])
def test_importance_weights_are_advised_against_the_sampler_alone(recomputed):
    """They correct recomputed log-probs for the sampler; not two passes of one program."""
    metrics = START | {"first_ratio": 1.0005}
    (warning,) = starting_warnings(2, metrics, bf16=False, recomputed=recomputed).values()
    assert ("importance_weight_cap" in warning) == (not recomputed)
    assert "--bf16 false" in warning


def test_kl_detects_a_shift_that_the_mean_ratio_hides():
    """Drawn from [0.5, 0.5], trained as [0.6, 0.4]: ratios 1.2 and 0.8, their mean 1, KL 0.0204."""
    sampled, trained = torch.tensor([0.5, 0.5]), torch.tensor([0.6, 0.4])
    ratio = trained / sampled
    mean, k3 = (sampled * ratio).sum(), (sampled * (ratio - 1 - ratio.log())).sum()
    metrics = START | {"first_ratio": float(mean), "first_approx_kl": float(k3)}
    for bf16 in (True, False):
        (warning,) = starting_warnings(1, metrics, bf16=bf16).values()
        assert "a mean ratio of 1.00000, an approx KL of 0.02 and 0.00% of the tokens" in warning
    assert starting_warnings(1, START, bf16=False) == {}
    clipped = START | {"first_clip_fraction": 0.005}
    assert starting_warnings(1, clipped, bf16=False).keys() == {"first_ratio"}
    assert starting_warnings(1, clipped, bf16=True) == {}


def test_kl_budget_is_inclusive():
    assert over_budget(5.0, config(kl_budget=5.0), 3) == ""
    assert over_budget(9.0, config(), 3) == ""
    assert "KL 5.10 nats per response passed kl_budget 5.0 before step 3" in (
        over_budget(5.1, config(kl_budget=5.0), 3)
    )


def test_non_finite_rollouts_raise_with_their_rows(tmp_path):
    one = trainer(make_folder(tmp_path), tmp_path / "run")
    scored = scored_of(one)
    check_finite(scored, 1)
    broken = scored.ref_logprobs.clone()
    broken[5, 0] = float("inf")
    with raises("non-finite", "step 1", "reference", "rows [5]"):
        check_finite(dataclasses.replace(scored, ref_logprobs=broken), 1)
    padding = scored.values.clone()
    padding[~scored.rollouts.response_mask] = float("nan")
    check_finite(dataclasses.replace(scored, values=padding), 1)


def test_nan_weight_stops_the_run_and_names_rows(tmp_path):
    one = trainer(make_folder(tmp_path), tmp_path / "run")
    one.models.policy.lm_head.weight.data[7] = float("nan")
    with raises("non-finite", "step 1", "policy", "rows [0, 1, 2", "Where is the"):
        one.train()


def test_policy_broken_by_the_last_update_is_not_saved(tmp_path):
    """Its text still gets a score, maybe the highest: best/ would hold weights of NaN."""
    one = trainer(
        make_folder(tmp_path), tmp_path / "run", eval_data="unused", eval_steps=1, max_steps=1
    )
    update = one.updater.update

    def breaks(experience, *, step, seed, kl_coef):
        metrics = update(experience, step=step, seed=seed, kl_coef=kl_coef)
        one.models.policy.lm_head.weight.data[7] = float("nan")
        return metrics

    one.updater.update = breaks
    with raises("non-finite", "step 1", "policy"):
        one.train()
    assert not (tmp_path / "run" / "best").exists()
    assert not (tmp_path / "run" / "checkpoint-1").exists()


def test_each_warning_is_printed_once_per_run(capsys):
    warnings = Warnings()
    for _ in range(2):
        warnings.show(0, {"length": "too long."})
    assert capsys.readouterr().out.count("warning: step 0: too long.") == 1
