"""Token lengths that `rlhf data check --model` prints."""

import json

import pytest

from rlhf.data.check import check
from rlhf.data.lengths import length_lines
from rlhf.data.tokenization.chat import judged_ids, prompt_ids, sequence_ids
from rlhf.data.tokenization.texts import text_examples
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.types import Demonstration, PromptRow, Ranking, Thumb
from tests.data.tokenization.templates import write_tokenizer
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return load_tokenizer(str(make_model(tmp_path_factory.mktemp("model") / "llama")))


def line(part, lengths):
    """Median and 95th percentile of 20 values: the 10th and the 19th, the nearest ranks."""
    lengths = sorted(lengths)
    assert len(lengths) == 20
    return f"tokens, {part}: median {lengths[9]}, p95 {lengths[18]}, max {lengths[19]}"


def test_lengths_of_prompt_response_and_both(chat):
    texts = ["ball " * n for n in range(1, 21)]
    rows = [Demonstration(prompt=text, completion="A cat.") for text in texts]
    prompts = [len(prompt_ids(chat, text)) for text in texts]
    both = [len(sequence_ids(chat, text, "A cat.")) for text in texts]
    assert length_lines(chat, rows) == [
        line("prompt", prompts),
        line("response", [b - p for b, p in zip(both, prompts, strict=True)]),
        line("prompt and response", both),
    ]
    assert length_lines(chat, [PromptRow(prompt=text) for text in texts]) == [
        line("prompt", prompts)
    ]
    assert length_lines(chat, texts) == [
        line("text", [len(chat.tokenizer(text)["input_ids"]) for text in texts])
    ]


def test_every_response_of_a_ranking_counts(chat):
    responses = ["ball " * n for n in range(1, 21)]
    [_, _, both] = length_lines(chat, [Ranking(prompt="Hi", responses=responses, ranks=[1] * 20)])
    lengths = [len(judged_ids(chat, "Hi", text)) for text in responses]
    assert both == line("prompt and response", lengths)


def test_end_of_a_cut_response_does_not_count(tmp_path):
    """The prompt is 72 tokens, A| d|og|. 4, and <|im_end|> one; SFT reads a line feed after it.

    The median of two values is the lower one, and their 95th percentile the higher one.
    """
    chat = load_tokenizer(write_tokenizer(tmp_path / "model", "qwen2_5"))
    row = {"prompt": "Pet?", "completion": "A dog."}
    cut, whole = (Thumb(**row, desirable=True, cut=each) for each in (True, False))
    assert length_lines(chat, [cut, whole]) == [
        "tokens, prompt: median 72, p95 72, max 72",
        "tokens, response: median 4, p95 5, max 5",
        "tokens, prompt and response: median 76, p95 77, max 77",
    ]
    # The end of a demonstration is read, and not trained on.
    lines = length_lines(chat, [Demonstration(**row, fields={"cut": True})])
    assert lines[1:] == [
        "tokens, response: median 6, p95 6, max 6",
        "tokens, prompt and response: median 78, p95 78, max 78",
    ]


def test_check_prints_lengths_with_a_model_only(chat, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Hi"}) + "\n")
    length = len(prompt_ids(chat, "Hi"))
    assert check(str(path), None, chat) == [
        f"{path}: prompts (by the keys of its first row), 1 row",
        "  1 different prompt",
        f"  tokens, prompt: median {length}, p95 {length}, max {length}",
    ]
    assert not any("tokens" in text for text in check(str(path), None))


def test_texts_that_sft_splits_are_counted(chat, tmp_path):
    """A text of n tokens, with its EOS, is split where n exceeds max_length; none is a bad row."""
    texts = ["ball", "ball " * 20, "cat " * 30]
    lengths = sorted(len(text_examples(chat, text)[0].ids) for text in texts)
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for max_length, count in ((lengths[0], "2 texts"), (lengths[1], "1 text")):
        lines = check(str(path), None, chat, max_length)
        assert any(f"{count} of more than {max_length} tokens" in line for line in lines)
    assert not any("SFT splits" in line for line in check(str(path), None, chat, lengths[2]))
