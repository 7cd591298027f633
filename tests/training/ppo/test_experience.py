"""The experience in literal numbers: two responses made by hand, no model."""

from dataclasses import replace

import pytest
import torch

from rlhf.ops.whitening import whiten
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.experience import final_scores, make_experience
from rlhf.training.ppo.loss import policy_terms, value_terms
from rlhf.types import Episodes, Experience, PromptBatch, Rollouts, ScoredRollouts, Scores

# Log-ratios to the reference: 0.2, 0.4 and -0.2; the second response has one token and no EOS.
LOGPROBS = torch.tensor([[-1.0, -1.0], [-1.0, 0.0]])
REFERENCE = torch.tensor([[-1.2, -1.4], [-0.8, 0.0]])
VALUES = torch.tensor([[0.5, 1.0], [-1.0, 0.0]])
MASK = torch.tensor([[True, True], [True, False]])
OVERLONG = {"max_completion_length": 2, "overlong_buffer": 2}


def config(**changes) -> PPOConfig:
    return PPOConfig(**{"max_steps": 1, "kl_coef": 0.5, **changes})


def scored(scores=(2.0, -3.0), *, critic=True) -> ScoredRollouts:
    pair = torch.arange(2)
    batch = PromptBatch(
        input_ids=torch.ones(2, 1, dtype=torch.long),
        attention_mask=torch.ones(2, 1, dtype=torch.bool),
        prompts=["a", "a"],
        group_ids=torch.zeros(2, dtype=torch.long),
        row_ids=pair,
        columns=[{}, {}],
    )
    rollouts = Rollouts(
        batch=batch,
        response_ids=torch.ones(2, 2, dtype=torch.long),
        response_mask=MASK,
        action_mask=MASK,
        logprobs=LOGPROBS,
        sampler_logprobs=None,
        importance_weights=torch.ones(2, 2),
        entropies=torch.zeros(2, 2),
        ended_with_eos=torch.tensor([True, False]),
        thought_lengths=torch.zeros(2, dtype=torch.long),
        texts=["x", "y"],
    )
    return ScoredRollouts(
        rollouts=rollouts,
        scores=Scores(scores=torch.tensor(scores), breakdown={}, failures=["", ""]),
        ref_logprobs=REFERENCE,
        values=VALUES if critic else None,
    )


def experience(**changes) -> Experience:
    keys = config(**changes)
    return make_experience(scored(critic=keys.has_critic), keys, kl_coef=0.5)


def test_rewards_advantages_and_returns_of_gae():
    """Rewards -0.1, -0.2 + 2 and 0.1 - 3. From behind, gamma 1 and lam 0.5:

    δ = 1.8 - 1 = 0.8, then -0.1 + 1 - 0.5 = 0.4, so A = 0.4 + 0.5 * 0.8 = 0.8 and R = 1.3, 1.8;
    the second response: A = -2.9 + 1 = -1.9, R = -2.9.
    """
    result = experience(lam=0.5)
    torch.testing.assert_close(result.rewards, torch.tensor([[-0.1, 1.8], [-2.9, 0.0]]))
    torch.testing.assert_close(result.returns, torch.tensor([[1.3, 1.8], [-2.9, 0.0]]))
    advantages = torch.tensor([[0.8, 0.8], [-1.9, 0.0]])
    torch.testing.assert_close(result.advantages, whiten(advantages, MASK))


@pytest.mark.parametrize(
    ("estimator", "first"),
    [("k1", 0.2), ("k2", 0.02), ("k3", 0.018731)],  # k3: e^-0.2 - 1 + 0.2
)
def test_penalty_uses_the_configured_estimator(estimator, first):
    rewards = experience(kl_estimator=estimator).rewards
    assert rewards[0, 0].item() == pytest.approx(-0.5 * first, abs=1e-6)


def test_whitened_rewards_keep_their_mean():
    """-0.1, 1.8, -2.9 have mean -0.4 and variance (0.09 + 4.84 + 6.25) / 2 = 5.59."""
    rewards = experience(whiten_rewards=True).rewards
    expected = (torch.tensor([-0.1, 1.8, -2.9]) + 0.4) / 5.59**0.5 - 0.4
    torch.testing.assert_close(rewards[MASK], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2.0, -3.0]),
        ({"missing_eos_penalty": 1.5}, [2.0, -4.5]),
        ({"missing_eos_score": -1.0}, [2.0, -1.0]),
        ({"reward_clip": 1.25}, [1.25, -1.25]),
        ({"missing_eos_penalty": 1.5, "reward_clip": 4.0}, [2.0, -4.0]),  # the clip comes last
        # Two tokens of at most two in a buffer of two: all of it; one token: half.
        ({**OVERLONG, "overlong_penalty": 4.0}, [-2.0, -5.0]),
        ({**OVERLONG, "reward_clip": 3.25}, [1.0, -3.25]),
    ],
)
def test_scores_get_the_penalties_before_the_clip(changes, expected):
    assert final_scores(scored(), config(**changes)).tolist() == expected


def test_rloo_uses_penalised_sums_and_grpo_scores():
    """rloo: 1.7 and -2.9, so ±4.6. grpo: 2 and -3, mean -0.5, std 3.5355: ±0.70709."""
    rloo = experience(advantage="rloo", num_generations=2)
    expected = torch.tensor([[4.6, 4.6], [-4.6, 0.0]])
    torch.testing.assert_close(rloo.advantages, expected)
    grpo = experience(advantage="grpo", num_generations=2)
    torch.testing.assert_close(
        grpo.advantages, torch.tensor([[0.70709, 0.70709], [-0.70709, 0.0]]), atol=1e-4, rtol=0
    )
    assert rloo.rewards.sum().item() == pytest.approx(1.7 - 2.9)
    assert grpo.rewards.sum().item() == pytest.approx(2.0 - 3.0)  # its penalty is in the loss
    assert grpo.returns is rloo.returns is None


def test_dr_grpo_centers_and_reinforce_plus_plus_baseline_whitens():
    """Scores 2 and -3: 2.5 and -2.5. Over three tokens the mean is 5/6, the variance 25/3."""
    centered = experience(advantage="dr_grpo", num_generations=2)
    torch.testing.assert_close(centered.advantages, torch.tensor([[2.5, 2.5], [-2.5, 0.0]]))
    whitened = experience(advantage="reinforce++_baseline", num_generations=2)
    values = torch.tensor([5 / 3, 5 / 3, -10 / 3]) / (25 / 3) ** 0.5
    torch.testing.assert_close(whitened.advantages[MASK], values)


def test_reinforce_plus_plus_whitens_penalised_rewards_to_go():
    """Rewards -0.1, 1.8 and -2.9 (k1 times 0.5): to go 1.7, 1.8 and -2.9."""
    result = experience(advantage="reinforce++")
    to_go = torch.tensor([[1.7, 1.8], [-2.9, 0.0]])
    torch.testing.assert_close(result.advantages, whiten(to_go, MASK))


def test_remax_subtracts_the_greedy_score():
    keys = config(advantage="remax")
    rollouts = replace(scored(critic=False), greedy_scores=torch.tensor([1.0, 1.0]))
    result = make_experience(rollouts, keys, kl_coef=0.5)
    torch.testing.assert_close(result.advantages, torch.tensor([[0.7, 0.8], [-3.9, 0.0]]))


def test_kl_in_says_where_the_penalty_is():
    """In the loss the rewards are scores alone; GRPO with the penalty in the rewards as rloo's."""
    assert experience(kl_in="loss").rewards[MASK].tolist() == [0.0, 2.0, -3.0]
    rewards = experience(advantage="grpo", num_generations=2, kl_in="rewards").rewards
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 1.8], [-2.9, 0.0]]))


def test_masked_responses_have_no_weight_in_the_policy_loss():
    """The second response has no EOS. Its score still counts for the first one's baseline."""
    group = {"advantage": "dr_grpo", "num_generations": 2, "kl_coef": 0.0}
    masked = experience(mask_truncated=True, **group)
    assert masked.loss_weights.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert masked.advantages[0].tolist() == [2.5, 2.5]
    batch = masked.select(slice(None))
    new = LOGPROBS.clone().requires_grad_(True)
    loss, sums = policy_terms(batch, new, config(mask_truncated=True, **group), kl_coef=0.0)
    loss.backward()
    assert loss.item() == -5.0
    assert new.grad[1].tolist() == [0.0, 0.0]
    assert sums["ratio"].item() == 3.0  # metrics are about all tokens


def test_importance_weights_multiply_the_k2_penalty_too():
    """kl_coef 1, log-ratios to the reference 0.2, 0.4, -0.2: k2 0.02, 0.08 and 0.02, times 3."""
    keys = config(advantage="grpo", num_generations=2)
    made = make_experience(scored(critic=False), keys, kl_coef=1.0)
    rollouts = replace(made.rollouts, importance_weights=torch.full((2, 2), 3.0))
    batch = replace(made, rollouts=rollouts).select(slice(None))
    _, sums = policy_terms(batch, LOGPROBS, keys, kl_coef=1.0)
    assert sums["kl_loss"].item() == pytest.approx(0.36, rel=1e-4)
    k3 = config(advantage="grpo", num_generations=2, kl_estimator="k3")
    _, sums = policy_terms(batch, LOGPROBS, k3, kl_coef=1.0)
    expected = 0.018731 + 0.070320 + 0.021403  # e^-d - 1 + d, as GRPO has it: unweighted
    assert sums["kl_loss"].item() == pytest.approx(expected, abs=1e-5)


def test_losses_use_their_keys():
    """The second response's token at ratio 10, A whitened to a < 0: -10 a, with dual_clip 3 -3 a.

    Values moved by 1 against a range of 0.5: ½ max over clipped and not of the squared error,
    times vf_coef 0.2.
    """
    keys = config(dual_clip=3.0, value_clip_range=0.5, vf_coef=0.2, lam=0.5)
    result = make_experience(scored(), keys, kl_coef=0.5)
    batch = result.select(torch.tensor([1]))
    new = LOGPROBS[1:] + torch.tensor([[10.0, 0.0]]).clamp(min=1).log()
    loss, sums = policy_terms(batch, new, keys, kl_coef=0.0)
    advantage = result.advantages[1, 0].item()
    assert advantage < 0
    assert loss.item() == pytest.approx(-3 * advantage, rel=1e-5)
    assert sums["ratio"].item() == pytest.approx(10.0, rel=1e-5)
    plain, _ = policy_terms(batch, new, config(lam=0.5), kl_coef=0.0)
    assert plain.item() == pytest.approx(-10 * advantage, rel=1e-5)
    # Return -2.9, old value -1, new value -2: error 0.9; limited to -1.5 it is 1.4.
    value, _ = value_terms(batch, VALUES[1:] - 1, keys)
    assert value.item() == pytest.approx(0.2 * 1.4**2 / 2, rel=1e-5)


def test_rewards_of_turns_are_at_their_last_tokens():
    """Turns of tokens 0 and 2, token 1 is the environment's; rewards 0.5 and 2, KL 0.2 and -0.2.

    Another source gives 1 and a missing end costs 3: the score 3.5 becomes 0.5, and the difference
    to the turns' 2.5 is on the last token: r = 0.5 - 0.1 and 2 - 2 + 0.1. From behind, gamma 1 and
    lam 0.5: δ = 0.1 - 1 = -0.9 = A_2; δ = 0.4 + 1 - 0.5 = 0.9, A_0 = 0.9 - 0.45 = 0.45.
    """
    actions = torch.tensor([[True, False, True]])
    one = scored((3.5, 0.0))
    rollouts = replace(
        one.rollouts,
        batch=replace(one.rollouts.batch, group_ids=torch.zeros(1, dtype=torch.long)),
        response_mask=torch.ones(1, 3, dtype=torch.bool),
        action_mask=actions,
        logprobs=torch.tensor([[-1.0, 0.0, -1.0]]),
        ended_with_eos=torch.tensor([False]),
        episodes=Episodes(
            rewards=torch.tensor([[0.5, 0.0, 2.0]]),
            num_turns=torch.tensor([2]),
            num_calls=torch.tensor([0]),
            last_prompts=["a"],
            last_turns=["x"],
            failures=[""],
        ),
    )
    episode = replace(
        one,
        rollouts=rollouts,
        scores=replace(one.scores, scores=torch.tensor([3.5])),
        ref_logprobs=torch.tensor([[-1.2, 0.0, -0.8]]),
        values=torch.tensor([[0.5, 8.0, 1.0]]),
    )
    result = make_experience(episode, config(lam=0.5, missing_eos_penalty=3.0), kl_coef=0.5)
    torch.testing.assert_close(result.rewards, torch.tensor([[0.4, 0.0, 0.1]]))
    torch.testing.assert_close(result.returns, torch.tensor([[0.95, 0.0, 0.1]]))
    expected = whiten(torch.tensor([[0.45, 0.0, -0.9]]), actions)
    torch.testing.assert_close(result.advantages, expected)
    assert result.loss_mask.tolist() == actions.tolist()
