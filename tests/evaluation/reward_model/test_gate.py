"""The gate's verdicts, one rule at a time."""

import pytest

from rlhf.evaluation.core.results import Result
from rlhf.evaluation.reward_model.best_of_n import BestOfN
from rlhf.evaluation.reward_model.gate import judge_reward_model, unreliable_annotators
from rlhf.evaluation.reward_model.probes import EMPTY, OTHER, SHUFFLED


def result(metric, value, spread=0.05, n=100, **where):
    return Result(
        metric=metric,
        model="m",
        value=value,
        low=value - spread,
        high=value + spread,
        n=n,
        **where,
    )


def above(value, name=SHUFFLED, **more):
    return result("demonstrations_above", value, axis=name, **more)


def point(n, people, spread=0.02):
    return BestOfN(
        n=n,
        kl_bound=0.0,
        reward=float(n),
        reward_low=0.0,
        reward_high=0.0,
        people=people,
        people_low=people - spread,
        people_high=people + spread,
    )


@pytest.mark.parametrize(
    ("accuracy", "others", "verdict", "reason"),
    [
        (result("accuracy", 0.75), [above(0.95)], "pass", None),
        (result("accuracy", 0.54), [above(0.95)], "fail", "chance"),
        (result("accuracy", 0.2), [above(0.95)], "fail", "reversed"),
        (result("accuracy", 0.58), [above(0.95)], "warn", "below 0.6"),
        (result("accuracy", 0.75, n=12), [above(0.95)], "warn", "fewer than 30"),
        (result("accuracy", 1.0, spread=0.0, n=2), [above(0.95)], "fail", "not conclusive"),
        (result("accuracy", 0.75), [above(0.52)], "warn", "no significant difference"),
        (result("accuracy", 0.75), [above(0.2)], "fail", "shuffled words"),
        (result("accuracy", 0.5), [above(0.5)], "fail", "chance"),
        (result("accuracy", 0.75), [above(0.95), above(0.1, EMPTY)], "fail", "empty responses"),
        (result("accuracy", 0.75), [above(0.95), above(0.3, OTHER)], "fail", "other prompts"),
        (
            result("accuracy", 0.75),
            [above(0.95), above(0.5, OTHER)],
            "warn",
            "no significant difference",
        ),
        (result("accuracy", 0.75), [], "warn", "no demonstrations"),
        (
            result("accuracy", 0.65),
            [above(0.95), result("longer_wins", 0.7)],
            "warn",
            "`the longer response wins` is correct in 0.70",
        ),
        (
            result("accuracy", 0.65),
            [above(0.95), result("longer_wins", 0.3)],
            "warn",
            "`the shorter response wins` is correct in 0.70",
        ),
        (
            result("accuracy", 0.75),
            [above(0.95), result("ece", 0.2)],
            "warn",
            "calibration error",
        ),
        (result("accuracy", 0.75), [above(0.95), result("ece", 0.12)], "pass", None),
        (
            result("accuracy", 0.75),
            [above(0.95), result("ece", 0.2), result("ece_by_chance", 0.17)],
            "pass",
            None,
        ),
        (
            result("accuracy", 0.75),
            [above(0.95), result("ece", 0.2), result("ece_by_chance", 0.1)],
            "warn",
            "calibration error",
        ),
    ],
)
def test_verdicts(accuracy, others, verdict, reason):
    gate = judge_reward_model([accuracy, *others])
    assert gate.verdict == verdict
    assert (not gate.reasons) == (verdict == "pass")
    if reason is not None:
        assert reason in " ".join(gate.reasons)


def test_no_held_out_rankings_fail():
    gate = judge_reward_model([above(0.95)])
    assert (gate.verdict, gate.accuracy) == ("fail", None)


def test_prompts_that_were_trained_on_warn():
    """Their accuracy is not held-out."""
    results = [result("accuracy", 0.94), above(0.95)]
    assert judge_reward_model(results).verdict == "pass"
    gate = judge_reward_model(results, trained_on=3)
    assert gate.verdict == "warn"
    assert "3 held-out rankings have prompts that were trained on" in gate.reasons[0]


def test_loss_that_was_lower_earlier_warns():
    """0.60 to 0.70 at the end: 0.58 before it was lower, 0.62 may be chance."""
    results = [result("accuracy", 0.75), above(0.95), result("held_out_loss", 0.65)]
    late = judge_reward_model(results, losses={0: 0.69, 50: 0.58, 100: 0.6, 150: 0.65})
    assert late.verdict == "warn"
    assert "0.65 [0.60, 0.70], but 0.58 after step 50: trained too long" in late.reasons[0]
    assert judge_reward_model(results, losses={0: 0.69, 50: 0.62, 100: 0.65}).verdict == "pass"
    assert judge_reward_model(results, losses={}).verdict == "pass"
    assert judge_reward_model(results[:2], losses={50: 0.1}).verdict == "pass"


def test_preference_that_falls_with_n_warns():
    """0.66 at N = 4 after 0.75 at N = 2, ±0.02 each; 0.72 could be chance."""
    results = [result("accuracy", 0.75), above(0.95)]
    fallen = judge_reward_model(results, [point(1, 0.5), point(2, 0.75), point(4, 0.66)])
    assert fallen.verdict == "warn"
    assert "a higher reward is worse" in fallen.reasons[0]
    level = judge_reward_model(results, [point(1, 0.5), point(2, 0.75), point(4, 0.72)])
    assert level.verdict == "pass"


def test_reversed_and_random_annotators_are_named():
    """Reversed: interval below a half. Random: it includes a half and ends below the overall value.
    A careful one with few labels (0.45 to 0.95) is not named, nor is one with 7 prompts."""
    results = [
        result("accuracy", 0.7),
        result("accuracy", 0.75, subset="annotator Ann"),
        result("accuracy", 0.3, subset="annotator Rev"),
        result("accuracy", 0.52, subset="annotator Ran"),
        result("accuracy", 0.7, spread=0.25, subset="annotator New"),
        result("accuracy", 0.1, n=7, subset="annotator Few"),
        result("accuracy", 0.4, subset="gap of 1 rank"),
    ]
    warnings = unreliable_annotators(results)
    assert [line.split(":")[0] for line in warnings] == ["annotator Rev", "annotator Ran"]
    assert "reversed" in warnings[0]
    assert "random" in warnings[1]


def test_none_of_many_careful_annotators_is_named():
    """50 people at 0.7 ± 0.1 and one clicker. Each interval ends below 0.7 with 2.5%, here of two:
    over 51 people that is chance, 3.3 standard errors are not."""
    results = [result("accuracy", 0.7)]
    results += [result("accuracy", 0.7, 0.1, subset=f"annotator {i}") for i in range(48)]
    unlucky = [result("accuracy", 0.59, 0.1, subset=f"annotator {i}") for i in "AB"]
    results += [*unlucky, result("accuracy", 0.5, 0.1, subset="annotator X")]
    assert [line.split(":")[0] for line in unreliable_annotators(results)] == ["annotator X"]
