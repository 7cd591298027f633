"""Rows with verdicts and ratings: columns, faults, lengths, `rlhf data check` and `show`."""

import json

import pytest

from rlhf.data.check import check, kind_of
from rlhf.data.rows.load_rated import load_outcomes, load_ratings
from rlhf.data.rows.parse_rated import parse_outcome, parse_ratings
from rlhf.data.show_command import main as show
from rlhf.data.tokenization.tokenizer import load_tokenizer
from tests.errors import raises
from tests.tiny_models import make_model

ROW = {"prompt": "Hi", "response": "Hello."}


def test_verdict_is_the_axis_correct():
    rows = [ROW | {"correct": value} for value in (True, False, 1, 0)]
    assert [row.ratings for row in load_outcomes(rows).rows] == [
        {"correct": value} for value in (1.0, 0.0, 1.0, 0.0)
    ]
    named = parse_outcome({"prompt": "Hi", "completion": "a", "correct": True, "annotator": 7})
    assert (named.completion, named.annotator) == ("a", "7")


def test_ratings_leave_out_missing_axes():
    row = ROW | {"ratings": {"helpful": 4, "brief": None, "kind": 2.5}}
    assert parse_ratings(row).ratings == {"helpful": 4.0, "kind": 2.5}
    assert parse_ratings(row, ["brief", "kind"]).ratings == {"kind": 2.5}


def test_axes_may_be_columns_as_in_helpsteer():
    """Its <extra_id_1> marks turns of a conversation."""
    prompt = "Hi.\n\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nName a bird."
    row = {"prompt": prompt, "response": "A robin.", "helpfulness": 3, "verbosity": 1}
    rated = parse_ratings(row, ["helpfulness", "coherence"])
    assert rated.ratings == {"helpfulness": 3.0}
    assert [turn["role"] for turn in rated.prompt] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (ROW, "correct"),
        (ROW | {"correct": "yes"}, "correct"),
        ({"prompt": "Hi", "correct": True}, "response"),
        (ROW | {"correct": True, "completion": "a"}, "completion"),
        (ROW | {"correct": True, "response": " "}, "response"),
        ({"response": "a", "correct": True}, "prompt"),
        (ROW | {"correct": True, "history": ["x"]}, "history"),
    ],
)
def test_row_that_is_no_verdict_is_bad(row, name):
    with raises("bad-row", "rows:1", name):
        load_outcomes([row])


@pytest.mark.parametrize(
    ("row", "axes", "name"),
    [
        (ROW, None, "ratings"),
        (ROW | {"ratings": [1, 2]}, None, "ratings"),
        (ROW | {"ratings": {}}, None, "any axis"),
        (ROW | {"ratings": {"helpful": "4"}}, None, "helpful"),
        (ROW | {"ratings": {"helpful": 4}}, ["brief"], "brief"),
        (ROW | {"ratings": {"helpful": True}}, ["helpful"], "helpful"),
    ],
)
def test_row_that_has_no_rating_is_bad(row, axes, name):
    with raises("bad-row", "rows:1", name):
        load_ratings([row], axes=axes)


def test_rows_are_counted_with_the_tokens_of_a_reward_model(tmp_path):
    chat = load_tokenizer(str(make_model(tmp_path / "model")), judges=True)
    long = ROW | {"correct": True, "response": "word " * 90}
    with raises("bad-row", "rows:2 prompt and response", "60 is the limit"):
        load_outcomes([ROW | {"correct": True}, long], chat=chat, max_length=60)


def test_files_are_checked_and_shown(tmp_path, capsys):
    """A kind for each, the range of each axis, and the id at which the reward is read."""
    model = str(make_model(tmp_path / "model"))
    outcomes, ratings = tmp_path / "outcomes.jsonl", tmp_path / "ratings.jsonl"
    outcomes.write_text(json.dumps(ROW | {"correct": True}) + "\n")
    ratings.write_text(
        json.dumps(ROW | {"ratings": {"helpful": 4, "brief": 1}})
        + "\n"
        + json.dumps(ROW | {"response": "No.", "ratings": {"helpful": 1}})
        + "\n"
    )
    assert (kind_of(str(outcomes)), kind_of(str(ratings))) == ("outcomes", "ratings")
    lines = check(str(ratings), None, load_tokenizer(model), 64)
    assert "  helpful: 2 ratings, mean 2.5, 1 to 4" in lines
    assert "  brief: 1 rating, mean 1, 1 to 1" in lines
    assert check(str(outcomes), "outcomes")[0].startswith(f"{outcomes}: outcomes")
    assert show(["--model", model, "--json", str(ratings)]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown[0]["title"] == "rated helpful 4, brief 1"
    assert shown[0]["trained"].index(True) == len(shown[0]["ids"]) - 1


def test_csv_has_verdicts_and_ratings(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        'prompt,response,correct,ratings\nHi,Hello.,true,"{""helpful"": 3}"\nHi,No.,false,\n'
    )
    assert [row.ratings["correct"] for row in load_outcomes(str(path)).rows] == [1.0, 0.0]
    with raises("bad-row", "rows.csv"):
        load_ratings(str(path))
