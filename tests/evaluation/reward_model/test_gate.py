"""The gate's verdicts on figures, each rule by itself."""

import pytest

from rlhf.evaluation.core.results import Result
from rlhf.evaluation.reward_model.best_of_n import BestOfN
from rlhf.evaluation.reward_model.gate import careless, judge_reward_model
from rlhf.evaluation.reward_model.probes import EMPTY, OTHER, SHUFFLED


def figure(metric, value, spread=0.05, n=100, **where):
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
    return figure("demonstrations_above", value, axis=name, **more)


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
        (figure("accuracy", 0.75), [above(0.95)], "pass", None),
        (figure("accuracy", 0.54), [above(0.95)], "fail", "a coin"),
        (figure("accuracy", 0.2), [above(0.95)], "fail", "the wrong way round"),
        (figure("accuracy", 0.58), [above(0.95)], "warn", "a weak guide"),
        (figure("accuracy", 0.75, n=12), [above(0.95)], "warn", "fewer than 30"),
        (figure("accuracy", 1.0, spread=0.0, n=2), [above(0.95)], "fail", "told from coins"),
        (figure("accuracy", 0.75), [above(0.52)], "warn", "hardly sees"),
        (figure("accuracy", 0.75), [above(0.2)], "fail", "word salad"),
        (figure("accuracy", 0.5), [above(0.5)], "fail", "a coin"),
        (figure("accuracy", 0.75), [above(0.95), above(0.1, EMPTY)], "fail", "to say nothing"),
        (figure("accuracy", 0.75), [above(0.95), above(0.3, OTHER)], "fail", "was not asked"),
        (figure("accuracy", 0.75), [above(0.95), above(0.5, OTHER)], "warn", "hardly sees"),
        (figure("accuracy", 0.75), [], "warn", "no demonstrations"),
        (
            figure("accuracy", 0.65),
            [above(0.95), figure("longer_wins", 0.7)],
            "warn",
            "`the longer answer wins` is right in 0.70",
        ),
        (
            figure("accuracy", 0.65),
            [above(0.95), figure("longer_wins", 0.3)],
            "warn",
            "`the shorter answer wins` is right in 0.70",
        ),
        (
            figure("accuracy", 0.75),
            [above(0.95), figure("ece", 0.2)],
            "warn",
            "calibration error",
        ),
        (figure("accuracy", 0.75), [above(0.95), figure("ece", 0.12)], "pass", None),
        (
            figure("accuracy", 0.75),
            [above(0.95), figure("ece", 0.2), figure("ece_by_chance", 0.17)],
            "pass",
            None,
        ),
        (
            figure("accuracy", 0.75),
            [above(0.95), figure("ece", 0.2), figure("ece_by_chance", 0.1)],
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


def test_nothing_held_out_is_a_fail():
    gate = judge_reward_model([above(0.95)])
    assert (gate.verdict, gate.accuracy) == ("fail", None)


def test_prompts_that_were_trained_on_are_a_warning():
    """Of 0.99 by heart nothing follows."""
    figures = [figure("accuracy", 0.94), above(0.95)]
    assert judge_reward_model(figures).verdict == "pass"
    gate = judge_reward_model(figures, trained_on=3)
    assert gate.verdict == "warn"
    assert "3 held-out rankings are of prompts that were trained on" in gate.reasons[0]


def test_more_of_a_reward_that_is_worse_to_people_is_a_warning():
    """0.66 at N = 4 after 0.75 at N = 2, ±0.02 each; 0.72 could be chance."""
    figures = [figure("accuracy", 0.75), above(0.95)]
    fallen = judge_reward_model(figures, [point(1, 0.5), point(2, 0.75), point(4, 0.66)])
    assert fallen.verdict == "warn"
    assert "more of this reward is worse" in fallen.reasons[0]
    level = judge_reward_model(figures, [point(1, 0.5), point(2, 0.75), point(4, 0.72)])
    assert level.verdict == "pass"


def test_annotators_whom_nothing_can_be_learned_from_are_named():
    """Reversed: high end below a half. Random: the interval holds a half and ends below the rest.
    An honest one of few labels (0.45 to 0.95) is not named, nor is one of 7 prompts."""
    results = [
        figure("accuracy", 0.7),
        figure("accuracy", 0.75, subset="annotator Ann"),
        figure("accuracy", 0.3, subset="annotator Rev"),
        figure("accuracy", 0.52, subset="annotator Ran"),
        figure("accuracy", 0.7, spread=0.25, subset="annotator New"),
        figure("accuracy", 0.1, n=7, subset="annotator Few"),
        figure("accuracy", 0.4, subset="gap of 1 rank"),
    ]
    said = careless(results)
    assert [line.split(":")[0] for line in said] == ["annotator Rev", "annotator Ran"]
    assert "say the opposite" in said[0]
    assert "random clicks" in said[1]


def test_many_careful_annotators_are_not_named_by_chance():
    """50 people at 0.7 ± 0.1 and one clicker. Each interval ends below 0.7 with 2.5%, here of two:
    over 51 people that is chance, 3.3 standard errors are not."""
    results = [figure("accuracy", 0.7)]
    results += [figure("accuracy", 0.7, 0.1, subset=f"annotator {i}") for i in range(48)]
    unlucky = [figure("accuracy", 0.59, 0.1, subset=f"annotator {i}") for i in "AB"]
    results += [*unlucky, figure("accuracy", 0.5, 0.1, subset="annotator X")]
    assert [line.split(":")[0] for line in careless(results)] == ["annotator X"]
