"""The loss of a batch: texts read once, weights, keys that are refused, ties that are kept."""

import json

import pytest
import torch
from torch import nn

from rlhf.data.rows.load import load_rankings
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.training.common.prompt_groups import MAX_RANKINGS, by_prompt
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.data import TokenRanking, flatten, tokenize
from rlhf.training.reward.loss import batch_loss, settled_tie_threshold, tie_rate
from rlhf.types import Ranking
from tests.errors import raises
from tests.tiny_models import make_model


class Sums(nn.Module):
    """A score that is the sum of the tokens; counts the rows that it read."""

    def __init__(self, heads=1):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads))
        self.rows_read = 0

    def forward(self, ids, lengths):
        self.rows_read += len(ids)
        return ids.sum(dim=1, keepdim=True).float() * self.scale


def ranking(ids, ranks, group="p", **more):
    return TokenRanking(prompt=group, group=group, ids=ids, ranks=ranks, **more)


def loss(rows, scorer=None, threshold=0.0, **keys):
    config = RewardModelConfig(**keys)
    return batch_loss(scorer or Sums(), rows, 0, config, threshold)


def test_text_shared_by_rankings_is_read_once():
    """Three pairs over the answers 1, 2, 3: three rows, not six; the sum of three pairs' losses.

    d = 1, 1 and 2: 0.313262 + 0.313262 + 0.126928.
    """
    pairs = [((2,), (1,)), ((3,), (2,)), ((3,), (1,))]
    rows = [ranking(ids, [1, 2]) for ids in pairs]
    scorer = Sums()
    assert loss(rows, scorer).item() == pytest.approx(0.753451, abs=1e-5)
    assert scorer.rows_read == 3


def test_equal_texts_of_one_ranking_share_an_index():
    flat = flatten([ranking([(5, 6), (7,), (5, 6)], [1, 2, 3])])
    assert flat.ids == [(5, 6), (7,)]
    assert flat.index.tolist() == [0, 1, 0]


def test_rankings_are_grouped_by_prompt_up_to_a_limit():
    rows = [ranking([(1,), (2,)], [1, 2], group) for group in "abac"]
    assert [[r.group for r in group] for group in by_prompt(rows)] == [["a", "a"], ["b"], ["c"]]
    crowd = by_prompt([ranking([(1,), (2,)], [1, 2])] * (MAX_RANKINGS + 1))
    assert [len(group) for group in crowd] == [MAX_RANKINGS, 1]


def test_annotator_and_strength_change_the_loss(tmp_path):
    """Exported columns: strength 3 with margin_coef 0.5 is a margin of 1, strength 1 none."""
    rows = [
        {"prompt": "Where?", "responses": ["a", "b"], "ranks": [2, 1], "strength": 3.0},
        {"prompt": "Where?", "chosen": "a", "rejected": "b", "annotator": "Ann"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chat = load_tokenizer(str(make_model(tmp_path / "model")))
    strong, named = tokenize(chat, load_rankings(str(path)).rows)
    assert (strong.strength, named.strength) == (3.0, 1.0)
    assert (strong.annotator, named.annotator) == ("", "Ann")
    assert strong.group == named.group
    pairs = [ranking([(2,), (1,)], [1, 2], strength=s) for s in (3.0, 1.0)]
    # d = 1: log(1 + e^0) = 0.693147 with the margin of 1, 0.313262 without.
    assert loss(pairs[:1], margin_coef=0.5).item() == pytest.approx(0.693147, abs=1e-5)
    assert loss(pairs[1:], margin_coef=0.5).item() == pytest.approx(0.313262, abs=1e-5)


def test_weights_multiply_rankings_and_heads_are_averaged():
    """d = 1 and 2 for the heads; weights 0.5 and 2: (0.5 * 0.313262 + 2 * 0.126928) / 2."""
    scorer = Sums(heads=2)
    scorer.scale.data = torch.tensor([1.0, 2.0])
    row = ranking([(2,), (1,)], [1, 2], weights=(0.5, 2.0))
    assert loss([row], scorer).item() == pytest.approx(0.205244, abs=1e-5)


def test_plackett_luce_and_centering_by_key():
    """Scores 3, 2, 0: Plackett-Luce 0.237970; centering 0.1 * 38/3 beside it."""
    row = ranking([(3,), (2,), (0,)], [1, 2, 3])
    keys = {"loss_type": "plackett_luce", "center_rewards_coefficient": 0.1}
    assert loss([row], **keys).item() == pytest.approx(0.237970 + 1.266667, abs=1e-5)


def test_tie_rate_gives_the_threshold():
    """[1, 1, 1, 4]: 3 of 6 pairs; [1, 2]: 0 of 1; together 3/7: η = 2 atanh(3/7) = log 2.5."""
    rows = [ranking([(1,), (2,), (3,), (4,)], [1, 1, 1, 4]), ranking([(1,), (2,)], [1, 2])]
    assert tie_rate(rows) == pytest.approx(3 / 7)
    config = RewardModelConfig(ties="rao_kupper")
    assert settled_tie_threshold(config, rows) == pytest.approx(0.916291, abs=1e-5)
    fixed = RewardModelConfig(ties="rao_kupper", tie_threshold=0.3)
    assert settled_tie_threshold(fixed, rows) == 0.3
    with raises("key-conflict", "ties=rao_kupper", "0%"):
        settled_tie_threshold(config, rows[1:])


def test_repeated_response_is_not_a_tie():
    """1, 1, 2 of the texts a, a, b: two pairs of different texts, neither tied; with a third
    text beside b on rank 2, one of five."""
    assert tie_rate([ranking([(1,), (1,), (2,)], [1, 1, 2])]) == 0.0
    assert tie_rate([ranking([(1,), (1,), (2,), (3,)], [1, 1, 2, 2])]) == pytest.approx(1 / 5)


def test_all_tied_rankings_are_kept_with_rao_kupper(tmp_path):
    rows = [
        Ranking(prompt="p", responses=["a", "b"], ranks=[1, 1]),
        Ranking(prompt="p", responses=["a", "b"], ranks=[1, 2]),
        Ranking(prompt="p", responses=["a", "a"], ranks=[1, 1]),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows))
    assert load_rankings(str(path)).undecided == 2
    loaded = load_rankings(str(path), keep_tied=True)
    assert [row.ranks for row in loaded.rows] == [[1, 1], [1, 2]]
    assert loaded.undecided == 1


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"label_smoothing": 0.5}, "bad-value"),
        ({"label_smoothing": -0.1}, "bad-value"),
        ({"margin_coef": -1.0}, "bad-value"),
        ({"tie_threshold": 0.5}, "key-conflict"),
        ({"tie_threshold": 0.0, "ties": "rao_kupper"}, "bad-value"),
        ({"center_rewards_coefficient": 0.0}, "bad-value"),
        ({"num_heads": 0}, "bad-value"),
        ({"early_stopping_patience": 0}, "bad-value"),
        ({"ties": "half", "loss_type": "plackett_luce"}, "key-conflict"),
        ({"label_smoothing": 0.1, "loss_type": "plackett_luce"}, "key-conflict"),
        ({"margin_coef": 1.0, "loss_type": "plackett_luce"}, "key-conflict"),
    ],
)
def test_loss_keys_out_of_range_or_without_effect_are_rejected(keys, code):
    with raises(code, *(f"{name}={value}" for name, value in list(keys.items())[:1])):
        RewardModelConfig(**keys)
