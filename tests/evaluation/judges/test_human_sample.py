"""Prompts for annotators are drawn by seed, those that the judge is unsure of more often."""

import numpy as np

from rlhf.evaluation.judges.human_sample import draw_sample
from rlhf.labels.store import LabelStore
from tests.evaluation.judges.two_models import pair_of, rows_of


def test_uncertain_prompts_are_drawn_more_often(tmp_path):
    """The judge is undecided on half of the prompts: 1.5 times the probability."""
    pairs = [pair_of(i, f"a {i}", f"b {i}") for i in range(100)]
    wins = [0.5 if i % 2 else 1.0 for i in range(100)]
    with LabelStore(tmp_path / "s.sqlite") as store:
        sample = draw_sample(store, pairs, rows_of(100), wins, budget=25, seed=3)
        again = draw_sample(store, pairs, rows_of(100), wins, budget=25, seed=3)
    assert sample == again
    assert len(sample.pairs) == len(sample.probabilities) == 25
    assert set(np.round(list(sample.probabilities.values()), 6)) == {0.2, 0.3}
    order = [pair.prompt_index for pair in sample.pairs]
    assert order != sorted(order)
