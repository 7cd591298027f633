"""Metrics of made-up records: every number can be computed by hand."""

import json
from dataclasses import replace

import pytest

from rlhf.evaluation.core.examples import write_examples
from rlhf.evaluation.core.metrics import Judge, MetricSpec, all_metrics
from rlhf.evaluation.core.records import Record, by_prompt, read_records, write_records
from rlhf.evaluation.core.results import (
    ANNOTATORS,
    Result,
    cell_text,
    find,
    print_table,
    read_results,
    write_results,
)
from rlhf.evaluation.judges.pairwise_metrics import health_results
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.types import PromptRow
from tests.errors import raises

GOLD = Judge(key="gold", kind="gold")


def _record(prompt, sample, model, score, **more):
    defaults = {"text": f"{model} scores {score}", "num_tokens": 4, "ended_with_eos": True}
    return Record(
        prompt_index=prompt,
        sample=sample,
        model=model,
        scores={"gold": score},
        **{**defaults, **more},
    )


@pytest.fixture
def records():
    """Three prompts, two responses each; ppo wins the first two and loses the third."""
    records = []
    for prompt, gain in enumerate((1.0, 1.0, -1.0)):
        for sample in range(2):
            records.append(_record(prompt, sample, "sft", 0.0, axes={"polite": None}))
            axes = {"polite": 1.0 if prompt == 0 else None, "brief": 0.5}
            records.append(
                _record(prompt, sample, "ppo", gain, kl=2.0 * prompt, num_tokens=8, axes=axes)
            )
    return records


@pytest.fixture
def spec():
    return MetricSpec(
        models=("sft", "ppo"),
        baseline="sft",
        judges=(GOLD,),
        categories=("facts", "facts", "stories"),
        contaminated=(False, True, False),
    )


def test_win_rate_over_all_by_category_and_without_contaminated(records, spec):
    results = all_metrics(records, spec)
    of = {"baseline": "sft", "judge": "gold"}
    assert find(results, "win_rate", "ppo", **of).value == pytest.approx(2 / 3)
    assert find(results, "win_rate", "ppo", **of, subset="facts").value == 1.0
    assert find(results, "win_rate", "ppo", **of, subset="stories") is None, "a single prompt"
    clean = find(results, "win_rate", "ppo", **of, with_contaminated=False)
    assert (clean.value, clean.n) == (0.5, 2)
    assert find(results, "win_rate", "sft") is None


def test_null_baselines_are_judged_and_ranked(records, spec):
    """`empty` scores -2 everywhere, below sft's 0; lookup 0.5, below two of ppo's 1, 1, -1."""
    for prompt in range(3):
        records.append(_record(prompt, 0, "empty", -2.0, axes={"brief": 1.0}, text=""))
        records.append(_record(prompt, 0, "lookup", 0.5, num_tokens=7))
    results = all_metrics(records, spec)
    of = {"judge": "gold"}
    assert find(results, "win_rate", "empty", baseline="sft", **of).value == 0.0
    assert find(results, "win_rate", "lookup", baseline="sft", **of).value == 1.0
    assert find(results, "win_rate", "ppo", baseline="lookup", **of).value == pytest.approx(2 / 3)
    strengths = {r.model: r.value for r in results if r.metric == "bradley_terry" and not r.subset}
    assert sorted(strengths, key=strengths.get)[0] == "empty"
    assert sum(strengths.values()) == pytest.approx(0.0)
    assert find(results, "kl", "empty") is None
    assert find(results, "distinct_2", "empty") is None
    assert find(results, "eos_rate", "empty") is None
    assert find(results, "axis", "empty", axis="brief").value == 1.0
    assert find(results, "axis", "empty", axis="brief", subset="facts").n == 2
    assert find(results, "axis", "empty", axis="brief", with_contaminated=False).n == 2
    assert find(results, "length", "lookup").value == 7.0
    assert find(results, "empty_rate", "empty").value == 1.0
    controlled = find(results, "length_controlled_win_rate", "lookup", baseline="sft", **of)
    assert controlled.value > 0.99
    assert find(results, "win_rate", "empty", baseline="sft", **of, subset="facts").value == 0.0


def test_null_baselines_and_human_judges_are_printed(records, spec, capsys):
    """The axes of a null baseline, and the annotators' gold items."""
    records += [_record(i, 0, "empty", -2.0, axes={"brief": 0.25}) for i in range(3)]
    records = [replace(r, axes={**r.axes, **dict.fromkeys("abcdef", 0.5)}) for r in records]
    correct = Estimate(value=0.875, low=0.5, high=1.0, n=8)
    results = all_metrics(records, spec) + health_results(
        {"judge_gold": correct}, ANNOTATORS, "human"
    )
    print_table(results, ("sft", "ppo"), "made up")
    output = capsys.readouterr().out
    null, human = output.index("Null baselines"), output.index("Human judges")
    assert "0.25" in output[output.index("brief", null) :]
    assert "0.88" in output[human:]
    assert "…" not in output  # no number is cut off
    assert ANNOTATORS not in output[null:human]


def test_win_rate_at_equal_length_is_half_if_length_decides(spec):
    """The longer response always wins: at equal length the models are equal.

    The length-controlled win rate draws the judge's taste towards that of AlpacaEval 2's judge,
    which is weaker, and stays closer to the win rate.
    """
    records = []
    for prompt in range(3):
        for sample, length in enumerate((10, 30, 50)):
            records.append(_record(prompt, sample, "sft", float(length), text="x" * length))
            text = "x" * (length + 10)
            records.append(_record(prompt, sample, "ppo", length + 10.0, text=text))
    results = all_metrics(records, spec)
    assert find(results, "win_rate", "ppo", judge="gold").value == pytest.approx(6 / 9)
    equal = find(results, "equal_length_win_rate", "ppo", judge="gold")
    assert equal.value == pytest.approx(0.5, abs=0.1)
    controlled = find(results, "length_controlled_win_rate", "ppo", judge="gold")
    assert equal.value < controlled.value < 6 / 9


def _by_category(chances, prompts=60):
    """Win rates by category: the first share of a category's prompts are won."""
    records, categories = [], []
    for name, chance in chances.items():
        for number in range(prompts):
            prompt = len(categories)
            categories.append(name)
            records.append(_record(prompt, 0, "sft", 0.0))
            records.append(_record(prompt, 0, "ppo", 1.0 if number < chance * prompts else -1.0))
    spec = MetricSpec(
        models=("sft", "ppo"), baseline="sft", judges=(GOLD,), categories=categories, resamples=50
    )
    return all_metrics(records, spec)


def test_worst_category_is_named_and_differs_from_the_rest():
    """40% against 60 and 70%: q is below 5% for stories and maths."""
    results = _by_category({"facts": 0.6, "maths": 0.7, "stories": 0.4})
    of = {"baseline": "sft", "judge": "gold"}
    q = {name: find(results, "win_rate", "ppo", subset=name, **of).q
         for name in ("facts", "maths", "stories")}  # fmt: skip
    assert q["stories"] < q["maths"] < 0.05 < q["facts"]
    worst = find(results, "win_rate_worst_category", "ppo", subset="stories", **of)
    own = find(results, "win_rate", "ppo", subset="stories", **of)
    assert worst.value == own.value == 0.4
    assert worst.low < own.low < own.high < worst.high
    assert find(results, "win_rate", "ppo", **of).q is None
    assert [r.model for r in results if r.metric == "win_rate_worst_category"] == ["ppo"]


def test_minimal_detectable_effect_is_written_next_to_every_figure(records, spec, tmp_path):
    """Of [0, 1, 1] over three prompts the standard error is 1/3. Student's t with two degrees of
    freedom takes 4.3027 + 1.0607 of them."""
    results = all_metrics(records, spec)
    win_rate = find(results, "win_rate", "ppo", judge="gold")
    assert win_rate.se == pytest.approx(1 / 3)
    assert win_rate.mde == pytest.approx(5.3634 / 3, abs=1e-4)
    write_results(tmp_path, results)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["results"][0]["mde"] == pytest.approx(win_rate.mde)
    assert read_results(tmp_path) == results
    strength = find(results, "bradley_terry", "ppo", judge="gold")  # of three prompts
    [written] = [
        one
        for one in content["results"]
        if (one["metric"], one["model"]) == ("bradley_terry", "ppo")
        and not {"subset", "with_contaminated"} & one.keys()
    ]
    assert (written["low"], written["high"], "mde" in written) == (None, None, False)
    assert cell_text(strength) == f"{strength.value:.2f}"


def test_tables_say_what_each_figure_detects(capsys):
    """An exact value has no row, and a dash next to one that is not exact."""
    of = {"n": 50, "baseline": None}
    results = [
        Result(metric="score", model="ppo", value=1.0, low=0.8, high=1.2, mde=0.28, **of),
        Result(metric="suite", model="ppo", axis="mine", value=0.0, low=0.0, high=0.07, mde=0.05,
               **of),
        Result(metric="kl", model="ppo", value=0.0, low=0.0, high=0.0, **of),
        Result(metric="score", model="sft", value=0.0, low=0.0, high=0.0, **of),
        Result(metric="score", model="empty", value=3.0, low=2.0, high=4.0, mde=2.8, **of),
    ]  # fmt: skip
    print_table(results, ("sft", "ppo"), "made up")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]]
             for line in capsys.readouterr().out.splitlines() if line.startswith("│")]  # fmt: skip
    assert lines == [
        ["score", "0.00 [0.00,0.00]", "1.00 [0.80,1.20]"],
        ["detects", "–", "± 0.28"],
        ["mine", "–", "0.00 [0.00,0.07]"],
        ["detects", "–", "± 0.05"],
        ["kl", "–", "0.00 [0.00,0.00]"],
        ["empty", "3.00 [2.00,4.00]"],
        ["detects", "± 2.80"],
    ]


def test_kl_per_response_and_per_token(records, spec):
    """Responses of 0, 2 and 4 nats, 8 tokens each."""
    results = all_metrics(records, spec)
    assert find(results, "kl", "ppo").value == pytest.approx(2.0)
    assert find(results, "kl_per_token", "ppo").value == pytest.approx(0.25)
    assert find(results, "kl", "sft") is None
    # Prompts of 0, 2 and 4 nats: their mean has a standard error of sqrt(8/3 / 3) = 0.94.
    assert find(results, "kl", "ppo").se == pytest.approx(0.94, abs=0.05)


def test_reference_loss_is_per_token(spec):
    """Responses of 2, 4, 6 nats and 1, 2, 3 tokens: 12 nats over 6 tokens; sft has no loss."""
    records = [_record(i, 0, "sft", 0.0) for i in range(3)]
    records += [
        _record(i, 0, "ppo", 1.0, num_tokens=i + 1, reference_nll=2.0 * (i + 1)) for i in range(3)
    ]
    results = all_metrics(records, spec)
    assert find(results, "reference_loss", "ppo").value == pytest.approx(2.0)
    assert find(results, "reference_loss", "sft") is None


def test_axis_averages_only_responses_with_a_score(records, spec):
    results = all_metrics(records, spec)
    polite = find(results, "axis", "ppo", axis="polite")
    assert (polite.value, polite.n) == (1.0, 1)
    assert find(results, "axis", "ppo", axis="brief").value == 0.5
    assert find(results, "axis", "sft", axis="polite") is None


def test_length_and_endings(records, spec):
    results = all_metrics(records, spec)
    assert find(results, "length", "ppo").value == 8.0
    assert find(results, "eos_rate", "ppo").value == 1.0
    assert find(results, "empty_rate", "ppo").value == 0.0
    assert find(results, "truncation_rate", "ppo").value == 0.0
    assert find(results, "length_p90", "sft").value == 4.0
    assert find(results, "self_bleu", "ppo").value == 1.0


def test_results_survive_a_round_trip(tmp_path, records, spec):
    results = all_metrics(records, spec)
    results.append(replace(results[0], se=1.0))  # equals True
    write_results(tmp_path, results, {"seed": 3})
    assert read_results(tmp_path) == results
    print_table(results, ("sft", "ppo"), "made up")


def test_missing_results_raise(tmp_path):
    with raises("unreadable-file", tmp_path / "evaluation.json"):
        read_results(tmp_path)


def test_records_survive_a_round_trip(tmp_path, records):
    """U+2028 ends a line, but not in JSON."""
    rows = [PromptRow(prompt=f"p\u2028{i}") for i in range(3)]
    read = read_records(write_records(tmp_path, rows, records[::-1]))
    assert read == sorted(records, key=lambda r: (r.prompt_index, r.model, r.sample))


def test_samples_are_sorted_within_a_prompt(records):
    groups = by_prompt(list(reversed(records)), "ppo", 3)
    assert [[r.sample for r in group] for group in groups] == [[0, 1]] * 3


def test_examples_show_best_worst_and_random(tmp_path, records):
    rows = [PromptRow(prompt=f"p{i}", columns={"category": "c"}) for i in range(3)]
    write_examples(
        tmp_path,
        rows,
        records,
        models=("sft", "ppo"),
        baseline="sft",
        judge="gold",
        count=1,
        seed=0,
    )
    worst = (tmp_path / "samples" / "worst.jsonl").read_text()
    best = (tmp_path / "samples" / "best.jsonl").read_text()
    assert '"prompt": "p2"' in worst
    assert '"prompt": "p1"' in best or '"prompt": "p0"' in best
    assert (tmp_path / "samples" / "random.jsonl").read_text().count("\n") == 1
