"""Runs with a judge and annotators: the first one asks, later ones read the label store."""

from dataclasses import replace

import numpy as np
import pytest

from rlhf.evaluation.core.results import find
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.human import collect_human_labels
from rlhf.evaluation.judges.pairwise_metrics import pairs_to_judge
from rlhf.labels.records import Label
from rlhf.labels.store import LabelStore
from tests.errors import raises
from tests.evaluation.judges.two_models import records_of, rows_of, spec_of, verdict_of


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
    records, spec = records_of(count), spec_of(count, **spec)
    pairs = pairs_to_judge(records, spec, per_prompt=1, baselines=False)
    verdicts = [verdict_of(pair, judge_win(pair.prompt_index)) for pair in pairs]
    log = []
    results = collect_human_labels(
        tmp_path, rows_of(count), records, spec, study, log.append, verdicts
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
        for one in records_of(40)
    ]
    spec = spec_of(40, contaminated=[i < 20 for i in range(40)])
    arguments = tmp_path, rows_of(40), records, spec
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
