"""Simulated annotators: noise and biases by value, independent of the rest of the store."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from rlhf.labels.records import Candidate
from rlhf.labels.simulate import (
    Annotator,
    gold_scores,
    load_annotators,
    ranks_of,
    simulate_labels,
)
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from rlhf.rewards.reward import load_reward
from tests.errors import raises

GOLD = """
def score(prompts, completions, **columns):
    return [float(text.split()[0]) for text in completions]
"""


@pytest.fixture
def gold(tmp_path: Path):
    (tmp_path / "gold.py").write_text(GOLD)
    return load_reward([f"{tmp_path / 'gold.py'}:score"])


def pairs(store: LabelStore, count: int, better: str = "1", worse: str = "0") -> None:
    store.add_candidates(
        [Candidate(prompt=f"p{i}", responses=(worse, better)) for i in range(count)]
    )


def stats_of(tmp_path: Path, gold, count: int, annotator: Annotator, **responses: str):
    with LabelStore(tmp_path / f"{annotator.name}.sqlite", create=True) as store:
        pairs(store, count, **responses)
        assert simulate_labels(store, [annotator], gold, seed=1) == count
        items = store.items()
        scores = dict(zip([i.id for i in items], gold_scores(items, gold), strict=True))
        return label_stats(store, scores).annotators[0]


def test_ranks_count_tiers_and_do_not_chain_small_steps():
    assert ranks_of([3.0, 1.0, 1.0, 0.0]) == [1, 2, 2, 4]
    # 2.0 ties with 2.2, the best; 1.8 is within 0.3 of 2.0 but not of the best.
    assert ranks_of([1.8, 2.2, 2.0], tie_threshold=0.3) == [3, 1, 1]
    assert ranks_of([0.0, math.nextafter(0.0, 1.0)]) == [2, 1]
    assert ranks_of([5.0, 5.0]) == [1, 1]


def test_gumbel_noise_is_bradley_terry(tmp_path, gold):
    """P(one point better wins) = sigmoid(1 / noise) = 0.8808 at noise 0.5; SE 0.007 of 2000."""
    stats = stats_of(tmp_path, gold, 2000, Annotator(name="a", noise=0.5))
    assert stats.gold_agreement.value == pytest.approx(0.8808, abs=0.025)
    assert stats.first_shown.value == pytest.approx(0.5, abs=0.04)


def test_random_and_reversed_annotators_of_the_recipe(tmp_path, gold, root):
    """Five equal annotators in each file, the number that rank a prompt in the demo."""
    random, *others = load_annotators(root / "recipes/pocket/annotators-random.yaml")
    assert all(replace(other, name=random.name) == random for other in others)
    reversed_, *others = load_annotators(root / "recipes/pocket/annotators-reversed.yaml")
    assert all(replace(other, name=reversed_.name) == reversed_ for other in others)
    assert stats_of(tmp_path, gold, 2000, random).gold_agreement.value == pytest.approx(
        0.5, abs=0.04
    )
    assert stats_of(tmp_path, gold, 200, reversed_, better="8").gold_agreement.value == 0.0


def test_biases_show_in_the_statistics(tmp_path, gold):
    same = {"better": "0 and some more words for it", "worse": "0"}
    first = stats_of(tmp_path, gold, 50, Annotator(name="first", position_bias=0.1), **same)
    assert first.first_shown.value == 1.0
    longer = stats_of(tmp_path, gold, 50, Annotator(name="long", length_bias=0.1), **same)
    assert longer.longer.value == 1.0
    tied = stats_of(tmp_path, gold, 50, Annotator(name="tied", tie_threshold=2.0))
    assert (tied.ties.value, tied.first_shown.n) == (1.0, 0)


def test_labels_do_not_depend_on_other_items_and_are_made_once(tmp_path, gold):
    annotators = [Annotator(name=name, noise=1.0) for name in "abc"]

    def run(name: str, *counts: int):
        with LabelStore(tmp_path / name, create=True) as store:
            for count in counts:
                pairs(store, count)
                simulate_labels(store, annotators, gold, seed=3, overlap=2)
            items = {item.id: item.prompt for item in store.items()}
            return {
                (items[label.item_id], label.annotator): (tuple(label.ranks), label.order_shown)
                for label in store.labels()
            }

    once, grown = run("once.sqlite", 20), run("grown.sqlite", 5, 20)
    assert once == grown
    assert len(once) == 40
    assert len({name for _, name in once}) == 3


def test_identical_responses_tie_despite_noise(tmp_path, gold):
    with LabelStore(tmp_path / "s.sqlite", create=True) as store:
        store.add_candidates([Candidate(prompt="p", responses=("2", "1", "2 "))])
        noisy = Annotator(name="n", noise=9.0, position_bias=1.0)
        simulate_labels(store, [noisy], gold, seed=0)
        [label] = store.labels()
    assert label.ranks[0] == label.ranks[2] != label.ranks[1]


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("annotators: [{name: a, nose: 1}]", "unknown-key", "nose"),
        ("annotators: [{name: a}, {name: a}]", "repeated-key", "a.yaml"),
        ("annotators: [{noise: 1}]", "missing-key", "noise"),
        ("annotators: [{name: a, noise: loud}]", "bad-value", "noise"),
        ("annotators: [{name: a, error_rate: 2}]", "bad-value", "error_rate=2"),
        ("people: []", "bad-config-file", "a.yaml"),
        ("[", "bad-config-file", "a.yaml"),
    ],
)
def test_annotator_files_are_checked(tmp_path, text, code, name):
    (tmp_path / "a.yaml").write_text(text)
    with raises(code, name):
        load_annotators(tmp_path / "a.yaml")


def test_shipped_annotators_load(root):
    assert len(load_annotators(root / "recipes/pocket/annotators.yaml")) == 5
