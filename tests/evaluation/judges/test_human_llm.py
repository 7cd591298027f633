"""Estimates from an LLM judge on all prompts and annotators on some."""

import numpy as np
import pytest

from rlhf.evaluation.core.results import find
from rlhf.evaluation.judges.human_llm import (
    PromptWins,
    anytime_results,
    combined_results,
    prompt_wins,
)
from rlhf.evaluation.judges.human_sample import HumanSample
from rlhf.evaluation.stats.sampling_design import sampling_probabilities, systematic_sample
from tests.evaluation.judges.two_models import pair_of, spec_of


def test_prompt_is_labelled_once_all_its_pairs_are():
    """Two pairs of a prompt, one of them labelled; a tie of equal texts; a prompt not drawn.

    Of the two drawn prompts one is labelled: 1/2 of them are answered.
    """
    half, whole, tie, other = pair_of(0), pair_of(1), pair_of(2, "same", "same"), pair_of(3)
    second = pair_of(0, "ours again")
    sample = HumanSample(pairs=[], probabilities={0: 0.4, 1: 0.6})
    wins = prompt_wins(
        [half, second, whole, tie, other],
        {half: 1.0, second: 0.0, whole: 1.0, tie: 0.5, other: 0.0},
        {half: 1.0, whole: 0.0, tie: 0.5},
        sample,
    )
    assert [one.people for one in wins] == [None, 0.0, 0.5, None]
    assert [one.judge for one in wins] == [0.5, 1.0, 0.5, 0.0]
    assert [one.asked for one in wins] == [True, True, False, True]
    assert [one.probability * one.answered for one in wins][1:3] == [0.3, 1.0]


def test_pairs_of_equal_texts_count_as_known_ties():
    """60 of 100 prompts are ties; of the 40 others 10 are labelled, of which the model wins 9.

    (60 · ½ + 40 · 0.9)/100 = 0.66, whatever share of the others is labelled.
    """
    ties = [PromptWins(prompt_index=i, judge=0.5, people=0.5, asked=False) for i in range(60)]
    others = [
        PromptWins(
            prompt_index=60 + i,
            judge=float(i % 2),
            people=(None if i >= 10 else float(i != 0)),
            answered=0.25,
        )
        for i in range(40)
    ]
    [combined, people] = combined_results([*ties, *others], "ppo", spec_of(100), with_judge=True)
    assert people.value == pytest.approx(0.66)
    assert (people.judge, people.n, combined.judge, combined.n) == ("human", 10, "human+llm", 100)
    assert combined_results(ties[:2], "ppo", spec_of(100), with_judge=True) == []


def test_clean_prompts_have_their_own_estimates():
    wins = [PromptWins(prompt_index=i, judge=0.5, people=float(i % 2)) for i in range(8)]
    flags = [i % 2 == 0 for i in range(8)]
    results = combined_results(wins, "ppo", spec_of(8, contaminated=flags), with_judge=False)
    assert find(results, "win_rate", "ppo").value == 0.5
    assert find(results, "win_rate", "ppo", with_contaminated=False).value == 1.0


def test_anytime_interval_weighs_prompts_by_their_probability():
    """20 of 60 prompts: 6 of 30 with probability 0.2, all won, and 14 of 30 with 7/15, half won.

    They weigh (1/3)/0.2 = 5/3 and (1/3)/(7/15) = 5/7: (6 · 5/3 + 7 · 5/7)/20 = 0.75.
    """
    drawn = [(0.2, 1.0)] * 6 + [(7 / 15, 1.0)] * 7 + [(7 / 15, 0.0)] * 7
    wins = [
        PromptWins(prompt_index=i, judge=0.5, people=people, probability=probability)
        for i, (probability, people) in enumerate(drawn)
    ]
    wins += [PromptWins(prompt_index=i, judge=0.5, people=None) for i in range(20, 60)]
    [result] = anytime_results(wins, list(range(20)), "ppo", spec_of(60))
    assert result.value == pytest.approx(0.75)
    assert result.low < 0.75 < result.high
    assert (result.metric, result.judge, result.n) == ("win_rate_anytime", "human", 20)
    assert anytime_results(wins, [], "ppo", spec_of(60)) == []


def test_scale_of_the_anytime_interval_is_known_before_the_first_label():
    """The first label, of a prompt with probability 0.8, counts half of one with 0.4.

    (0.6/0.4) · 1/2 = 0.75: the mean probability is 60/100, of the one win.
    """
    probabilities = [0.8] * 30 + [0.4] * 30
    wins = [
        PromptWins(prompt_index=i, judge=0.5, people=1.0 if i == 0 else None, probability=p,
                   answered=1 / 60)
        for i, p in enumerate(probabilities)
    ]  # fmt: skip
    wins += [PromptWins(prompt_index=i, judge=0.5, people=None) for i in range(60, 100)]
    [result] = anytime_results(wins, [0], "ppo", spec_of(100))
    assert result.value == pytest.approx(0.75)
    assert result.high == 1.0


@pytest.mark.slow
def test_looking_at_weighted_labels_errs_in_at_most_5_percent():
    """Half of 400 prompts are drawn, the uncertain ones 1.5 times as often; people prefer the
    model on 80% of them and on 40% of the others. Intervals are nested, so the last tells all."""
    rng = np.random.default_rng(0)
    excluded = []
    for _ in range(300):
        unsure = rng.random(400) < 0.5
        people = (rng.random(400) < np.where(unsure, 0.8, 0.4)).astype(float)
        probabilities = sampling_probabilities(unsure.astype(float).tolist(), 200)
        drawn = systematic_sample(probabilities, seed=int(rng.integers(2**31)))
        wins = [
            PromptWins(
                prompt_index=i,
                judge=0.5,
                people=float(people[i]) if i in drawn else None,
                probability=probabilities[i] if i in drawn else 1.0,
            )
            for i in range(400)
        ]
        order = rng.permutation(drawn).tolist()
        [result] = anytime_results(wins, order, "ppo", spec_of(400))
        excluded.append(not result.low <= 0.6 <= result.high)
    assert np.mean(excluded) <= 0.05
