"""Conversations of several turns, with tool calls: which tokens are trained on."""

from dataclasses import replace

import pytest

from rlhf.data.rows.length_filter import ranking_fits
from rlhf.data.tokenization.chat import (
    training_examples,
)
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.types import Demonstration, Ranking
from tests.data.tokenization.conversations import (
    ASK,
    CALL,
    DOG,
    TOOLS,
    WHY,
    runs_of,
    transformers_tokenizer,
)
from tests.data.tokenization.templates import write_tokenizer
from tests.errors import raises

TWO_TURNS = Demonstration(prompt=[ASK, DOG, WHY], completion="Cute.", every_turn=True)


ONE_SEQUENCE = {
    "qwen2_5": "A dog.<|im_end|>|Cute.<|im_end|>",
    "llama3": "A dog.<|eot_id|>|Cute.<|eot_id|>",
    "gemma3": "A dog.<end_of_turn>|Cute.<end_of_turn>",
    "phi3": "A dog.<|end|>|Cute.<|end|>",
    "glm4moe": "\n<think></think>\nA dog.<|user|>|\n<think></think>\nCute.<|user|>",
    "qwen3_8": "\n</think>\n\nA dog.<|im_end|>|\n</think>\n\nCute.<|im_end|>",
    "nemotron_3_nano": "</think>A dog.<|im_end|>|</think>Cute.<|im_end|>",
}


@pytest.mark.parametrize(("name", "expected"), ONE_SEQUENCE.items())
def test_every_assistant_turn_is_trained_in_one_sequence(load, name, expected):
    chat = load(name)
    (example,) = training_examples(chat, TWO_TURNS)
    assert runs_of(chat, example) == expected


SEPARATE_SEQUENCES = {
    "qwen3": ["<think>\n\n</think>\n\nA dog.<|im_end|>", "<think>\n\n</think>\n\nCute.<|im_end|>"],
    "qwen3_5_think": ["\n</think>\n\nA dog.<|im_end|>", "\n</think>\n\nCute.<|im_end|>"],
    "gptoss": [
        "<|channel|>final<|message|>A dog.<|return|>",
        "<|channel|>final<|message|>Cute.<|return|>",
    ],
}


@pytest.mark.parametrize(("name", "expected"), SEPARATE_SEQUENCES.items())
def test_turn_that_is_rewritten_later_has_its_own_sequence(load, name, expected):
    """Qwen3 drops the empty thought of earlier turns, gpt-oss their end."""
    chat = load(name)
    examples = training_examples(chat, TWO_TURNS)
    assert [runs_of(chat, each) for each in examples] == expected
    first = transformers_tokenizer(chat).apply_chat_template([ASK, DOG], return_dict=False)
    assert examples[0].ids == first


def test_last_turn_alone_and_turns_of_weight_0_are_respected(load):
    chat = load("qwen2_5")
    last = Demonstration(prompt=[ASK, DOG, WHY], completion="Cute.")
    assert runs_of(chat, training_examples(chat, last)[0]) == "Cute.<|im_end|>"
    unweighted = Demonstration(
        prompt=[ASK, {**DOG, "weight": 0}, WHY], completion="Cute.", every_turn=True
    )
    assert runs_of(chat, training_examples(chat, unweighted)[0]) == "Cute.<|im_end|>"
    only_first = Demonstration(
        prompt=[ASK, DOG, WHY], completion="Cute.", fields={"weight": 0}, every_turn=True
    )
    assert runs_of(chat, training_examples(chat, only_first)[0]) == "A dog.<|im_end|>"
    with raises("bad-row", "weight 0"):
        training_examples(chat, Demonstration(prompt="x", completion="y", fields={"weight": 0}))


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3_8", "lfm2_v2"])
def test_tool_calls_are_trained_and_results_are_not(load, name):
    """The ids are those of apply_chat_template with the same tools; results are the tool's."""
    chat = load(name)
    prompt = [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    prompt += [{"role": "tool", "content": "four cats", "name": "look"}]
    row = Demonstration(prompt=prompt, completion="A cat.", tools=TOOLS, every_turn=True)
    examples = training_examples(chat, row)
    theirs = transformers_tokenizer(chat).apply_chat_template(
        [*prompt, row.turn], tools=list(TOOLS), return_dict=False
    )
    assert examples[-1].ids == theirs
    trained = "|".join(runs_of(chat, each) for each in examples)
    assert "hall" in trained
    assert "A cat." in trained
    assert "four cats" not in trained
    assert "four cats" in runs_of(chat, examples[-1], trained=False)


DESCRIBED = ({"type": "function", "function": {**TOOLS[0]["function"], "description": "Looks."}},)


CALL_ENDS = {
    "glm4moe": (
        ["<|user|>", "<|observation|>"],
        "\n<think></think>\n<tool_call>look\n<arg_key>place</arg_key>\n"
        "<arg_value>hall</arg_value>\n</tool_call><|observation|>",
    ),
    "gptoss": (
        ["<|return|>", "<|call|>"],
        ' to=functions.look<|channel|>commentary json<|message|>{"place": "hall"}<|call|>',
    ),
    "gemma4_v5": (
        ["<turn|>", "<|tool_response>"],
        '<|tool_call>call:look{place:<|"|>hall<|"|>}<tool_call|><|tool_response>',
    ),
}


@pytest.mark.parametrize(("name", "eos", "expected"), [(n, *c) for n, c in CALL_ENDS.items()])
def test_call_ends_with_its_own_token_if_that_is_an_eos(tmp_path, name, eos, expected):
    """GLM ends a call with the token that begins the tool's turn."""
    chat = load_tokenizer(write_tokenizer(tmp_path, name, eos=eos))
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    row = Demonstration(prompt=[ASK], completion="", fields={"tool_calls": [CALL]}, tools=DESCRIBED)
    (example,) = training_examples(chat, row)
    assert runs_of(chat, example) == expected
    result = {"role": "tool", "content": "four cats", "name": "look"}
    talk = Demonstration(
        prompt=[ASK, call, result], completion="A cat.", tools=DESCRIBED, every_turn=True
    )
    trained = "|".join(runs_of(chat, each) for each in training_examples(chat, talk))
    assert expected in trained
    assert "A cat." in trained
    assert "four cats" not in trained


@pytest.mark.parametrize("name", CALL_ENDS)
def test_call_without_an_eos_is_rejected_or_context(load, name):
    chat = load(name)
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result = {"role": "tool", "content": "four cats", "name": "look"}
    row = Demonstration(prompt=[ASK, call, result], completion="A cat.", tools=DESCRIBED)
    with raises("bad-row", "eos_token_id", "weight: 0"):
        training_examples(chat, replace(row, every_turn=True))
    context = [ASK, {**call, "weight": 0}, result]
    (example,) = training_examples(chat, replace(row, prompt=context, every_turn=True))
    assert "A cat." in runs_of(chat, example)
    assert "hall" not in runs_of(chat, example)


def test_length_of_a_ranking_counts_its_tools(load):
    """The lengths of two rankings that differ in their tools alone are both computed."""
    without_tools = Ranking(prompt=[ASK], responses=["A dog.", "A cat."], ranks=[1, 2])
    fits = ranking_fits(load("qwen2_5"), 100)
    assert fits(without_tools) is None
    assert "99 is the limit" in (fits(replace(without_tools, tools=TOOLS)) or "")
