import torch

from rlhf.ops.rewards import (
    apply_missing_eos,
    normalized_sum,
    overlong_penalty,
    penalized_rewards,
)

MASK = torch.tensor([[True, True, True], [True, True, False]])


def test_score_is_on_the_last_response_token():
    """-0.1 * kl everywhere; score 2 on token 2 of row 0, score 3 on token 1 of row 1."""
    kl = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, float("nan")]])
    rewards = penalized_rewards(torch.tensor([2.0, 3.0]), kl, MASK, kl_coef=0.1)
    expected = torch.tensor([[-0.1, -0.2, 1.7], [-0.1, 2.8, 0.0]])
    torch.testing.assert_close(rewards, expected)


def test_row_sums_are_score_less_penalty():
    kl = torch.rand(2, 3)
    rewards = penalized_rewards(torch.tensor([1.0, -1.0]), kl, MASK, kl_coef=0.5)
    expected = torch.tensor([1.0, -1.0]) - 0.5 * (kl * MASK).sum(1)
    torch.testing.assert_close(rewards.sum(1), expected)


def test_penalty_applies_only_to_unfinished_responses():
    scores, ended = torch.tensor([2.0, 2.0]), torch.tensor([True, False])
    judged = apply_missing_eos(scores, ended, missing_eos_penalty=1.5, missing_eos_score=None)
    assert judged.tolist() == [2.0, 0.5]


def test_fixed_score_replaces_that_of_unfinished_responses():
    scores, ended = torch.tensor([2.0, 2.0]), torch.tensor([True, False])
    judged = apply_missing_eos(scores, ended, missing_eos_penalty=None, missing_eos_score=-1.0)
    assert judged.tolist() == [2.0, -1.0]


def test_scores_are_unchanged_without_settings():
    scores = torch.tensor([2.0, 1.0])
    ended = torch.tensor([False, True])
    judged = apply_missing_eos(scores, ended, missing_eos_penalty=None, missing_eos_score=None)
    assert judged.tolist() == [2.0, 1.0]


def test_literal_overlong_penalty():
    """max_length 20, buffer 4: 0 up to 16 tokens, then a quarter more per token."""
    lengths = torch.tensor([1, 16, 17, 19, 20])
    penalty = overlong_penalty(lengths, max_length=20, buffer=4)
    assert penalty.tolist() == [0.0, 0.0, -0.25, -0.75, -1.0]


def test_normalized_sum_gives_every_source_the_same_scale():
    """Source 1: 0, 2 has mean 1 and std 1: -1, 1. Source 2: 10, 50: -1, 1. Source 3 is constant.

    2 * (-1, 1) + 0.5 * (1, -1) + 7 * (0, 0) = (-1.5, 1.5).
    """
    values = torch.tensor([[0.0, 2.0], [50.0, 10.0], [0.1, 0.1]])
    weights = torch.tensor([2.0, 0.5, 7.0])
    assert normalized_sum(values, weights).tolist() == [-1.5, 1.5]


def test_normalized_sum_ignores_units_and_zeros_of_sources():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    weights = torch.tensor([1.0, -2.0, 0.5])
    scale = torch.tensor([[100.0], [0.01], [3.0]], dtype=torch.float64)
    shifted = values * scale + torch.tensor([[5.0], [-1.0], [0.0]])
    torch.testing.assert_close(normalized_sum(shifted, weights), normalized_sum(values, weights))


def test_normalized_sum_tells_apart_what_a_plain_sum_does_not():
    """(0, 1) and (1, 0) have the same sum; the rarer reward counts more after standardising."""
    values = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    plain, normalized = values.sum(0), normalized_sum(values, torch.ones(2))
    assert plain[0] == plain[1]
    assert normalized[0] > normalized[1]


def test_score_of_an_episode_is_on_the_last_token_that_the_model_wrote():
    """Tokens 1 and 3 are the environment's: the last written token is 2."""
    mask = torch.tensor([[True, False, True, False]])
    rewards = penalized_rewards(torch.tensor([2.0]), torch.ones(1, 4), mask, kl_coef=0.5)
    torch.testing.assert_close(rewards, torch.tensor([[-0.5, 0.0, 1.5, 0.0]]))
