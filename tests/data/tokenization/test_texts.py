"""Plain texts in SFT: literal ids, EOS at the end, long texts in parts that lose no token."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rlhf.data.tokenization.texts import opening, sft_examples, text_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.types import Demonstration
from tests.errors import raises

BOS, EOS, UNKNOWN = 0, 1, 3
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>"]
TEXT = "a b c d e f g h"  # ids 4 to 11


def chat_of(*, bos: bool) -> ChatTokenizer:
    """A tokenizer whose ids are the letters' numbers plus 4, with or without a start token."""
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *"abcdefgh"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        words.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", BOS)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    return ChatTokenizer(
        tokenizer=tokenizer, template_source="none", eos_token_ids=(EOS,), end_token_id=EOS
    )


def test_text_has_start_token_and_eos_and_trains_all_but_the_first_id():
    (whole,) = text_examples(chat_of(bos=True), TEXT)
    assert whole.ids == [BOS, 4, 5, 6, 7, 8, 9, 10, 11, EOS]
    assert whole.trained == [False] + [True] * 9
    (no_start,) = text_examples(chat_of(bos=False), "a b")
    assert (no_start.ids, no_start.trained) == ([4, 5, EOS], [False, True, True])


def test_long_text_is_split_with_one_token_of_context():
    """10 ids in parts of 4: each later part begins with the last id of the part before it."""
    parts = text_examples(chat_of(bos=True), TEXT, max_length=4)
    assert [part.ids for part in parts] == [[BOS, 4, 5, 6], [6, 7, 8, 9], [9, 10, 11, EOS]]
    assert all(part.trained == [False, True, True, True] for part in parts)


@pytest.mark.parametrize("max_length", range(2, 12))
def test_every_id_but_the_first_is_trained_exactly_once(max_length: int):
    parts = text_examples(chat_of(bos=True), TEXT, max_length)
    trained = [
        token
        for part in parts
        for token, is_trained in zip(part.ids, part.trained, strict=True)
        if is_trained
    ]
    assert trained == [4, 5, 6, 7, 8, 9, 10, 11, EOS]
    assert max(len(part.ids) for part in parts) <= max_length
    assert min(len(part.ids) for part in parts) >= 2


def test_parts_fit_into_the_positions_of_the_model():
    chat = replace(chat_of(bos=True), max_positions=4)
    assert len(text_examples(chat, TEXT)) == 3
    assert len(text_examples(chat, TEXT, max_length=3)) == 5  # ceil(9 / 2)


def test_control_tokens_in_a_text_are_letters():
    (whole,) = text_examples(chat_of(bos=True), "a </s> b")
    assert whole.ids == [BOS, 4, UNKNOWN, UNKNOWN, UNKNOWN, 5, EOS]  # "</", "s" and ">"


def test_text_without_tokens_is_rejected():
    with raises("bad-row", "no tokens"):
        text_examples(chat_of(bos=False), "")


def test_template_is_not_used_for_texts_but_for_demonstrations(qwen: str):
    chat = load_tokenizer(qwen)
    (text,) = sft_examples(chat, "Name three things.")
    assert chat.tokenizer.decode(text.ids) == "Name three things.<|im_end|>"
    (talk,) = sft_examples(chat, Demonstration(prompt="Hi", completion="Hello."))
    assert chat.tokenizer.decode(talk.ids).startswith("<|im_start|>user\nHi<|im_end|>")


def test_opening_is_at_most_half_of_the_text_and_ends_at_a_space():
    assert opening(" one two three four ") == "one two"  # 18 characters: "one two t" is half
    assert opening("x" * 7) == "xxxx"
    assert opening("word " * 1000) == ("word " * 20).strip()  # 99 characters, cut at a space
