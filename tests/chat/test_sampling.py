"""What is drawn: temperature, nucleus, noise; each row by its own settings."""

import math
from dataclasses import replace

import pytest
import torch

from rlhf.chat.sampling import Sampling, draw, noise_of, reshaped
from rlhf.errors import ConfigError

PLAIN = Sampling(temperature=1.0)


def test_top_p_keeps_the_fewest_likeliest_tokens():
    """p = 0.3, 0.5, 0.2: top_p 0.5 keeps the second alone, 0.6 and 0.79 two, 0.81 all three."""
    logits = torch.tensor([[0.3, 0.5, 0.2]] * 4).log()
    samplings = [replace(PLAIN, top_p=top_p) for top_p in (0.5, 0.6, 0.79, 0.81)]
    wanted = [[0, 1, 0], [0.375, 0.625, 0], [0.375, 0.625, 0], [0.3, 0.5, 0.2]]
    torch.testing.assert_close(reshaped(logits, samplings), torch.tensor(wanted))


def test_temperature_reshapes_each_row_by_its_own():
    """At 1/2 the odds 0.6 : 0.4 become 0.36 : 0.16; at 0 the likeliest has everything."""
    logits = torch.tensor([[0.6, 0.4]] * 4).log()
    samplings = [replace(PLAIN, temperature=t) for t in (1.0, 0.5, 0.0, 1e-300)]
    wanted = [[0.6, 0.4], [0.36 / 0.52, 0.16 / 0.52], [1, 0], [1, 0]]
    torch.testing.assert_close(reshaped(logits, samplings), torch.tensor(wanted))


def test_a_token_is_the_first_whose_cumulative_probability_reaches_the_noise():
    logits = torch.tensor([[0.25, 0.25, 0.5]] * 5).log()
    noise = torch.tensor([1e-7, 0.25, 0.2501, 0.51, 1.0])
    assert draw(logits, [PLAIN] * 5, noise).tolist() == [0, 0, 1, 2, 2]


def test_the_likeliest_token_is_drawn_among_greedy_rows_and_among_others():
    logits = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]]).log()
    greedy, noise = replace(PLAIN, temperature=0.0), torch.tensor([1e-7, 1.0])
    assert draw(logits, [greedy, greedy], noise).tolist() == [1, 0]
    assert draw(logits, [greedy, PLAIN], noise).tolist() == [1, 2]
    assert draw(logits, [PLAIN, greedy], noise).tolist() == [0, 0]


def test_what_the_nucleus_leaves_out_is_never_drawn():
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log()
    narrow = replace(PLAIN, top_p=0.7)
    drawn = {int(draw(logits, [narrow], torch.tensor([n]))) for n in (1e-7, 0.3, 0.66, 0.67, 1.0)}
    assert drawn == {1, 2}


def test_noise_belongs_to_seed_choice_and_position():
    four = replace(PLAIN, max_new_tokens=4)
    assert noise_of(four, 0).tolist() == noise_of(replace(four, max_new_tokens=9), 0)[:4].tolist()
    assert noise_of(four, 0).tolist() != noise_of(four, 1).tolist()
    assert noise_of(four, 0).tolist() != noise_of(replace(four, seed=1), 0).tolist()


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
    ],
)
def test_settings_that_cannot_be_drawn_with_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        replace(PLAIN, **changes)
