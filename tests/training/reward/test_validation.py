"""Keys that the rankings leave without effect, and what is said of the rankings."""

import pytest

from rlhf.data.held_out import TrainAndHeldOut
from rlhf.errors import ConfigError
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.validation import about_rankings, check_rankings, trained_on
from rlhf.types import Ranking


def ranking(prompt="Where?", ranks=(1, 2), **more):
    return Ranking(prompt=prompt, responses=["a", "b"], ranks=list(ranks), **more)


def test_a_margin_by_strengths_that_nobody_gave_is_refused():
    rows = TrainAndHeldOut(train=[ranking(), ranking("Who?")], held_out=[], uses=[])
    with pytest.raises(ConfigError, match="strength of every training ranking is 1"):
        check_rankings(RewardModelConfig(margin_coef=1.0), rows)
    strong = TrainAndHeldOut(train=[ranking(strength=2.0)], held_out=[], uses=[])
    check_rankings(RewardModelConfig(margin_coef=1.0), strong)


def test_early_stopping_needs_rankings_that_are_held_out():
    rows = TrainAndHeldOut(train=[ranking()], held_out=[], uses=[])
    with pytest.raises(ConfigError, match="needs held-out rankings"):
        check_rankings(RewardModelConfig(early_stopping_patience=2), rows)


def test_strengths_below_one_have_no_margin():
    """0.5 would ask the better answer for a lower score than the worse; a row without is 1."""
    rows = [ranking(strength=0.5), ranking("Who?"), ranking("How?", strength=3.0)]
    with pytest.raises(ConfigError, match=r"a strength of 0\.5 would be a margin below 0"):
        check_rankings(
            RewardModelConfig(margin_coef=1.0), TrainAndHeldOut(train=rows, held_out=[], uses=[])
        )


def test_early_stopping_needs_an_order_that_is_held_out():
    """Ties alone have no held-out loss: the run would end untrained at its first evaluation."""
    config = RewardModelConfig(early_stopping_patience=2)
    tied = [ranking("Who?", ranks=(1, 1))] * 3
    with pytest.raises(ConfigError, match="held-out rankings with an order"):
        check_rankings(config, TrainAndHeldOut(train=[ranking()], held_out=tied, uses=[]))
    held_out = [*tied, ranking("Who?")]
    check_rankings(config, TrainAndHeldOut(train=[ranking()], held_out=held_out, uses=[]))


def test_held_out_prompts_that_are_trained_on_are_counted():
    rows = TrainAndHeldOut(train=[ranking()], held_out=[ranking("where"), ranking("Who?")], uses=[])
    assert "1 of 2 held-out rankings" in about_rankings(rows)[-1]
    assert trained_on(rows) == 1
    apart = TrainAndHeldOut(train=[ranking()], held_out=[ranking("Who?")], uses=[])
    assert about_rankings(apart) == []


def test_texts_without_a_prompt_are_not_one_prompt():
    rows = TrainAndHeldOut(train=[ranking("")], held_out=[ranking("")], uses=[])
    assert not [line for line in about_rankings(rows) if "warning" in line]


@pytest.mark.parametrize(("name", "words"), [("Ann", "all of Ann"), ("", "nobody by name")])
def test_one_annotator_is_not_weighed(name, words):
    rows = TrainAndHeldOut(train=[ranking(annotator=name)] * 3, held_out=[], uses=[])
    with pytest.raises(ConfigError, match=words):
        check_rankings(RewardModelConfig(annotator_weights="model"), rows)
