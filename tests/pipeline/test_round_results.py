"""Results over rounds by literal value: Bradley-Terry, the best round, the rule that stops."""

import json
import math
from dataclasses import replace

import pytest

from rlhf.evaluation.core.records import Record, write_records
from rlhf.evaluation.core.results import Result, write_results
from rlhf.pipeline.round_comparison import Comparison, Interval, compare, strengths_of
from rlhf.pipeline.round_results import (
    RoundResult,
    RoundResults,
    best_round,
    names_of,
    round_results,
    stop_reason,
    write_round_results,
)
from rlhf.types import PromptRow

WIDE = Interval(value=0.5, low=0.4, high=0.6)
ACCURACY = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 9, "mde": 0.15}


def records(scores, judge="gold"):
    """{model: score at each prompt} as records."""
    return [
        Record(
            prompt_index=index,
            sample=0,
            model=model,
            text=str(score),
            num_tokens=1,
            ended_with_eos=True,
            scores={judge: score},
        )
        for model, of_model in scores.items()
        for index, score in enumerate(of_model)
    ]


def result(number, comparison=None):
    return RoundResult(
        round=number,
        folder=".",
        new_rankings=10,
        train_rankings=10,
        accuracy=None,
        proxy=None,
        gold=None,
        gap=None,
        kl=None,
        length=None,
        comparison=comparison,
    )


def compared(number, against, *, improved):
    return result(number, Comparison(against=against, win_rate=WIDE, improved=improved))


def test_bradley_terry_over_two_rounds():
    """Both rounds win all 4 prompts against SFT and tie with each other.

    With one more game a pair, half won by each, σ(s_round - s_sft) = 4.5 / 5, so the difference is
    ln 9 = 2.197225 nats; the mean is 0: SFT -2/3 and each round +1/3 of it.
    """
    table = {"sft": [0.0] * 4, "round-1": [1.0] * 4, "round-2": [1.0] * 4}
    names = {name: name for name in table}
    strengths = strengths_of(records(table), names, seed=0, resamples=50)
    assert [(each.judge, each.model) for each in strengths] == [
        ("gold", "sft"),
        ("gold", "round-1"),
        ("gold", "round-2"),
    ]
    values = [each.strength.value for each in strengths]
    assert values == pytest.approx([-1.464817, 0.732408, 0.732408], abs=1e-6)
    assert values[1] - values[0] == pytest.approx(math.log(9))


def test_strengths_over_rounds_have_an_interval_from_six_prompts_on(tmp_path):
    """Too few prompts are null in the file: JSON has no infinity."""
    names = {"sft": "sft", "ppo": "round-1"}
    for prompts in (6, 5):
        table = {"sft": [0.0] * prompts, "ppo": [1.0] * prompts}
        strengths = strengths_of(records(table), names, seed=0, resamples=50)
        results = RoundResults(rounds=[], strengths=strengths, best=1, stopped="")
        write_round_results(tmp_path, results)
        [_, written] = json.loads((tmp_path / "rounds.json").read_text())["strengths"]
        strength = written["strength"]
        if prompts == 6:
            assert strength["low"] < strength["value"] < strength["high"]
            assert strength["mde"] > 0
    assert (strength["low"], strength["high"], strength["mde"]) == (None, None, None)


def test_round_is_compared_with_the_strongest_earlier_one():
    """Round 2 beats round 1 on 6 of 8 prompts; round 3 beats round 2 on 2 of 8: 0.25."""
    table = {
        "round-1": [1.0] * 8,
        "round-2": [2.0] * 6 + [0.0] * 2,
        "round-3": [3.0] * 2 + [-1.0] * 6,
    }
    comparison = compare(records(table), list(table), seed=0, resamples=200)
    assert comparison.against == 2
    assert comparison.win_rate.value == 0.25
    # Six of eight lost: a standard error of √(8/7 · 1.5)/8 = 0.16366, of which Student's t with
    # seven degrees of freedom takes 2.3646 + 0.8960.
    assert comparison.win_rate.mde == pytest.approx(3.2606 * 0.16366, abs=1e-4)
    assert not comparison.improved


def test_improvement_is_an_interval_above_one_half():
    """All of 20 prompts won: Wilson's interval of 20 coins begins at 0.84. Half of them: 0.5."""
    wins = {"round-1": [0.0] * 20, "round-2": [1.0] * 20}
    assert compare(records(wins), list(wins), seed=0, resamples=200).improved
    halves = {"round-1": [0.0] * 20, "round-2": [1.0] * 10 + [-1.0] * 10}
    assert not compare(records(halves), list(halves), seed=0, resamples=200).improved


@pytest.mark.parametrize(
    ("rounds", "patience", "stops"),
    [
        ([result(1)], 1, False),
        ([result(1), compared(2, 1, improved=True)], 1, False),
        ([result(1), compared(2, 1, improved=False)], 1, True),
        ([result(1), compared(2, 1, improved=False)], 0, False),
        ([result(1), compared(2, 1, improved=False)], 2, False),
        ([result(1), compared(2, 1, improved=False), compared(3, 1, improved=False)], 2, True),
        ([result(1), compared(2, 1, improved=True), compared(3, 2, improved=False)], 2, False),
        ([result(1), result(2)], 1, False),
    ],
)
def test_rule_stops_after_rounds_without_improvement(rounds, patience, stops):
    """The last case has no gold score: no round is compared, and the rule never stops."""
    assert bool(stop_reason(rounds, patience)) == stops


def test_reason_to_stop_names_the_rounds_and_the_interval():
    reason = stop_reason([result(1), compared(2, 1, improved=False)], 1)
    assert "round 2 is not better than round 1" in reason
    assert "0.50 [0.40, 0.60]" in reason


def test_best_round_is_the_last_that_improved():
    assert best_round([result(1)]) == 1
    assert best_round([result(1), compared(2, 1, improved=True)]) == 2
    assert best_round([result(1), compared(2, 1, improved=False)]) == 1
    without_gold = [result(1), result(2)]
    assert best_round(without_gold) == 2


def test_first_round_has_another_name_in_its_evaluation(tmp_path):
    assert names_of(tmp_path, 1) == {"sft": "sft", "ppo": "round-1"}
    assert names_of(tmp_path, 2) == {"sft": "sft", "round-1": "round-1", "round-2": "round-2"}


def write_round(folder, models, proxy, gold, counts):
    """The files of a round's evaluation, gate and labels."""
    evaluation = folder / "evaluation"
    evaluation.mkdir(parents=True)
    interval = {"low": 0.4, "high": 0.9, "n": 8}
    win = {"metric": "win_rate", "model": list(models)[-1], "baseline": "sft", **interval}
    write_results(
        evaluation,
        [
            Result(judge="gold", value=gold, **win),
            Result(judge="reward_model", value=proxy, **win),
            Result(metric="kl", model=list(models)[-1], value=2.5, low=2.0, high=3.0, n=8, mde=0.7),
        ],
    )
    rows = [PromptRow(prompt=f"p{index}") for index in range(8)]
    lines = [
        replace(one, scores={**one.scores, "reward_model": float(one.model != "sft")})
        for one in records(models)
    ]
    write_records(evaluation, rows, lines)
    for name, content in (
        ("reward_model/gate.json", {"accuracy": ACCURACY}),
        ("labels/counts.json", counts),
    ):
        (folder / name).parent.mkdir()
        (folder / name).write_text(json.dumps(content))


def test_results_over_rounds_are_read_from_the_folders(tmp_path):
    """The proxy prefers the policy at every prompt, gold at five of eight and then at all.

    The gap of round 1 is 3/8, its standard error √(8/7 · (3 · 25/64 + 5 · 9/64)) / 8 = 0.18298, of
    which Student's t with seven degrees of freedom takes 2.3646 + 0.8960.
    """
    first = {"sft": [0.0] * 8, "ppo": [1.0] * 5 + [-1.0] * 3}
    second = {"sft": [0.0] * 8, "round-1": [1.0] * 8, "round-2": [2.0] * 8}
    write_round(tmp_path, first, 0.9, 0.6, {"new": 100, "train": 85})
    write_round(tmp_path / "round-2", second, 0.8, 0.75, {"new": 40, "train": 119})
    results = round_results(tmp_path, 2, patience=1, seed=0)
    assert [each.gap.value for each in results.rounds] == [0.375, 0.0]
    assert results.rounds[0].gap.mde == pytest.approx(3.2606 * 0.18298, abs=1e-4)
    assert results.rounds[1].gap.mde is None  # the same at every prompt
    assert [each.folder for each in results.rounds] == [".", "round-2"]
    assert [each.train_rankings for each in results.rounds] == [85, 119]
    assert results.rounds[1].kl == Interval(value=2.5, low=2.0, high=3.0, mde=0.7)
    assert results.rounds[1].accuracy == Interval(value=0.7, low=0.6, high=0.8, mde=0.15)
    assert results.rounds[1].comparison.improved
    assert (results.best, results.stopped) == (2, "")
    assert [each.model for each in results.strengths] == ["sft", "round-1", "round-2"] * 2
    write_round_results(tmp_path, results)
    content = json.loads((tmp_path / "rounds.json").read_text())
    assert content["rounds"][1]["comparison"]["against"] == 1
    assert content["rounds"][1]["comparison"]["win_rate"]["mde"] > 0
    assert content["best"] == 2


def test_evaluation_without_gold_compares_no_rounds(tmp_path):
    first = {"sft": [0.0] * 8, "ppo": [1.0] * 8}
    write_round(tmp_path, first, 0.9, 0.6, {"new": 100, "train": 85})
    folder = tmp_path / "round-2"
    write_round(folder, {"sft": [0.0], "round-1": [1.0], "round-2": [2.0]}, 0.8, 0.7, {
        "new": 4, "train": 89
    })  # fmt: skip
    lines = records({"sft": [0.0], "round-1": [1.0], "round-2": [2.0]}, "reward_model")
    write_records(folder / "evaluation", [PromptRow(prompt="p")], lines)
    proxy = Result(
        metric="win_rate", model="round-2", baseline="sft", judge="reward_model",
        value=0.8, low=0.7, high=0.9, n=8,
    )  # fmt: skip
    write_results(folder / "evaluation", [proxy, replace(proxy, model="round-1")])
    results = round_results(tmp_path, 2, patience=1, seed=0)
    assert results.rounds[1].comparison is None
    assert results.rounds[1].gap is None
    assert (results.best, results.stopped) == (2, "")
