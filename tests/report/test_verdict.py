"""The lights of the report: win rate, reward, text."""

import pytest

from rlhf.report.verdict import reward_light, text_light, win_light
from tests.report.made_up_run import evaluation


@pytest.mark.parametrize(("gold", "tone"), [(0.74, "green"), (0.51, "amber"), (0.3, "red")])
def test_first_light_is_the_win_rate(gold, tone):
    assert win_light(evaluation(gold=gold)["results"], "ppo").tone == tone


GATE = {"verdict": "pass", "reasons": [], "accuracy": {"value": 1.0, "low": 1.0, "high": 1.0}}


@pytest.mark.parametrize(
    ("gold", "proxy", "hacked"), [(0.45, 0.95, True), (0.52, 0.95, True), (0.52, 0.58, False)]
)
def test_win_by_the_proxy_alone_is_a_red_light(gold, proxy, hacked):
    """Intervals are ±0.04: those of 0.52 and 0.58 overlap, which is no evidence of hacking."""
    light = reward_light(evaluation(gold=gold, proxy=proxy)["results"], "ppo", GATE)
    assert (light.tone == "red") is hacked
    assert ("Reward hacking" in light.text) is hacked


def _by_rewards(proxy, other=None):
    """Win rates by the training reward model, and by another one if given."""
    sources = {"trained_on": proxy} | ({"other": other} if other else {})
    return [
        {"metric": "win_rate", "model": "ppo", "baseline": "sft", "judge": "reward_model",
         "judge_source": source, "value": value, "low": value - 0.04, "high": value + 0.04, "n": 9}
        for source, value in sources.items()
    ]  # fmt: skip


def test_training_reward_model_alone_is_amber():
    """A second reward model is trusted before it and reveals reward hacking."""
    alone = win_light(_by_rewards(0.9), "ppo")
    assert (alone.tone, "use a judge" in alone.text) == ("amber", True)
    both = _by_rewards(0.9, 0.7)
    assert win_light(both, "ppo").tone == "green"
    assert "70%" in win_light(both, "ppo").text
    assert "Reward hacking" in reward_light(_by_rewards(0.9, 0.4), "ppo", GATE).text


def test_unparsed_verdicts_are_reported_with_the_win_rate():
    win = {"metric": "win_rate", "model": "ppo", "baseline": "sft", "judge": "llm",
           "value": 0.5, "low": 0.5, "high": 0.5, "n": 50}  # fmt: skip
    unparsed = {**win, "metric": "judge_unparsable", "value": 0.9, "baseline": None}
    assert "90% of its verdicts could not be parsed" in win_light([win, unparsed], "ppo").text
    assert "parsed" not in win_light([win, {**unparsed, "value": 0.05}], "ppo").text


def test_third_light_needs_no_judge():
    """Without a judge no result names the baseline; evaluation.json does."""
    results = [r for r in evaluation(distinct=0.1)["results"] if r["judge"] is None]
    assert text_light(results, "ppo") is None
    assert text_light(results, "ppo", "sft").tone == "red"


@pytest.mark.parametrize(("distinct", "tone"), [(0.30, "green"), (0.2, "amber"), (0.15, "red")])
def test_third_light_is_red_below_half_the_diversity(distinct, tone):
    """distinct-2 of the baseline is 0.31."""
    assert text_light(evaluation(distinct=distinct)["results"], "ppo").tone == tone
