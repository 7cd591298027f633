"""Rows as a model reads them, as `rlhf data show` prints them and a run saves them."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rlhf.data.show import as_text, introduce, token_sequences, token_texts
from rlhf.data.show_command import main
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.types import Demonstration, PromptRow, Ranking
from tests.data.tokenization.templates import write_tokenizer
from tests.errors import raises

ASK = {"role": "user", "content": "Name a [pet]."}
DOG = {"role": "assistant", "content": "A dog."}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return write_tokenizer(tmp_path / "model", "qwen2_5")


def file_of(tmp_path: Path, *rows: object) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def lines(capsys) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_has_ids_and_trained_tokens_of_each_row(folder, tmp_path, capsys):
    """ids are those of plain transformers; both responses are trained on, with their ends."""
    talk = [ASK, DOG, {"role": "user", "content": "Why?"}, {**DOG, "content": "Cute."}]
    rows = file_of(tmp_path, {"messages": talk}, {"prompt": "x", "completion": "y"})
    assert main([rows, "--model", folder, "--json"]) == 0
    first, second = lines(capsys)
    plain = AutoTokenizer.from_pretrained(folder)
    assert first["ids"] == plain.apply_chat_template(talk, return_dict=False)
    assert first["text"] == plain.apply_chat_template(talk, tokenize=False)
    trained = [
        i for i, is_trained in zip(first["ids"], first["trained"], strict=True) if is_trained
    ]
    assert plain.decode(trained) == "A dog.<|im_end|>Cute.<|im_end|>"
    prompt = plain.apply_chat_template(talk[:3], add_generation_prompt=True, return_dict=False)
    assert first["prompt_length"] == len(prompt)
    assert second["row"] == 1


def test_train_on_last_marks_the_last_turn_alone(folder, tmp_path, capsys):
    talk = [ASK, DOG, {"role": "user", "content": "Why?"}, {**DOG, "content": "Cute."}]
    rows = file_of(tmp_path, {"messages": talk})
    main([rows, "--model", folder, "--json", "--train_on", "last"])
    (row,) = lines(capsys)
    trained = [i for i, is_trained in zip(row["ids"], row["trained"], strict=True) if is_trained]
    assert AutoTokenizer.from_pretrained(folder).decode(trained) == "Cute.<|im_end|>"


def test_reward_model_reads_each_response_at_its_last_token(folder, tmp_path, capsys):
    rows = file_of(tmp_path, {"prompt": "Pet?", "responses": ["A cup.", "A dog."], "ranks": [2, 1]})
    assert main([rows, "--model", folder, "--json"]) == 0
    best, worst = lines(capsys)
    assert (best["title"], worst["title"]) == ("rank 1", "rank 2")
    assert "A dog.<|im_end|>" in best["text"]
    assert [at for at, is_read in enumerate(best["trained"]) if is_read] == [len(best["ids"]) - 1]


def test_prompts_end_at_the_generation_prompt(folder, tmp_path, capsys):
    assert main([file_of(tmp_path, {"prompt": "Pet?"}), "--model", folder, "--json"]) == 0
    (row,) = lines(capsys)
    assert row["text"].endswith("<|im_start|>assistant\n")
    assert row["prompt_length"] == len(row["ids"])
    assert not any(row["trained"])


def test_bad_row_is_named_and_the_status_is_2(folder, tmp_path, capsys):
    rows = file_of(tmp_path, {"prompt": "x", "completion": ""}, {"prompt": "x", "completion": "y"})
    assert main([rows, "--model", folder, "--json"]) == 2
    bad, good = lines(capsys)
    assert bad == {"row": 0, "error": "completion is empty"}
    assert good["row"] == 1


def test_row_that_a_run_rejects_is_rejected(folder, tmp_path, capsys):
    assert main([file_of(tmp_path, {"prompt": " "}), "--model", folder, "--json"]) == 2
    assert lines(capsys) == [{"row": 0, "error": "the prompt is empty"}]


def test_terminal_marks_trained_tokens_and_long_rows(folder, tmp_path, capsys):
    rows = file_of(tmp_path, {"prompt": "Name a [pet].", "completion": "A dog."})
    assert main([rows, "--model", folder, "--max_length", "5"]) == 0
    out = capsys.readouterr().out
    assert "Name a [pet].<|im_end|>⏎" in out
    assert "┃«A dog.<|im_end|>»⏎" in out
    assert "too long" in out


CUT = {"prompt": "Pet?", "completion": "A dog.", "endings": ["length"]}
RANKED = {"prompt": "Pet?", "responses": ["A dog.", "A cup."], "ranks": [1, 2]}


@pytest.mark.parametrize(
    ("stage", "row"),
    [
        ("sft", CUT),
        ("kto", {**CUT, "label": True}),
        ("dpo", {**RANKED, "endings": ["stopped", "stop"]}),
    ],
)
def test_end_of_a_cut_response_is_not_trained_on(folder, tmp_path, capsys, stage, row):
    """A| d|og|. are the ids 36, 311, 74, 17; the end of the turn, <|im_end|>, is 2."""
    whole = {key: value for key, value in row.items() if key != "endings"}
    rows = file_of(tmp_path, row, whole)
    assert main([rows, "--model", folder, "--for", stage, "--json"]) == 0
    sequences = lines(capsys)
    trained = [
        [i for i, is_trained in zip(each["ids"], each["trained"], strict=True) if is_trained]
        for each in sequences
    ]
    count = len(sequences) // 2  # the responses of a row, the best first
    assert trained[0] == [36, 311, 74, 17]
    assert trained[count] == [36, 311, 74, 17, 2]
    assert {ids[-1] for ids in trained[1:]} == {2}
    assert main([rows, "--model", folder, "--for", stage, "--rows", "1"]) == 0
    out = capsys.readouterr().out
    assert "4 trained, the last one '.'" in out
    assert "┃«A dog.»" in out


def test_colours_mark_trained_and_control_tokens(folder):
    chat = load_tokenizer(folder)
    (row,) = token_sequences(chat, Demonstration(prompt="Hi", completion="é 你"))
    text = as_text(chat, row)
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert "bold green" in styles["<|im_end|>"]
    assert "reverse" in styles["<|im_start|>"]
    assert "".join(token_texts(chat, row.ids)) == row.text


def test_text_is_shown_as_sft_reads_it(folder, tmp_path, capsys):
    """Every id after the first is trained, EOS included; a long text is shown up to its split."""
    rows = file_of(tmp_path, {"text": "A dog. A cat."})
    assert main([rows, "--model", folder, "--json"]) == 0
    (whole,) = lines(capsys)
    assert whole["text"] == "A dog. A cat.<|im_end|>"
    assert whole["trained"] == [False] + [True] * (len(whole["ids"]) - 1)
    assert main([rows, "--model", folder, "--json", "--max_length", "4"]) == 0
    (part,) = lines(capsys)
    assert part["ids"] == whole["ids"][:4]
    count = -(-(len(whole["ids"]) - 1) // 3)
    assert part["title"] == f"sequence 1 of {count}"


def test_zero_rows_and_too_short_lengths_are_errors(folder, tmp_path):
    with raises("bad-value", "--max_length 1"):
        main([file_of(tmp_path, {"text": "x"}), "--model", folder, "--max_length", "1"])
    with raises("bad-value", "--rows 0"):
        main([file_of(tmp_path, {"prompt": "x"}), "--model", folder, "--rows", "0"])


def test_run_prints_its_first_row_and_saves_three(folder, tmp_path, capsys):
    chat = load_tokenizer(folder)
    rows = [PromptRow(prompt=f"Pet {n}?") for n in range(5)]
    introduce(tmp_path, chat, rows, count=1)
    out = capsys.readouterr().out
    assert "Pet 0?" in out
    assert "Pet 1?" not in out
    saved = (tmp_path / "samples" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["ids"] for line in saved] == [
        token_sequences(chat, row)[0].ids for row in rows[:3]
    ]


def test_ranking_is_printed_best_first(folder):
    chat = load_tokenizer(folder)
    ranking = Ranking(prompt="Pet?", responses=["no", "dog", "cat"], ranks=[3, 1, 1])
    assert [row.title for row in token_sequences(chat, ranking)] == ["rank 1", "rank 1", "rank 3"]


def test_file_name_is_printed_unchanged(folder, tmp_path, capsys):
    path = tmp_path / "rows [bold] :smile:.jsonl"
    path.write_text('{"prompt": "x"}\n')
    main([str(path), "--model", folder])
    assert "rows [bold] :smile:.jsonl" in capsys.readouterr().out
