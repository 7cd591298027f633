"""Rankings become pairs: every order, no ties, one weight per prompt, the tokens of SFT."""

import pytest

from rlhf.data.rows.load import load_rankings
from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.training.common.prompt_groups import MAX_RANKINGS
from rlhf.training.dpo.loss import flatten
from rlhf.training.dpo.pairs import Pair, count_pairs, prompt_pairs
from rlhf.training.sft.fine_tune import IGNORED, as_dataset
from rlhf.types import Demonstration, Ranking
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model


def ranking(responses, ranks, **fields):
    return Ranking(**{"prompt": "Hi", "responses": responses, "ranks": ranks, **fields})


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_sft_and_of_the_reward_model(tmp_path, family):
    """The response's ids are the trained ids of SFT, and the whole begins as judged_ids does."""
    chat = load_tokenizer(str(make_model(tmp_path, family)))
    prompt, response = "Where is the ball?", "The ball is in the box."
    tokens = token_response(chat, prompt, response)
    [example] = as_dataset(chat, [Demonstration(prompt=prompt, completion=response)])
    trained = [token for token in example["labels"] if token != IGNORED]
    assert list(tokens.response_ids) == trained
    whole = [*tokens.prompt_ids, *tokens.response_ids]
    assert whole == example["input_ids"][: len(whole)]
    judged = judged_ids(chat, prompt, response)
    shorter = min(len(judged), len(whole))
    assert judged[:shorter] == whole[:shorter]


def test_ranking_gives_its_ordered_pairs_and_counts_ties(llama):
    """a > b = c > d: five ordered pairs, and one tie."""
    chat = load_tokenizer(str(llama))
    row = ranking(["a", "b", "c", "d"], [1, 2, 2, 3])
    [prompt] = prompt_pairs(chat, [row])
    assert [(pair.chosen, pair.rejected) for pair in prompt.pairs] == [
        (0, 1), (0, 2), (0, 3), (1, 3), (2, 3)
    ]  # fmt: skip
    counts = count_pairs([row])
    assert (counts.ordered, counts.tied) == (5, 1)
    assert counts.lines() == ["5 pairs of responses to train on; 1 ties are left out"]


def test_text_that_was_sampled_twice_is_no_tie():
    counts = count_pairs([ranking(["a", "a ", "b"], [1, 1, 2])])
    assert (counts.ordered, counts.tied) == (2, 0)


def test_rankings_of_one_prompt_share_texts_and_its_weight(llama):
    """Two annotators and a pair: 1 + 1 + 3 pairs of three texts, each of weight 1/5."""
    chat = load_tokenizer(str(llama))
    rows = [
        ranking(["a", "b"], [1, 2], annotator="Ann"),
        ranking(["b", "a"], [1, 2], annotator="Bob", strength=3.0),
        ranking(["a", "b", "c"], [1, 2, 3]),
        ranking(["x", "y"], [2, 1], prompt="Who?"),
    ]
    first, second = prompt_pairs(chat, rows)
    assert len(first.responses) == 3
    assert first.pairs[:2] == [Pair(0, 1, 1.0), Pair(1, 0, 3.0)]
    assert second.pairs == [Pair(1, 0, 1.0)]
    flat = flatten([first, second])
    assert flat.weights.tolist() == pytest.approx([0.2] * 5 + [1.0])
    assert flat.chosen.tolist()[-1] == 4  # the second text of the second prompt
    assert len(flat.responses) == 5


def test_prompt_with_many_rankings_is_split_with_its_weight(llama):
    """17 pairs of one prompt are 16 and 1, of weights 16/17 and 1/17."""
    chat = load_tokenizer(str(llama))
    rows = [ranking(["a", "b"], [1, 2])] * (MAX_RANKINGS + 1)
    parts = prompt_pairs(chat, rows)
    assert [part.weight for part in parts] == pytest.approx([16 / 17, 1 / 17])


def test_cut_response_has_no_end_token(llama):
    """Bob's vote is on a cut response with the text of a whole one: they are two responses."""
    chat = load_tokenizer(str(llama))
    rows = [ranking(["a", "b"], [1, 2]), ranking(["a", "b"], [1, 2], endings=["stop", "length"])]
    [prompt] = prompt_pairs(chat, rows)
    whole, other, cut = (response.response_ids for response in prompt.responses)
    assert (whole[-1], other[-1]) == (chat.end_token_id, chat.end_token_id)
    assert cut == other[:-1]
    assert prompt.pairs == [Pair(0, 1, 1.0), Pair(0, 2, 1.0)]


def test_row_that_is_too_long_for_the_policy_is_bad(llama, tmp_path):
    """The end token counts for a policy: one token more than a raw reward model reads."""
    chat = load_tokenizer(str(llama))
    rows = [{"prompt": "Hi", "chosen": "a cat", "rejected": "a dog and a bird"}]
    tokens = token_response(chat, "Hi", "a dog and a bird")
    assert load_rankings(rows, chat=chat, max_length=tokens.length, for_policy=True).rows
    with raises("bad-row", "rows:1"):
        load_rankings(rows, chat=chat, max_length=tokens.length - 1, for_policy=True)
