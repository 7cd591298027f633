"""Sampling by temperature, nucleus and noise; each row with its own settings."""

import math
from dataclasses import replace

import pytest
import torch

from rlhf.chat.sampling import Sampling, sample_tokens, sampling_noise, sampling_probabilities
from tests.errors import raises

PLAIN = Sampling(temperature=1.0)


def test_top_p_keeps_fewest_likeliest_tokens():
    """p = 0.3, 0.5, 0.2: top_p 0.5 keeps the second alone, 0.6 and 0.79 two, 0.81 all three."""
    logits = torch.tensor([[0.3, 0.5, 0.2]] * 4).log()
    samplings = [replace(PLAIN, top_p=top_p) for top_p in (0.5, 0.6, 0.79, 0.81)]
    expected = [[0, 1, 0], [0.375, 0.625, 0], [0.375, 0.625, 0], [0.3, 0.5, 0.2]]
    torch.testing.assert_close(sampling_probabilities(logits, samplings), torch.tensor(expected))


def test_temperature_is_applied_per_row():
    """At 1/2 the odds 0.6 : 0.4 become 0.36 : 0.16; at 0 the likeliest has everything."""
    logits = torch.tensor([[0.6, 0.4]] * 4).log()
    samplings = [replace(PLAIN, temperature=t) for t in (1.0, 0.5, 0.0, 1e-300)]
    expected = [[0.6, 0.4], [0.36 / 0.52, 0.16 / 0.52], [1, 0], [1, 0]]
    torch.testing.assert_close(sampling_probabilities(logits, samplings), torch.tensor(expected))


def test_token_is_first_whose_cumulative_probability_reaches_noise():
    logits = torch.tensor([[0.25, 0.25, 0.5]] * 5).log()
    noise = torch.tensor([1e-7, 0.25, 0.2501, 0.51, 1.0])
    assert sample_tokens(logits, [PLAIN] * 5, noise).tolist() == [0, 0, 1, 2, 2]


def test_greedy_rows_take_the_likeliest_token():
    logits = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]]).log()
    greedy, noise = replace(PLAIN, temperature=0.0), torch.tensor([1e-7, 1.0])
    assert sample_tokens(logits, [greedy, greedy], noise).tolist() == [1, 0]
    assert sample_tokens(logits, [greedy, PLAIN], noise).tolist() == [1, 2]
    assert sample_tokens(logits, [PLAIN, greedy], noise).tolist() == [0, 0]


def test_tokens_outside_the_nucleus_are_never_sampled():
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log()
    narrow = replace(PLAIN, top_p=0.7)
    sampled = {
        int(sample_tokens(logits, [narrow], torch.tensor([n])))
        for n in (1e-7, 0.3, 0.66, 0.67, 1.0)
    }
    assert sampled == {1, 2}


def test_top_k_min_p_and_top_p_truncate_in_turn():
    """p = 0.5, 0.3, 0.15, 0.05.

    top_k 2 keeps 0.5 and 0.3 of 0.8. min_p 0.4 keeps what has 0.2 or more, the same; min_p 0.2 what
    has 0.1 or more. Of three tokens of 0.95 the first has 0.526, so top_p 0.6 keeps two.
    """
    two, three = [0.625, 0.375, 0, 0], [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]
    cases = [
        ({"top_k": 2}, two),
        ({"top_k": 9}, [0.5, 0.3, 0.15, 0.05]),
        ({"min_p": 0.4}, two),
        ({"min_p": 0.2}, three),
        ({"min_p": 0.2, "top_k": 2}, two),
        ({"top_k": 3, "top_p": 0.6}, two),
        ({"top_k": 3, "temperature": 0.0}, [1, 0, 0, 0]),
        ({}, [0.5, 0.3, 0.15, 0.05]),
    ]
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]] * len(cases)).log()
    samplings = [replace(PLAIN, **changes) for changes, _ in cases]
    probabilities = sampling_probabilities(logits, samplings)
    torch.testing.assert_close(probabilities, torch.tensor([expected for _, expected in cases]))


def test_top_k_of_equal_tokens_keeps_the_first():
    logits = torch.zeros(1, 4)
    probabilities = sampling_probabilities(logits, [replace(PLAIN, top_k=2)])
    assert probabilities.tolist() == [[0.5, 0.5, 0, 0]]


def test_noise_depends_on_seed_choice_and_position():
    four = replace(PLAIN, max_new_tokens=4)
    assert (
        sampling_noise(four, 0).tolist()
        == sampling_noise(replace(four, max_new_tokens=9), 0)[:4].tolist()
    )
    assert sampling_noise(four, 0).tolist() != sampling_noise(four, 1).tolist()
    assert sampling_noise(four, 0).tolist() != sampling_noise(replace(four, seed=1), 0).tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
        {"seed": 10**23},
        {"seed": -1},
        {"top_k": -1},
        {"min_p": 1.5},
        {"frequency_penalty": math.nan},
        {"presence_penalty": math.inf},
        {"repetition_penalty": 0.0},
    ],
)
def test_settings_out_of_range_are_rejected(changes):
    with raises("bad-value", *changes):
        replace(PLAIN, **changes)
