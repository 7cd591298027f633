"""Bad rows are all found before training, named by place, and dropped only when told to."""

import json
from pathlib import Path

import pytest
from transformers import PretrainedConfig

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.data.tokenization.tokenizer import load_tokenizer, with_positions
from rlhf.errors import DataError

GOOD = {"prompt": "Hi", "completion": "Hello."}


def _config(positions: int) -> PretrainedConfig:
    """A model's configuration with that many positions."""
    return PretrainedConfig(max_position_embeddings=positions)


def write_rows(path: Path, rows: list) -> str:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


def test_every_kind_of_fault_stands_in_one_list(tmp_path: Path, plain: str):
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
    with pytest.raises(DataError) as refusal:
        load_demonstrations(source, chat=load_tokenizer(plain), max_length=64)
    lines = str(refusal.value).splitlines()
    assert lines[0] == f"{source}: 7 rows cannot be used:"
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


def test_twenty_are_named_and_the_rest_counted(tmp_path: Path):
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": "x"}] * 25)
    with pytest.raises(DataError) as refusal:
        load_demonstrations(source)
    lines = str(refusal.value).splitlines()
    assert sum(line.startswith(f"  {source}:") for line in lines) == 20
    assert lines[-2] == "  and 5 more"


def test_dropped_rows_are_counted_said_and_written_down_once(tmp_path: Path, caplog):
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
    assert rejected[1]["reason"].startswith("invalid UTF-8")


def test_the_list_of_dropped_rows_is_of_this_run_alone(tmp_path: Path):
    """Two files of one run stand in it; what an earlier run left there does not."""
    reject = tmp_path / "rejected.jsonl"
    for names in (("old",), ("one", "two")):
        with BadRows(drop=True, reject_file=reject) as bad_rows:
            for name in names:
                source = write_rows(tmp_path / f"{name}.jsonl", [GOOD, {"prompt": "x"}])
                load_demonstrations(source, bad_rows=bad_rows)
    files = [json.loads(line)["file"] for line in reject.read_text().splitlines()]
    assert files == [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]


def test_no_row_at_all_is_refused_even_when_dropping(tmp_path: Path):
    empty = write_rows(tmp_path / "empty.jsonl", [])
    with pytest.raises(DataError, match="holds no row that can be used"):
        load_prompts(empty)
    bad = write_rows(tmp_path / "bad.jsonl", [{"text": "x"}])
    with pytest.raises(DataError, match=r"1 bad.*the first: .*bad\.jsonl:1 no prompt"):
        load_prompts(bad, bad_rows=BadRows(drop=True))


def test_rankings_without_an_order_are_left_out_and_counted(tmp_path: Path, caplog):
    """A tie is a label, not a fault; but it holds no pair to learn from."""
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
    assert "2 rankings tie all their answers, or hold one text, left out" in caplog.text


def test_the_longest_answer_of_a_ranking_has_to_fit(tmp_path: Path, plain: str):
    row = {"prompt": "x", "responses": ["a", "word " * 99], "ranks": [1, 2]}
    source = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(DataError, match=r"prompt and answer: .* 64 is the limit"):
        load_rankings(source, chat=load_tokenizer(plain), max_length=64)


def test_prompts_and_texts_are_measured_alone(tmp_path: Path, plain: str):
    chat = load_tokenizer(plain)
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "word " * 99}])
    with pytest.raises(DataError, match="the prompt: "):
        load_prompts(prompts, chat=chat, max_length=64)
    texts = write_rows(tmp_path / "t.jsonl", [{"text": "word " * 99}])
    with pytest.raises(DataError, match="the text: "):
        load_texts(texts, chat=chat, max_length=64)


def read_together(*sources: str) -> None:
    """As a run reads its files."""
    with BadRows() as bad_rows:
        for source in sources:
            load_demonstrations(source, bad_rows=bad_rows)


def test_bad_rows_of_several_files_stand_in_one_list(tmp_path: Path):
    """Of three files two hold bad rows; one of them is read twice, its row is one all the same."""
    first = write_rows(tmp_path / "a.jsonl", [GOOD, {"prompt": "x"}])
    second = write_rows(tmp_path / "b.jsonl", [b"\xff", {"prompt": 5}])
    good = write_rows(tmp_path / "c.jsonl", [GOOD])
    with pytest.raises(DataError) as refusal:
        read_together(first, good, first, second)
    lines = str(refusal.value).splitlines()
    assert lines[0] == f"{first}, {second}: 3 rows cannot be used:"
    assert [line.split()[0] for line in lines[1:-1]] == [f"{first}:2", f"{second}:1", f"{second}:2"]


def test_another_error_goes_before_the_bad_rows(tmp_path: Path):
    bad = write_rows(tmp_path / "a.jsonl", [{"prompt": "x"}])
    with pytest.raises(DataError, match="is not there"):
        read_together(bad, str(tmp_path / "none.jsonl"))


def test_a_row_has_to_fit_into_the_models_positions(tmp_path: Path, plain: str):
    """max_length allows 500; the model has 64 positions, of which an answer may take 60."""
    chat = with_positions(load_tokenizer(plain), _config(64))
    rows = [{"prompt": "x", "completion": "word " * 99}]
    demonstrations = write_rows(tmp_path / "d.jsonl", rows)
    with pytest.raises(DataError, match=r"answer: \d+ tokens, but the model has 64 positions"):
        load_demonstrations(demonstrations, chat=chat, max_length=500)
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "x"}])
    load_prompts(prompts, chat=chat, max_length=500)
    with pytest.raises(DataError, match=r"tokens and 60 for the answer, but .* 64 positions"):
        load_prompts(prompts, chat=chat, max_length=500, answer_length=60)


def test_a_prompt_has_to_fit_for_every_model(tmp_path: Path, plain: str):
    wide, narrow = load_tokenizer(plain), with_positions(load_tokenizer(plain), _config(16))
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "x"}, {"prompt": "word " * 20}])
    assert len(load_prompts(prompts, others=[wide]).rows) == 2
    with pytest.raises(DataError, match=r"p\.jsonl:2 the prompt: \d+ tokens, but the model has 16"):
        load_prompts(prompts, others=[wide, narrow])


def test_a_conversation_under_raw_prompts_is_a_bad_row(tmp_path: Path, plain: str):
    row = {"prompt": [{"role": "user", "content": "Hi"}], "completion": "x"}
    source = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(DataError, match="needs a chat template"):
        load_demonstrations(source, chat=load_tokenizer(plain, "none"), max_length=64)


def test_an_empty_raw_prompt_needs_a_start_token(tmp_path: Path, plain: str):
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": "", "completion": "x"}])
    with pytest.raises(DataError, match="no start token"):
        load_demonstrations(source, chat=load_tokenizer(plain, "none"), max_length=64)


def test_a_known_shape_is_named_with_the_command_that_converts_it(tmp_path: Path):
    source = write_rows(tmp_path / "a.jsonl", [{"question": "x", "answer": "y"}])
    with pytest.raises(DataError, match=r"rlhf data convert .* --from question_answer"):
        load_demonstrations(source)


def test_context_that_no_row_type_reads_is_a_warning(tmp_path: Path, caplog):
    """`context` may be metadata, so that the rows are kept; an empty one is nothing."""
    rows = [{**GOOD, "context": "The cup is in the hall."}, {**GOOD, "context": ""}]
    loaded = load_demonstrations(write_rows(tmp_path / "a.jsonl", rows))
    assert loaded.unread == {"context": 1}
    assert "the column context of 1 rows is not read" in caplog.text


def test_transcript_as_a_prompt_is_rejected_where_prompts_are_rendered(tmp_path: Path, plain: str):
    """Nectar's and HH's prompts: raw models continue them, a chat model would read one message."""
    row = {"prompt": "\n\nHuman: Name a pet.\n\nAssistant:"}
    source = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(DataError, match="transcript of Human and Assistant"):
        load_prompts(source, chat=load_tokenizer(plain))
    raw = load_prompts(source, chat=load_tokenizer(plain, "none"))
    assert raw.rows[0].prompt == row["prompt"]
