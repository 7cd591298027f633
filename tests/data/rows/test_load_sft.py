"""The rows of SFT: which sources have plain texts, and which rows of them are bad."""

import json
from pathlib import Path

import pytest

from rlhf.data.config import DataConfig
from rlhf.data.held_out import load_train_and_held_out
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load_sft import load_sft_rows
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.types import Demonstration
from tests.errors import raises

HELLO = Demonstration(prompt="Hi", completion="Hello.")


def write_rows(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_source_of_texts_is_recognized_by_its_first_row(tmp_path: Path):
    texts = write_rows(tmp_path / "t.jsonl", {"text": "Once."}, {"text": "Twice.", "label": 1})
    assert load_sft_rows(texts).rows == ["Once.", "Twice."]
    talk = write_rows(
        tmp_path / "d.jsonl", {"prompt": "Hi", "completion": "Hello.", "text": "Hi Hello."}
    )
    assert load_sft_rows(talk).rows == [HELLO]


def test_strings_and_rows_in_memory_are_texts():
    assert load_sft_rows(["Once.", "Twice."]).rows == ["Once.", "Twice."]
    assert load_sft_rows([{"text": "Once."}]).rows == ["Once."]
    assert load_sft_rows([{"prompt": "Hi", "completion": "Hello."}]).rows == [HELLO]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"text": " \n"}, "text empty"),
        ({"text": 5}, "text"),
        ({"text": ["Once."]}, "text"),
        ({"body": "Once."}, "text body"),
        ({"text": "Once.", "images": ["a.png"]}, "images"),
        ({"text": "Once.", "messages": [{"role": "user", "content": "Hi"}]}, "messages"),
        ({"text": "Once.", "prompt": "Hi"}, "prompt"),
    ],
)
def test_bad_row_of_texts_is_named_by_its_line(tmp_path: Path, row: object, names: str):
    source = write_rows(tmp_path / "t.jsonl", {"text": "Once."}, row)
    with raises("bad-row", "t.jsonl:2", *names.split()):
        load_sft_rows(source)


def test_rendered_text_next_to_its_instruction_is_converted_instead(tmp_path: Path):
    """The text of Alpaca's rows is made of the other columns, the instruction included."""
    row = {"instruction": "Add 1 and 2.", "input": "", "output": "3", "text": "Below is … 3"}
    source = write_rows(tmp_path / "alpaca.jsonl", row)
    with raises("bad-row", "instruction", "rlhf data convert", "--from instruction"):
        load_sft_rows(source)


def test_text_in_a_source_of_demonstrations_is_a_bad_row(tmp_path: Path):
    source = write_rows(
        tmp_path / "d.jsonl", {"prompt": "Hi", "completion": "Hello."}, {"text": "Once."}
    )
    with raises("bad-row", "d.jsonl:2", "prompt"):
        load_sft_rows(source)


def test_long_texts_are_kept_and_long_demonstrations_are_bad_rows(tmp_path: Path, plain: str):
    chat, long = load_tokenizer(plain), "word " * 99
    assert load_sft_rows([long], chat=chat, max_length=16).rows == [long]
    rows = [{"prompt": "x", "completion": long}]
    with raises("bad-row", "prompt and response", "16"):
        load_sft_rows(rows, chat=chat, max_length=16)


def test_control_tokens_in_texts_are_counted_in_a_warning(qwen: str, caplog):
    rows = ["<|im_start|>user\nHi<|im_end|>", "Once.", "Twice.<|im_end|>"]
    assert load_sft_rows(rows, chat=load_tokenizer(qwen)).rows == rows
    (message,) = [record.getMessage() for record in caplog.records]
    assert "'<|im_start|>'" in message
    assert "2 texts" in message


def test_equal_texts_stay_on_one_side_of_the_split(plain: str):
    """10 texts, each twice with other case and spacing; 3 of 10 are held out."""
    texts = [f"Story {n} begins." for n in range(10)]
    with BadRows() as bad_rows:
        rows = load_train_and_held_out(
            load_sft_rows,
            DataConfig(train_data=["rows"], eval_fraction=0.3),
            load_tokenizer(plain),
            bad_rows,
            seed=0,
            train=[*texts, *(f" {text.upper()}" for text in texts)],
        )
    held_out = {text.strip().casefold() for text in rows.held_out if isinstance(text, str)}
    train = {text.strip().casefold() for text in rows.train if isinstance(text, str)}
    assert (len(held_out), len(train), len(rows.held_out)) == (3, 7, 6)
    assert not held_out & train
