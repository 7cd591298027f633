"""An LLM judge on all prompts and annotators on some: the draw, the estimates, the biases."""

import random
from dataclasses import replace

import numpy as np
import pytest

from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.records import Record
from rlhf.evaluation.core.results import find
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.human import collect_human_labels
from rlhf.evaluation.judges.human_llm import (
    PromptWins,
    anytime_results,
    combined_results,
    prompt_wins,
)
from rlhf.evaluation.judges.human_sample import HumanSample, draw_sample
from rlhf.evaluation.judges.judge_bias import (
    judge_biases,
    judge_models,
    num_list_items,
    num_markdown_marks,
)
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, TIE, Pair, PairOutcome, Verdict
from rlhf.evaluation.judges.pairwise_metrics import pairs_to_judge
from rlhf.evaluation.stats.sampling_design import sampling_probabilities, systematic_sample
from rlhf.labels.records import Label
from rlhf.labels.store import LabelStore
from rlhf.types import PromptRow
from tests.errors import raises

ORDERS = {1.0: (FIRST, SECOND), 0.0: (SECOND, FIRST), 0.5: (TIE, TIE)}


def _pair(index, ours="ours", theirs="theirs"):
    return Pair(prompt_index=index, model="ppo", baseline="sft", ours=ours, theirs=theirs)


def _verdict(pair, win):
    ours_first, theirs_first = ORDERS[win]
    return Verdict(pair=pair, ours_first=ours_first, theirs_first=theirs_first)


def _spec(count, **more):
    return MetricSpec(
        **({"models": ("sft", "ppo"), "baseline": "sft", "judges": (), "resamples": 200}
           | {"categories": [None] * count} | more)
    )  # fmt: skip


def _rows(count):
    return [PromptRow(prompt=f"prompt {i}") for i in range(count)]


def _records(count):
    return [
        Record(prompt_index=i, sample=0, model=model, text=f"{model} {i}", num_tokens=2,
               ended_with_eos=True)
        for i in range(count)
        for model in ("sft", "ppo")
    ]  # fmt: skip


def test_prompt_is_labelled_once_all_its_pairs_are():
    """Two pairs of a prompt, one of them labelled; a tie of equal texts; a prompt not drawn.

    Of the two drawn prompts one is labelled: 1/2 of them are answered.
    """
    half, whole, tie, other = _pair(0), _pair(1), _pair(2, "same", "same"), _pair(3)
    second = _pair(0, "ours again")
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
    [combined, people] = combined_results([*ties, *others], "ppo", _spec(100), with_judge=True)
    assert people.value == pytest.approx(0.66)
    assert (people.judge, people.n, combined.judge, combined.n) == ("human", 10, "human+llm", 100)
    assert combined_results(ties[:2], "ppo", _spec(100), with_judge=True) == []


def test_clean_prompts_have_their_own_estimates():
    wins = [PromptWins(prompt_index=i, judge=0.5, people=float(i % 2)) for i in range(8)]
    flags = [i % 2 == 0 for i in range(8)]
    results = combined_results(wins, "ppo", _spec(8, contaminated=flags), with_judge=False)
    assert find(results, "win_rate", "ppo").value == 0.5
    assert find(results, "win_rate", "ppo", with_contaminated=False).value == 1.0


def test_uncertain_prompts_are_drawn_more_often(tmp_path):
    """The judge is undecided on half of the prompts: 1.5 times the probability."""
    pairs = [_pair(i, f"a {i}", f"b {i}") for i in range(100)]
    wins = [0.5 if i % 2 else 1.0 for i in range(100)]
    with LabelStore(tmp_path / "s.sqlite") as store:
        sample = draw_sample(store, pairs, _rows(100), wins, budget=25, seed=3)
        again = draw_sample(store, pairs, _rows(100), wins, budget=25, seed=3)
    assert sample == again
    assert len(sample.pairs) == len(sample.probabilities) == 25
    assert set(np.round(list(sample.probabilities.values()), 6)) == {0.2, 0.3}
    order = [pair.prompt_index for pair in sample.pairs]
    assert order != sorted(order)


def _label(store, prefers, *, annotators=("Ann",), most=10**6):
    """Every annotator labels the oldest items by `prefers(prompt index)` -> win."""
    ranks = {1.0: [1, 2], 0.5: [1, 1], 0.0: [2, 1]}
    store.submit_many(
        [
            Label(item_id=item.id, annotator=name, ranks=ranks[prefers(_index(item))])
            for item in store.items()[:most]
            for name in annotators
        ]
    )


def _index(item):
    return item.columns["prompt_index"]


def _collect(tmp_path, judge_win, study, count=80, **spec):
    """The results of a run with these verdicts of the judge."""
    records, spec = _records(count), _spec(count, **spec)
    pairs = pairs_to_judge(records, spec, per_prompt=1, baselines=False)
    verdicts = [_verdict(pair, judge_win(pair.prompt_index)) for pair in pairs]
    log = []
    results = collect_human_labels(
        tmp_path, _rows(count), records, spec, study, log.append, verdicts
    )
    return results, log


def _study(**keys):
    return StudyConfig(**({"judge": ["human+llm"], "llm_judge": "some/judge"} | keys))


def test_first_run_asks_and_second_run_reads_with_the_first_runs_probabilities(tmp_path):
    """People prefer the model at three prompts of four and the judge always does.

    The second run's judge is another one: prompts and probabilities stay those of the first draw.
    """
    study = _study(human_budget=32)
    results, log = _collect(tmp_path, lambda i: 1.0, study)
    assert results == []
    assert "0 of 32 pairs are labelled" in log[0]
    with LabelStore(tmp_path / "human.sqlite") as store:
        before = store.items()
        _label(store, lambda i: float(i % 4 > 0))
    results, log = _collect(tmp_path, lambda i: 0.5 if i % 2 else 1.0, study)
    with LabelStore(tmp_path / "human.sqlite") as store:
        assert store.items() == before
    wins = np.mean([item.columns["prompt_index"] % 4 > 0 for item in before])
    assert find(results, "win_rate", "ppo", judge="human").value == pytest.approx(wins)
    combined = find(results, "win_rate", "ppo", judge="human+llm")
    assert combined.low < 0.75 < combined.high
    anytime = find(results, "win_rate_anytime", "ppo", judge="human")
    alone = find(results, "win_rate", "ppo", judge="human")
    assert anytime.value == pytest.approx(alone.value)
    assert anytime.high - anytime.low > alone.high - alone.low
    assert find(results, "judge_agreement", "ppo", judge="llm") is not None
    for metric in ("length_controlled_win_rate", "equal_length_win_rate"):
        assert find(results, metric, "ppo", judge="human").n == 32
        both = find(results, metric, "ppo", judge="human+llm")
        assert (both.low < both.value < both.high, both.n) == (True, 80)
    assert "by annotators and llm_judge on 80 prompts" in log[1]


def test_without_a_budget_every_prompt_is_asked_and_the_labelled_ones_count(tmp_path):
    _collect(tmp_path, lambda i: 1.0, _study())
    with LabelStore(tmp_path / "human.sqlite") as store:
        assert len(store.items()) == 80
        _label(store, lambda i: float(i % 4 > 0), most=40)
    results, _ = _collect(tmp_path, lambda i: float(i % 4 > 0), _study())
    combined = find(results, "win_rate", "ppo", judge="human+llm")
    people = find(results, "win_rate", "ppo", judge="human")
    assert combined.value == pytest.approx(0.75)
    assert people.value == pytest.approx(0.75)
    assert combined.high - combined.low < people.high - people.low
    assert find(results, "win_rate_anytime", "ppo") is None


def test_taste_of_people_is_taken_out_at_equal_length(tmp_path):
    """Every second response is a sentence longer, and people prefer exactly these: half of all.

    At equal length that is 1/2, by symmetry.
    """
    study = _study(judge=["human"], llm_judge=None, human_budget=40)
    records = [
        replace(one, text=one.text + " and a sentence more")
        if (one.model == "ppo") == (one.prompt_index % 2 == 0)
        else one
        for one in _records(40)
    ]
    spec = _spec(40, contaminated=[i < 20 for i in range(40)])
    arguments = tmp_path, _rows(40), records, spec
    collect_human_labels(*arguments, study, print)
    with LabelStore(tmp_path / "human.sqlite") as store:
        _label(store, lambda i: float(i % 2 == 0))
    results = collect_human_labels(*arguments, study, print)
    at_equal_length = find(results, "equal_length_win_rate", "ppo", judge="human")
    assert at_equal_length.value == pytest.approx(0.5, abs=0.01)
    clean = find(results, "equal_length_win_rate", "ppo", with_contaminated=False)
    assert (clean.judge, clean.n) == ("human", 20)
    assert find(results, "length_controlled_win_rate", "ppo", judge="human+llm") is None


def test_store_without_probabilities_cannot_be_used_with_a_budget(tmp_path):
    _collect(tmp_path, lambda i: 1.0, _study())
    with raises("other-run", "human_budget"):
        _collect(tmp_path, lambda i: 1.0, _study(human_budget=10))


def test_win_rates_by_group_of_annotators(tmp_path):
    """Nurses prefer the model everywhere and cooks nowhere; Zoe has no group."""
    groups = tmp_path / "groups.yaml"
    groups.write_text("Ann: nurses\nBob: cooks\n", encoding="utf-8")
    study = _study(judge=["human"], annotator_groups=str(groups))
    _collect(tmp_path, lambda i: 1.0, study, count=20)
    with LabelStore(tmp_path / "human.sqlite") as store:
        _label(store, lambda i: 1.0, annotators=("Ann",))
        _label(store, lambda i: 0.0, annotators=("Bob",))
        _label(store, lambda i: float(i % 2), annotators=("Zoe",))
    results, _ = _collect(tmp_path, lambda i: 1.0, study, count=20)
    by_group = {r.subset: r for r in results if r.metric == "win_rate" and r.subset}
    assert {name: r.value for name, r in by_group.items()} == {
        "group nurses": 1.0, "group cooks": 0.0, "group (no group)": 0.5,
    }  # fmt: skip
    assert by_group["group cooks"].q < 0.01
    worst = find(results, "win_rate_worst_group", "ppo", subset="group cooks")
    assert (worst.value, worst.n) == (0.0, 20)
    votes = {r.axis: r.value for r in results if r.metric == "vote_distribution"}
    assert votes == {"unanimous": 0.0, "majority": 1.0, "split": 0.0}
    groups.write_text("Ann: [1]\n", encoding="utf-8")
    with raises("bad-value", "Ann", "groups.yaml"):
        _collect(tmp_path, lambda i: 1.0, study, count=20)


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
    [result] = anytime_results(wins, list(range(20)), "ppo", _spec(60))
    assert result.value == pytest.approx(0.75)
    assert result.low < 0.75 < result.high
    assert (result.metric, result.judge, result.n) == ("win_rate_anytime", "human", 20)
    assert anytime_results(wins, [], "ppo", _spec(60)) == []


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
    [result] = anytime_results(wins, [0], "ppo", _spec(100))
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
        [result] = anytime_results(wins, order, "ppo", _spec(400))
        excluded.append(not result.low <= 0.6 <= result.high)
    assert np.mean(excluded) <= 0.05


@pytest.mark.slow
def test_intervals_of_biases_cover():
    """The judge sides with the longer response in 30% more of the pairs than people do."""
    sample, rng, covered = HumanSample(pairs=[], probabilities={}), random.Random(1), []
    for _ in range(200):
        results = judge_biases(*_biased_verdicts(rng, 80), sample, _spec(80))
        [bias] = [one for one in results if one.metric == "judge_bias_length"]
        covered.append(bias.low <= 0.3 <= bias.high)
    assert 0.91 <= np.mean(covered) <= 0.985


def _biased_verdicts(rng, count=400):
    """People flip a coin; the judge sides with the longer response in 80% of the pairs."""
    verdicts, outcomes = [], []
    for i in range(count):
        longer = rng.random() < 0.5
        pair = _pair(i, "- a\n- b and more" if longer else "c", "d, and two")
        win = float(longer) if rng.random() < 0.8 else float(not longer)
        verdicts.append(_verdict(pair, win))
        outcomes.append(PairOutcome(pair=pair, win=float(rng.random() < 0.5)))
    return verdicts, outcomes


def test_biases_are_measured_against_people():
    """The judge prefers the longer response in 80% of pairs and people in 50%: 0.3 more often.

    Lists are in the longer responses alone, so their bias is the same; there is no markdown, and
    both orders agree, so the position decides nothing.
    """
    verdicts, outcomes = _biased_verdicts(random.Random(0))
    results = judge_biases(
        verdicts, outcomes, HumanSample(pairs=[], probabilities={}), _spec(400), own=["ppo"]
    )
    values = {r.metric: r for r in results}
    assert values["judge_bias_length"].value == pytest.approx(0.3, abs=0.07)
    assert values["judge_bias_length"].low > 0
    assert values["judge_bias_lists"].value == pytest.approx(0.3, abs=0.1)
    assert values["judge_agreement"].value == pytest.approx(0.5, abs=0.07)
    assert values["judge_bias_position"].value == 0.0
    assert abs(values["judge_bias_self"].value) < 0.07
    assert "judge_bias_markdown" not in values


def test_rare_prompts_count_more():
    """A prompt drawn with 0.1 counts ten times as much as one drawn with 1: (10 · 1 + 0)/11."""
    pairs = [_pair(0), _pair(1)]
    verdicts = [_verdict(pair, 1.0) for pair in pairs]
    outcomes = [PairOutcome(pair=pairs[0], win=1.0), PairOutcome(pair=pairs[1], win=0.0)]
    sample = HumanSample(pairs=pairs, probabilities={0: 0.1, 1: 1.0})
    [agreement] = [
        r for r in judge_biases(verdicts, outcomes, sample, _spec(2))
        if r.metric == "judge_agreement"
    ]  # fmt: skip
    assert agreement.value == pytest.approx(10 / 11)


def test_text_features():
    assert num_list_items("Do:\n- one\n2. two\n  * three\n-not this\n3.5 is a number") == 3
    assert num_markdown_marks("# Title\n**bold** and `code`\n| a | b |\nplain * text") == 4


def test_judge_that_is_a_model_itself_is_found_by_its_name():
    study = _study(llm_judge="runs/ppo")
    assert judge_models(study, _spec(1)) == ["ppo"]


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"judge": ["human+llm"], "llm_judge": None}, "missing-key", "llm_judge"),
        ({"judge": [], "human_budget": 5}, "key-conflict", "human_budget"),
        ({"judge": [], "annotator_groups": "x"}, "key-conflict", "annotator_groups"),
        ({"human_budget": 0}, "bad-value", "human_budget=0"),
        ({"judge": ["llm"]}, "bad-value", "judge='llm'"),
        ({"pilot": "x"}, "key-conflict", "pilot"),
    ],
)
def test_keys_that_do_not_fit_raise(keys, code, name):
    with raises(code, name):
        _study(**keys)
