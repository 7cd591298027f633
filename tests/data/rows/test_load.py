"""All bad rows are found before training, named by place, and dropped only on request."""

import json
from pathlib import Path

from transformers import PretrainedConfig

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.data.tokenization.tokenizer import load_tokenizer, with_positions
from tests.errors import raises

GOOD = {"prompt": "Hi", "completion": "Hello."}


def config_with(positions: int) -> PretrainedConfig:
    """A model configuration with this number of positions."""
    return PretrainedConfig(max_position_embeddings=positions)


def write_rows(path: Path, rows: list) -> str:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


def test_all_kinds_of_faults_are_in_one_list(tmp_path: Path, plain: str):
    """Faults of bytes, of keys and of length (which needs the tokenizer), in file order."""
    rows = [
        GOOD,
        {"prompt": "Hi"},
        b'{"prompt": "caf\xe9", "completion": "x"}',
        {"prompt": "Hi", "completion": ""},
        {"prompt": "word " * 100, "completion": "x"},
        {"prompt": "x", "completion": "word " * 100},
        {"prompt": " ", "completion": "x"},
        {"messages": [{"role": "assistant", "content": "x"}]},
    ]
    source = write_rows(tmp_path / "a.jsonl", rows)
    with raises("bad-row", f"{source}: 7 rows") as error:
        load_demonstrations(source, chat=load_tokenizer(plain), max_length=64)
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [f"{source}:{n}" for n in range(2, 9)]
    for line, reason in zip(
        lines[1:],
        ["no completion", "invalid UTF-8", "completion is empty", "the prompt: ", "prompt and "],
        strict=False,
    ):
        assert reason in line
    assert "63 is the limit" in lines[4]
    assert "the prompt is empty" in lines[6]
    assert lines[-1].endswith("--drop_bad_rows.")


def test_twenty_reasons_are_named_and_the_rest_counted(tmp_path: Path):
    rows = [{"prompt": "x", f"column_{n}": 1} for n in range(25)]
    source = write_rows(tmp_path / "a.jsonl", [GOOD, *rows])
    with raises("bad-row") as error:
        load_demonstrations(source)
    lines = str(error.value).splitlines()
    assert sum(line.startswith(f"  {source}:") for line in lines) == 20
    assert lines[-2] == "  and 5 more"


def test_rows_with_the_same_reason_are_one_line(tmp_path: Path):
    source = write_rows(
        tmp_path / "a.jsonl", [{"prompt": "x"}] * 3 + [GOOD] + [{"prompt": "x"}] * 3
    )
    with raises("bad-row", f"{source}: 6 rows cannot be used") as error:
        load_demonstrations(source)
    _, line, step = str(error.value).splitlines()
    assert line.startswith(f"  {source}:1 no completion")
    assert line.endswith(" (also lines 2, 3, 5, 6, …)")
    assert step.endswith("--drop_bad_rows.")


def test_dropping_is_not_advised_where_every_row_is_bad(tmp_path: Path):
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": "x"}] * 2)
    with raises("bad-row", "correct the file") as error:
        load_demonstrations(source)
    assert "--drop_bad_rows" not in str(error.value)
    other = write_rows(tmp_path / "b.jsonl", [GOOD])
    with raises("bad-row", "--drop_bad_rows"), BadRows() as bad_rows:
        for name in (source, other):
            load_demonstrations(name, bad_rows=bad_rows)


def test_dropped_rows_are_counted_logged_and_listed_once(tmp_path: Path, caplog):
    source = write_rows(tmp_path / "a.jsonl", [GOOD, {"prompt": "x"}, b"\xff", GOOD])
    reject = tmp_path / "run" / "rejected.jsonl"
    for _ in range(2):  # every process, and a resumed run, reads the file again
        with BadRows(drop=True, reject_file=reject) as bad_rows:
            loaded = load_demonstrations(source, bad_rows=bad_rows)
    assert (len(loaded.rows), loaded.use.rows, loaded.use.dropped) == (2, 2, 2)
    assert [str(place) for place in loaded.places] == [f"{source}:1", f"{source}:4"]
    assert f"{source}: 2 bad rows left out, listed in {reject}" in caplog.messages
    rejected = [json.loads(line) for line in reject.read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rejected] == [(source, 2), (source, 3)]
    assert rejected[0]["row"] == {"prompt": "x"}
    assert reject.stat().st_mode & 0o777 == 0o600
    assert rejected[1]["reason"].startswith("invalid UTF-8")


def test_list_of_dropped_rows_has_those_of_this_run_alone(tmp_path: Path):
    """It has two files of one run, and replaces the list of an earlier run."""
    reject = tmp_path / "rejected.jsonl"
    for names in (("old",), ("one", "two")):
        with BadRows(drop=True, reject_file=reject) as bad_rows:
            for name in names:
                source = write_rows(tmp_path / f"{name}.jsonl", [GOOD, {"prompt": "x"}])
                load_demonstrations(source, bad_rows=bad_rows)
    files = [json.loads(line)["file"] for line in reject.read_text().splitlines()]
    assert files == [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]


def test_no_usable_row_raises_even_with_drop(tmp_path: Path):
    empty = write_rows(tmp_path / "empty.jsonl", [])
    with raises("no-rows", "empty.jsonl"):
        load_prompts(empty)
    bad = write_rows(tmp_path / "bad.jsonl", [{"text": "x"}])
    with raises("no-rows", "1 bad", "bad.jsonl:1", "prompt"):
        load_prompts(bad, bad_rows=BadRows(drop=True))


def test_rankings_without_an_order_are_left_out_and_counted(tmp_path: Path, caplog):
    """A tie is a label, not a fault, but it has no pair to learn from."""
    rows = [
        {"prompt": "x", "responses": ["a", "b"], "ranks": [1, 1]},
        {"prompt": "x", "responses": ["a", "a"], "ranks": [1, 1]},
        {"prompt": "x", "responses": ["a", "b", "c"], "ranks": [1, 2, 2]},
        {"prompt": "x", "chosen": "a", "rejected": "b"},
    ]
    loaded = load_rankings(write_rows(tmp_path / "a.jsonl", rows))
    assert [list(row.ranks) for row in loaded.rows] == [[1, 2, 2], [1, 2]]
    assert [place.line for place in loaded.places] == [3, 4]
    assert (loaded.undecided, loaded.use.rows, loaded.use.dropped) == (2, 2, 2)
    assert "left out 2 rankings" in caplog.text


def test_longest_response_of_a_ranking_has_to_fit(tmp_path: Path, plain: str):
    row = {"prompt": "x", "responses": ["a", "word " * 99], "ranks": [1, 2]}
    source = write_rows(tmp_path / "a.jsonl", [row])
    with raises("bad-row", "prompt and response", "64"):
        load_rankings(source, chat=load_tokenizer(plain), max_length=64)


def test_length_of_prompts_and_texts_is_checked(tmp_path: Path, plain: str):
    chat = load_tokenizer(plain)
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "word " * 99}])
    with raises("bad-row", "p.jsonl:1", "prompt", "64"):
        load_prompts(prompts, chat=chat, max_length=64)
    texts = write_rows(tmp_path / "t.jsonl", [{"text": "word " * 99}])
    with raises("bad-row", "t.jsonl:1", "text", "64"):
        load_texts(texts, chat=chat, max_length=64)


def read_together(*sources: str) -> None:
    """Read the sources as a run does."""
    with BadRows() as bad_rows:
        for source in sources:
            load_demonstrations(source, bad_rows=bad_rows)


def test_bad_rows_of_several_files_are_in_one_list(tmp_path: Path):
    """Two of three files have bad rows; the row of a file that is read twice is named once."""
    first = write_rows(tmp_path / "a.jsonl", [GOOD, {"prompt": "x"}])
    second = write_rows(tmp_path / "b.jsonl", [b"\xff", {"prompt": 5}])
    good = write_rows(tmp_path / "c.jsonl", [GOOD])
    with raises("bad-row", f"{first}, {second}: 3 rows") as error:
        read_together(first, good, first, second)
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [f"{first}:2", f"{second}:1", f"{second}:2"]


def test_another_error_replaces_the_bad_rows(tmp_path: Path):
    bad = write_rows(tmp_path / "a.jsonl", [{"prompt": "x"}])
    with raises("missing-file", "none.jsonl"):
        read_together(bad, str(tmp_path / "none.jsonl"))


def test_row_has_to_fit_into_the_positions_of_the_model(tmp_path: Path, plain: str):
    """max_length allows 500; the model has 64 positions, and a response needs 60 of them."""
    chat = with_positions(load_tokenizer(plain), config_with(64))
    rows = [{"prompt": "x", "completion": "word " * 99}]
    demonstrations = write_rows(tmp_path / "d.jsonl", rows)
    with raises("bad-row", "prompt and response", "64 positions"):
        load_demonstrations(demonstrations, chat=chat, max_length=500)
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "x"}])
    load_prompts(prompts, chat=chat, max_length=500)
    with raises("bad-row", "60 for the response", "64 positions"):
        load_prompts(prompts, chat=chat, max_length=500, response_length=60)


def test_prompt_has_to_fit_into_every_model(tmp_path: Path, plain: str):
    wide, narrow = load_tokenizer(plain), with_positions(load_tokenizer(plain), config_with(16))
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "x"}, {"prompt": "word " * 20}])
    assert len(load_prompts(prompts, others=[wide]).rows) == 2
    with raises("bad-row", "p.jsonl:2", "16 positions"):
        load_prompts(prompts, others=[wide, narrow])


def test_conversation_with_raw_prompts_is_a_bad_row(tmp_path: Path, plain: str):
    row = {"prompt": [{"role": "user", "content": "Hi"}], "completion": "x"}
    source = write_rows(tmp_path / "a.jsonl", [row])
    with raises("bad-row", "a.jsonl:1", "chat_template"):
        load_demonstrations(source, chat=load_tokenizer(plain, "none"), max_length=64)


def test_empty_raw_prompt_needs_a_start_token(tmp_path: Path, plain: str):
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": "", "completion": "x"}])
    with raises("bad-row", "a.jsonl:1", "start token"):
        load_demonstrations(source, chat=load_tokenizer(plain, "none"), max_length=64)


def test_bad_rows_of_a_known_format_name_the_command_to_convert(tmp_path: Path):
    source = write_rows(tmp_path / "a.jsonl", [{"question": "x", "answer": "y"}])
    with raises("bad-row", "rlhf data convert", "--from question_answer"):
        load_demonstrations(source)


def test_context_column_that_is_not_read_is_logged(tmp_path: Path, caplog):
    """`context` may be metadata, so the rows are used; an empty one does not count."""
    rows = [{**GOOD, "context": "The cup is in the hall."}, {**GOOD, "context": ""}]
    loaded = load_demonstrations(write_rows(tmp_path / "a.jsonl", rows))
    assert loaded.unread == {"context": 1}
    assert "the column context of 1 row is not read" in caplog.text


def test_transcript_as_a_prompt_is_rejected_with_a_template(tmp_path: Path, plain: str):
    """Prompts of Nectar and HH: a raw model continues them, a chat model reads one message."""
    row = {"prompt": "\n\nHuman: Name a pet.\n\nAssistant:"}
    source = write_rows(tmp_path / "a.jsonl", [row])
    with raises("bad-row", "Human and Assistant"):
        load_prompts(source, chat=load_tokenizer(plain))
    raw = load_prompts(source, chat=load_tokenizer(plain, "none"))
    assert raw.rows[0].prompt == row["prompt"]
