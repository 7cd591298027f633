"""Annotators as judges: strengths of models from all labels of a store."""

import math

import pytest

from rlhf.evaluation.core.metrics import MetricSpec
from rlhf.evaluation.judges.human import human_strengths
from rlhf.labels.records import Candidate, Label
from rlhf.labels.store import LabelStore


def test_rankings_and_votes_of_the_store_give_strengths(tmp_path):
    """`new` beats `old` in 30 of 40 games and `old` beats `third`, which is not evaluated, in 30
    of 40: it has no result, and the others keep their distance of about log 3."""
    with LabelStore(tmp_path / "s.sqlite") as store:
        for other, better in (("old", "new"), ("third", "old")):
            for number in range(40):
                candidate = Candidate(
                    prompt=f"{number} {other}", responses=("a", "b"), models=(better, other)
                )
                [item] = store.add_candidates([candidate])
                ranks = (1, 2) if number < 30 else (2, 1)
                store.submit(Label(item_id=item, annotator="ann", ranks=ranks))
        spec = MetricSpec(
            models=["new", "old"], baseline="old", judges=[], categories=[], resamples=100
        )
        results = human_strengths(store, spec)
    assert [(one.metric, one.model, one.judge) for one in results] == [
        ("bradley_terry", "new", "human"),
        ("bradley_terry", "old", "human"),
    ]
    first, second = results
    assert first.value - second.value == pytest.approx(1.0986, abs=0.15)
    assert (first.n, second.n) == (40, 80)
    assert first.low < first.value < first.high


def test_strengths_of_few_labelled_prompts_have_no_interval(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        for prompt in ("p", "q"):
            store.add(prompt, ["a", "b"], ranks=[1, 2], annotator="ann", models=["new", "old"])
        spec = MetricSpec(models=["new"], baseline="old", judges=[], categories=[], resamples=50)
        first, second = human_strengths(store, spec)
    assert (first.value, first.n) == (-second.value, 2)
    assert (first.low, first.high, first.mde) == (-math.inf, math.inf, None)


def test_store_without_models_gives_none(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        store.add("p", ["a", "b"], ranks=[1, 2], annotator="ann")
        spec = MetricSpec(models=["new"], baseline="old", judges=[], categories=[])
        assert human_strengths(store, spec) == []
