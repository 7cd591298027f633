"""Health on held-out rankings, normalisation on demonstrations, and their summary."""

from dataclasses import replace

import pytest
import torch

from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.scorer import Scorer, score_ids
from rlhf.training.reward.data import tokenize
from rlhf.training.reward.metrics import measure, normalization, summary
from rlhf.training.reward.scores import Scores
from rlhf.types import Demonstration, Ranking
from tests.training.tiny_runs import WORDS, rankings


def scores_of(path, chat):
    """Scores by a fresh reward model."""
    return Scores(Scorer(new_reward_model(path, seed=0), bf16=False), chat.pad_token_id)


def test_padding_and_other_rows_do_not_change_a_score(llama):
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    ids = [response for ranking in tokenize(chat, rankings(5)) for response in ranking.ids]
    ids += [ids[0] * 3]
    together = score_ids(scores.scorer, ids, chat.pad_token_id)
    alone = torch.cat([score_ids(scores.scorer, [row], chat.pad_token_id) for row in ids])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_normalized_demonstrations_have_mean_0_and_std_1(llama):
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    rows = [Demonstration(prompt=r.prompt, completion=r.responses[0]) for r in rankings(30)]
    scale = normalization(scores, chat, rows, seed=0)
    ids = [judged_ids(chat, row.prompt, row.completion) for row in rows]
    rewards = (score_ids(scores.scorer, ids, chat.pad_token_id) - scale.mean) / scale.std
    assert rewards.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert rewards.std().item() == pytest.approx(1.0, abs=1e-5)
    assert scale.rows == 30


def test_one_demonstration_gives_std_1(llama):
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    rows = [Demonstration(prompt="Where?", completion="In the box")]
    assert normalization(scores, chat, rows, seed=0).std == 1.0


def test_summary_has_no_nan(llama):
    """Held-out rankings that tie everything, demonstrations of one word."""
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    tied = replace(rankings(1)[0], ranks=[1, 1, 1])
    health = measure(scores, tokenize(chat, [tied]))
    words = [Demonstration(prompt=f"Say {word}", completion=word) for word in WORDS]
    lines = summary(3, health, normalization(scores, chat, words, seed=0), "")
    assert lines["held-out accuracy"] == "unknown: no held-out ranking has an order"
    assert "demonstrations above their shuffled words" not in lines
    assert not any("nan" in value for value in lines.values())


def test_health_does_not_count_ties(llama):
    """Two responses of one rank are no pair: 3 responses with ranks 1, 2, 2 make two pairs."""
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    row = replace(rankings(1)[0], ranks=[1, 2, 2])
    assert measure(scores, tokenize(chat, [row])).pairs == 2


def test_repeated_rankings_do_not_narrow_the_interval(llama):
    """Each ranking three times: three times the pairs, the same shares and the same intervals."""
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    once, thrice = (
        measure(scores, tokenize(chat, rows)) for rows in (rankings(12), rankings(12) * 3)
    )
    assert thrice.pairs == 3 * once.pairs
    for name in ("accuracy", "low", "high", "longer_wins", "longer_low", "longer_high"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name), abs=1e-6), name


def test_longer_response_is_measured_in_tokens(llama):
    """Four prompts, the longer response better in three: 0.75, with a wide interval."""
    path, chat = llama, load_tokenizer(str(llama))
    scores = scores_of(path, chat)
    rows = [
        Ranking(prompt=f"Say {i}", responses=["red ball box", "cat"], ranks=ranks)
        for i, ranks in enumerate([[1, 2], [1, 2], [1, 2], [2, 1]])
    ]
    health = measure(scores, tokenize(chat, rows))
    assert health.longer_wins == 0.75
    # Residuals .25, .25, .25, -.75: variance 4/3 * 0.75 / 16 = 1/16, so 0.1875 / (1/16) = 3 flips.
    # Wilson: (0.75 + 3.8415/6) / 2.2805 = 0.6096 ∓ 1.96 * sqrt(0.0625 + 3.8415/36) / 2.2805.
    assert (health.longer_low, health.longer_high) == pytest.approx((0.256, 0.963), abs=2e-3)
