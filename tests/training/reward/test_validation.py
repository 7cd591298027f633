"""Keys that have no effect on the rankings, and messages about the rankings."""

import pytest

from rlhf.data.held_out import TrainAndHeldOut
from rlhf.training.common.rankings import about_rankings, trained_on
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.validation import check_rankings
from rlhf.types import Ranking
from tests.errors import raises


def ranking(prompt="Where?", ranks=(1, 2), **more):
    return Ranking(prompt=prompt, responses=["a", "b"], ranks=list(ranks), **more)


def test_margin_without_strengths_is_rejected():
    rows = TrainAndHeldOut(train=[ranking(), ranking("Who?")], held_out=[], uses=[])
    with raises("key-conflict", "margin_coef=1.0"):
        check_rankings(RewardModelConfig(margin_coef=1.0), rows)
    strong = TrainAndHeldOut(train=[ranking(strength=2.0)], held_out=[], uses=[])
    check_rankings(RewardModelConfig(margin_coef=1.0), strong)


def test_early_stopping_needs_held_out_rankings():
    rows = TrainAndHeldOut(train=[ranking()], held_out=[], uses=[])
    with raises("key-conflict", "early_stopping_patience"):
        check_rankings(RewardModelConfig(early_stopping_patience=2), rows)


def test_margin_of_strengths_below_one_is_rejected():
    """0.5 would be a negative margin; a row without a strength has 1."""
    rows = [ranking(strength=0.5), ranking("Who?"), ranking("How?", strength=3.0)]
    with raises("key-conflict", "margin_coef=1.0", 0.5):
        check_rankings(
            RewardModelConfig(margin_coef=1.0), TrainAndHeldOut(train=rows, held_out=[], uses=[])
        )


def test_early_stopping_needs_held_out_rankings_with_an_order():
    """Ties have no held-out loss: the run would end untrained at its first evaluation."""
    config = RewardModelConfig(early_stopping_patience=2)
    tied = [ranking("Who?", ranks=(1, 1))] * 3
    with raises("key-conflict", "early_stopping_patience"):
        check_rankings(config, TrainAndHeldOut(train=[ranking()], held_out=tied, uses=[]))
    held_out = [*tied, ranking("Who?")]
    check_rankings(config, TrainAndHeldOut(train=[ranking()], held_out=held_out, uses=[]))


def test_held_out_prompts_in_the_training_data_are_counted():
    rows = TrainAndHeldOut(train=[ranking()], held_out=[ranking("where"), ranking("Who?")], uses=[])
    assert "1 of 2 held-out rankings" in about_rankings(rows)[-1]
    assert trained_on(rows) == 1
    apart = TrainAndHeldOut(train=[ranking()], held_out=[ranking("Who?")], uses=[])
    assert about_rankings(apart) == []


def test_rankings_without_a_prompt_are_not_counted():
    rows = TrainAndHeldOut(train=[ranking("")], held_out=[ranking("")], uses=[])
    assert not [line for line in about_rankings(rows) if "warning" in line]


@pytest.mark.parametrize("name", ["Ann", ""])
def test_weights_of_one_annotator_are_rejected(name):
    rows = TrainAndHeldOut(train=[ranking(annotator=name)] * 3, held_out=[], uses=[])
    with raises("key-conflict", "annotator_weights=model", name):
        check_rankings(RewardModelConfig(annotator_weights="model"), rows)
