"""The script that measures how well the embedded models judge responses."""

import json
from pathlib import Path

import pytest

from recipes.pocket.judging import JudgedPair, auc, judged_pairs, print_agreement, remark_aucs

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "Tom has a key. Who has the key?"
RUDE = "Go away. Ann has the key, you fool."


class LengthScorer:
    """A stub of a reward model that scores the length."""

    def score(self, prompts, responses):
        return [float(len(text)) for text in responses]


@pytest.fixture
def rankings(tmp_path):
    """The label prefers a kind right response to a right one, and both to a rude wrong one."""
    responses = ["Sure! Tom has the key.", "Tom has the key.", RUDE]
    row = {"prompt": PROMPT, "responses": responses, "ranks": [1, 2, 3]}
    (tmp_path / "rankings.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "rankings.jsonl"


def test_auc_counts_ties_half():
    """2 > 1, 2 = 2, 3 > 1, 3 > 2: 3.5 of 4."""
    assert auc([2.0, 3.0], [1.0, 2.0]) == 3.5 / 4


def test_judged_pairs_compare_label_gold_and_model(rankings):
    """By length the first pair is right, both pairs with the long rude response are wrong.

    Gold agrees with all three: 8 points, then 7 (courtesy 1 of 2), then less.
    """
    pairs = list(judged_pairs(LengthScorer(), rankings))
    assert [pair.kind for pair in pairs] == ["grounded"] * 3
    assert [pair.gold_right for pair in pairs] == [1, 1, 1]
    assert [pair.model_right for pair in pairs] == [1, 0, 0]
    assert [pair.model_gold for pair in pairs] == [1, 0, 0]
    assert pairs[0].axes == ("courtesy",)
    assert pairs[0].points == 1.0


def test_table_has_shares_and_agreements(capsys):
    """Two of three pairs are of kind a; gold agrees with the label in one and ties in the other."""
    pairs = [
        JudgedPair(kind="a", axes=(), points=1.0, scores=2.0),
        JudgedPair(kind="a", axes=(), points=0.0, scores=-2.0),
        JudgedPair(kind="b", axes=(), points=0.0, scores=1.0),
    ]
    print_agreement("kind", pairs, lambda pair: pair.kind)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[1].split() == ["a", "0.667", "0.500", "0.750", "1.000"]
    assert lines[2].split() == ["b", "0.333", "1.000", "0.500", "-"]


def test_shipped_model_separates_right_from_wrong():
    """0.98 with 150 of each; with 20 of each the standard error is about 0.02."""
    assert remark_aucs(ROOT / "data" / "pocket" / "model", items=20)["all of them"] > 0.9
