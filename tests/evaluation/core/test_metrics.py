"""Figures of made-up records: every number can be worked out by hand."""

from dataclasses import replace

import pytest

from rlhf.errors import DataError
from rlhf.evaluation.core.examples import write_examples
from rlhf.evaluation.core.metrics import Judge, MetricSpec, all_metrics
from rlhf.evaluation.core.records import Record, by_prompt, read_records, write_records
from rlhf.evaluation.core.results import PEOPLE, find, print_table, read_results, write_results
from rlhf.evaluation.judges.pairwise_metrics import as_results
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.types import PromptRow

GOLD = Judge(key="gold", kind="gold")


def _record(prompt, sample, model, score, **more):
    defaults = {"text": f"{model} says {score}", "num_tokens": 4, "ended_with_eos": True}
    return Record(
        prompt_index=prompt,
        sample=sample,
        model=model,
        scores={"gold": score},
        **{**defaults, **more},
    )


@pytest.fixture
def records():
    """Three prompts, two answers each; ppo wins the first two and loses the third."""
    made = []
    for prompt, gain in enumerate((1.0, 1.0, -1.0)):
        for sample in range(2):
            made.append(_record(prompt, sample, "sft", 0.0, axes={"polite": None}))
            axes = {"polite": 1.0 if prompt == 0 else None, "brief": 0.5}
            made.append(
                _record(prompt, sample, "ppo", gain, kl=2.0 * prompt, num_tokens=8, axes=axes)
            )
    return made


@pytest.fixture
def question():
    return MetricSpec(
        models=("sft", "ppo"),
        baseline="sft",
        judges=(GOLD,),
        categories=("facts", "facts", "stories"),
        contaminated=(False, True, False),
    )


def test_win_rate_over_all_by_category_and_without_contaminated(records, question):
    results = all_metrics(records, question)
    of = {"baseline": "sft", "judge": "gold"}
    assert find(results, "win_rate", "ppo", **of).value == pytest.approx(2 / 3)
    assert find(results, "win_rate", "ppo", **of, subset="facts").value == 1.0
    assert find(results, "win_rate", "ppo", **of, subset="stories") is None, "a single prompt"
    clean = find(results, "win_rate", "ppo", **of, with_contaminated=False)
    assert (clean.value, clean.n) == (0.5, 2)
    assert find(results, "win_rate", "sft") is None


def test_baselines_that_no_model_wrote_are_judged_and_ranked(records, question):
    """`empty` scores -2 everywhere, below sft's 0; lookup 0.5, below two of ppo's 1, 1, -1."""
    for prompt in range(3):
        records.append(_record(prompt, 0, "empty", -2.0, axes={"brief": 1.0}, text=""))
        records.append(_record(prompt, 0, "lookup", 0.5, num_tokens=7))
    results = all_metrics(records, question)
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


def test_what_no_model_wrote_and_who_judged_are_printed(records, question, capsys):
    """The axes of a null baseline, and what people's gold items say of them."""
    records += [_record(i, 0, "empty", -2.0, axes={"brief": 0.25}) for i in range(3)]
    records = [replace(r, axes={**r.axes, **dict.fromkeys("abcdef", 0.5)}) for r in records]
    right = Estimate(value=0.875, low=0.5, high=1.0, n=8)
    results = all_metrics(records, question) + as_results({"judge_gold": right}, PEOPLE, "human")
    print_table(results, ("sft", "ppo"), "made up")
    said = capsys.readouterr().out
    beaten = said.index("What it takes to beat")
    assert "0.25" in said[said.index("brief", beaten) :]
    assert "0.88" in said[said.index("Those who judged") :]
    assert "…" not in said  # no number that is cut short
    assert PEOPLE not in said[beaten : said.index("Those who judged")]


def test_the_length_controlled_win_rate_asks_what_equal_lengths_would_give(question):
    """The longer answer wins always: at equal length nothing is left."""
    made = []
    for prompt in range(3):
        for sample, length in enumerate((10, 30, 50)):
            made.append(_record(prompt, sample, "sft", float(length), text="x" * length))
            made.append(_record(prompt, sample, "ppo", length + 10.0, text="x" * (length + 10)))
    results = all_metrics(made, question)
    assert find(results, "win_rate", "ppo", judge="gold").value == pytest.approx(6 / 9)
    controlled = find(results, "length_controlled_win_rate", "ppo", judge="gold")
    assert controlled.value == pytest.approx(0.5, abs=0.1)


def test_kl_per_answer_and_per_token(records, question):
    """Answers of 0, 2 and 4 nats, 8 tokens each."""
    results = all_metrics(records, question)
    assert find(results, "kl", "ppo").value == pytest.approx(2.0)
    assert find(results, "kl_per_token", "ppo").value == pytest.approx(0.25)
    assert find(results, "kl", "sft") is None
    # Prompts of 0, 2 and 4 nats: their mean has a standard error of sqrt(8/3 / 3) = 0.94.
    assert find(results, "kl", "ppo").se == pytest.approx(0.94, abs=0.05)


def test_loss_under_the_reference_is_per_token(question):
    """Answers of 2, 4, 6 nats and 1, 2, 3 tokens: 12 nats over 6 tokens; sft has no loss."""
    made = [_record(i, 0, "sft", 0.0) for i in range(3)]
    made += [
        _record(i, 0, "ppo", 1.0, num_tokens=i + 1, reference_nll=2.0 * (i + 1)) for i in range(3)
    ]
    results = all_metrics(made, question)
    assert find(results, "reference_loss", "ppo").value == pytest.approx(2.0)
    assert find(results, "reference_loss", "sft") is None


def test_axes_average_only_what_they_speak_of(records, question):
    results = all_metrics(records, question)
    polite = find(results, "axis", "ppo", axis="polite")
    assert (polite.value, polite.n) == (1.0, 1)
    assert find(results, "axis", "ppo", axis="brief").value == 0.5
    assert find(results, "axis", "sft", axis="polite") is None


def test_length_and_endings(records, question):
    results = all_metrics(records, question)
    assert find(results, "length", "ppo").value == 8.0
    assert find(results, "eos_rate", "ppo").value == 1.0
    assert find(results, "empty_rate", "ppo").value == 0.0
    assert find(results, "truncation_rate", "ppo").value == 0.0
    assert find(results, "length_p90", "sft").value == 4.0
    assert find(results, "self_bleu", "ppo").value == 1.0


def test_results_are_read_back_as_written(tmp_path, records, question):
    results = all_metrics(records, question)
    results.append(replace(results[0], se=1.0))  # a number that equals True
    write_results(tmp_path, results, {"seed": 3})
    assert read_results(tmp_path) == results
    print_table(results, ("sft", "ppo"), "made up")


def test_results_of_an_empty_folder_are_missed_in_words(tmp_path):
    with pytest.raises(DataError, match=r"evaluate\.py"):
        read_results(tmp_path)


def test_records_are_read_back_as_written(tmp_path, records):
    rows = [PromptRow(prompt=f"p{i}") for i in range(3)]
    found = read_records(write_records(tmp_path, rows, records[::-1]))
    assert found == sorted(records, key=lambda r: (r.prompt_index, r.model, r.sample))


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
