"""Responses of a chat that were cut off: their text is trained on, their end is not."""

import pytest

from rlhf.data.rows.parse import parse_demonstration, parse_thumb
from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.data.tokenization.chat import training_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from tests.errors import raises

MESSAGES = [
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "Hello, you!"},
    {"role": "user", "content": "Name two words."},
    {"role": "assistant", "content": "You, words."},
]
CONTEXT = [MESSAGES[0], {**MESSAGES[1], "weight": 0}, *MESSAGES[2:]]


def trained(chat: ChatTokenizer, row: dict[str, object], **keys) -> list[str]:
    """The trained text of each sequence of SFT."""
    examples = training_examples(chat, parse_demonstration(row, **keys))
    return [
        chat.tokenizer.decode(
            [i for i, is_trained in zip(e.ids, e.trained, strict=True) if is_trained]
        )
        for e in examples
    ]


@pytest.mark.parametrize(
    ("messages", "endings", "text"),
    [
        (MESSAGES, ["stop", "stop"], "Hello, you!<|end|>You, words.<|end|>"),
        (MESSAGES, ["length", "stop"], "Hello, you!You, words.<|end|>"),
        (MESSAGES, ["stop", "stopped"], "Hello, you!<|end|>You, words."),
        (CONTEXT, ["length"], "You, words."),  # weight 0 has no ending
    ],
)
def test_sft_trains_no_end_token_after_a_cut_response(plain, messages, endings, text):
    """The ids stay: a later turn follows the end token of an earlier one."""
    chat = load_tokenizer(plain)
    row = {"messages": messages, "endings": endings, "steered": [False] * len(endings)}
    assert trained(chat, row) == [text]
    [marked] = training_examples(chat, parse_demonstration(row))
    [without] = training_examples(chat, parse_demonstration({"messages": messages}))
    assert marked.ids == without.ids


def test_last_turn_has_the_last_ending(plain):
    row = {"messages": MESSAGES, "endings": ["stop", "length"]}
    assert trained(load_tokenizer(plain), row, train_on="last") == ["You, words."]


@pytest.mark.parametrize("template", ["auto", "none"])
def test_completion_of_a_thumb_is_cut(plain, template):
    """Also with raw prompts."""
    chat = load_tokenizer(plain, template)
    row = {"prompt": "Hello there\n", "completion": "you!", "endings": ["length"]}
    assert trained(chat, row) == ["you!"]
    assert trained(chat, {**row, "endings": ["stop"]}) == ["you!<|end|>"]
    assert parse_thumb({**row, "label": True}).cut is True


def test_rankings_and_pairs_say_which_response_is_cut():
    ranking = {"prompt": "p", "responses": ["a", "b", "c"], "ranks": [2, 1, 3]}
    endings = ["stop", "length", "stopped"]
    assert parse_ranking({**ranking, "extra": {"endings": endings}}).is_cut == [False, True, True]
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert parse_ranking({**pair, "endings": ["stop", "length"]}).is_cut == [False, True]
    assert parse_ranking(pair).is_cut == [False, False]


def test_endings_of_other_responses_are_rejected_and_other_values_are_not_read(plain):
    with raises("bad-row", "endings has 1 values for the row's 2 trained responses"):
        parse_demonstration({"messages": MESSAGES, "endings": ["stop"]})
    row = {"messages": MESSAGES, "endings": ["happy", "sad", "open"]}  # of stories
    assert trained(load_tokenizer(plain), row) == ["Hello, you!<|end|>You, words.<|end|>"]
