"""Thoughts before responses: how they are written, trained on, judged and read back."""

from dataclasses import replace

import pytest

from rlhf.data.tokenization.chat import (
    encode_response,
    judged_ids,
    training_examples,
)
from rlhf.data.tokenization.decode import decode, thought_length
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.types import Demonstration
from tests.data.tokenization.conversations import (
    ASK,
    CLOSED,
    DOG,
    WHY,
    trained_ids,
)
from tests.data.tokenization.templates import write_tokenizer
from tests.errors import raises

THOUGHTS = {
    "qwen3": "<think>\nA pet.\n</think>\n\nA dog.<|im_end|>",
    "qwen3_5_think": "A pet.\n</think>\n\nA dog.<|im_end|>",
    "nemotron_3_nano": "A pet.\n</think>\nA dog.<|im_end|>",
    "glm4moe": "\n<think>A pet.</think>\nA dog.<|user|>",
    "gptoss": "<|channel|>analysis<|message|>A pet.<|end|><|start|>assistant"
    "<|channel|>final<|message|>A dog.<|return|>",
    "gemma4_v5": "<|channel>thought\nA pet.\n<channel|>A dog.<turn|>",
    "lfm2_2_5": "<think>A pet.</think>A dog.<|im_end|>",
}


@pytest.mark.parametrize(("name", "expected"), THOUGHTS.items())
def test_thought_is_written_as_the_template_writes_one(load, name, expected):
    """The thought may be inline, as <think>…</think>, or a field of the message."""
    chat = load(name)
    inline = encode_response(chat, [ASK], "<think>\nA pet.\n</think>\n\nA dog.")
    field = encode_response(chat, [ASK], {**DOG, "reasoning_content": "A pet."})
    assert inline == field
    assert chat.tokenizer.decode(trained_ids(inline)) == expected


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "glm4moe", "qwen3_5_think", "gemma4_v5"])
def test_response_is_judged_without_its_thought(load, name):
    chat = load(name)
    response = "<think>\nA pet.\n</think>\n\nA dog."
    assert judged_ids(chat, [ASK], response) == judged_ids(chat, [ASK], "A dog.")


def test_thought_field_that_a_template_leaves_out_is_rejected(load):
    with raises("bad-row", "reasoning_content"):
        encode_response(load("qwen2_5"), [ASK], {**DOG, "reasoning_content": "A pet."})


def test_thought_in_the_content_is_trained_or_rejected(load):
    """DeepSeek's templates cut off what is before `</think>`: it would be lost without an error."""
    thinking = {**DOG, "content": "<think>\nA pet.\n</think>\n\nA dog."}
    row = Demonstration(prompt=[ASK], completion=thinking["content"])
    (example,) = training_examples(load("qwen2_5"), row)
    assert "A pet." in load("qwen2_5").tokenizer.decode(example.ids)
    for name in ("deepseekv3", "deepseek_r1_distill"):
        chat = load(name)
        with raises("bad-row", "thought", "chat_template: FILE"):
            training_examples(chat, row)
        with raises("bad-row", "reasoning_content", "chat_template: FILE"):
            encode_response(chat, [ASK], {**DOG, "reasoning_content": "A pet."})
        followed = Demonstration(prompt=[ASK, thinking, WHY], completion="Cute.")
        assert len(training_examples(chat, followed)) == 1  # context, as in serving
        with raises("bad-row", "thought"):
            training_examples(chat, replace(followed, every_turn=True))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "nemotron_3_nano"])
def test_thought_after_a_prompt_that_closes_one_is_rejected(load, name):
    """The loss would begin inside `<think>`, where a model never writes when it is served."""
    field = {"fields": {"reasoning_content": "A pet."}}
    row = Demonstration(prompt=[ASK], completion="A dog.", **field)
    assert len(training_examples(load(name), row)) == 1
    with raises("bad-row", "thought", "enable_thinking"):
        training_examples(load(name, CLOSED), row)


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "gemma4_v5", "glm4moe"])
def test_empty_thought_in_the_content_is_ignored(load, name):
    """Datasets without thoughts write `<think>`, nothing, `</think>` before a response."""
    chat = load(name)
    empty = encode_response(chat, [ASK], "<think>\n\n</think>\n\nA dog.")
    assert empty == encode_response(chat, [ASK], "A dog.")


@pytest.mark.parametrize(
    ("name", "ids", "thought", "text"),
    [
        ("qwen3", "<think>\nA pet.", "A pet.", ""),  # cut off inside the thought
        ("qwen3_5_think", "A pet, or", "A pet, or", ""),  # the prompt has opened it
        ("gptoss", "<|channel|>analysis<|message|>A pet", "A pet", ""),
        ("gptoss", "<|channel|>analysis", "", ""),  # a header that is not finished
        ("qwen3", "A dog.", "", "A dog."),
        (
            "qwen2_5",
            "<think>hm</think>A dog.",
            "hm",
            "A dog.",
        ),  # letters, as the template has no thoughts
        ("deepseekv3", "hm\n</think>\n\nA dog.", "hm", "A dog."),
    ],
)
def test_thought_is_split_from_the_sampled_text(load, name, ids, thought, text):
    chat = load(name)
    written = chat.tokenizer(ids, add_special_tokens=False)["input_ids"]
    assert split_thought(decode(chat, written)) == (thought, text)


def test_end_tag_alone_hides_no_text_from_a_judge():
    assert split_thought("Bad. </think> Good.") == ("", "Bad. </think> Good.")
    assert split_thought("<think>\nhm\n</think>\n\nGood.") == ("hm", "Good.")
    assert split_thought("  <think>hm") == ("hm", "")


def test_finished_response_may_look_like_a_header(load):
    """`<` may begin `<think>` while it is written; after the end of the turn it is the response."""
    chat = load("qwen3")
    begun = chat.tokenizer("<", add_special_tokens=False)["input_ids"]
    assert decode(chat, begun) == ""
    assert decode(chat, [*begun, chat.end_token_id]) == "<"


@pytest.mark.parametrize("template_name", ["qwen2_5", "none"])
def test_thought_in_letters_has_a_length(tmp_path, template_name):
    """Its own tokens up to the tag, raw or with a template that has no thoughts."""
    folder = write_tokenizer(tmp_path, "qwen2_5")
    chat = load_tokenizer(folder, "none" if template_name == "none" else "auto")
    thought = chat.tokenizer("<think>hm</think>", add_special_tokens=False)["input_ids"]
    rest = chat.tokenizer("A dog.", add_special_tokens=False)["input_ids"]
    assert thought_length(chat, [*thought, *rest]) == len(thought)
    assert thought_length(chat, rest) == 0
