"""Rows of verdicts: which verdict a label gives, the rubric's text, the command."""

import json

import pytest
import yaml

from rlhf.data.rows.load import load_demonstrations
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.rubric import Rubric
from rlhf.rewards.verdict_rows import main, nearest_verdict, rows_of_rankings, rows_of_ratings
from rlhf.types import Ranking, RatedResponse
from tests.errors import raises
from tests.tiny_models import make_model

VALUES = {"cat": 1.0, "dog": 0.0}


def test_verdict_is_the_nearest_value():
    """Halfway between two values is no verdict; of three values the middle one is at one half."""
    assert [nearest_verdict(share, VALUES) for share in (1.0, 0.6, 0.5, 0.4, 0.0)] == [
        "cat", "cat", None, "dog", "dog"
    ]  # fmt: skip
    three = {"good": 5.0, "fair": 3.0, "bad": 1.0}
    assert [nearest_verdict(share, three) for share in (0.9, 0.5, 0.25, 0.1)] == [
        "good", "fair", None, "bad"
    ]  # fmt: skip


def test_ranking_gives_verdicts_by_the_share_of_beaten_responses():
    """Ranks 1, 2, 2, 4: shares 1, ½ (one beaten, one tied of three), ½, 0."""
    row = Ranking(prompt="Hi", responses=["a", "b", "c", "d"], ranks=[1, 2, 2, 4])
    made = rows_of_rankings([row], Rubric(None, list(VALUES)), VALUES)
    assert [each["completion"] for each in made.rows] == ["cat", "dog"]
    assert (made.verdicts, made.between) == ({"cat": 1, "dog": 1}, 2)
    assert made.rows[0]["prompt"] == Rubric(None, list(VALUES)).text("Hi", "a")


def test_ratings_give_verdicts_by_their_place_in_the_range():
    rated = [
        RatedResponse(prompt="Hi", completion=str(value), ratings={"helpful": value})
        for value in (0.0, 1.0, 2.0, 4.0)
    ]
    made = rows_of_ratings(rated, "helpful", Rubric(None, list(VALUES)), VALUES)
    assert [each["completion"] for each in made.rows] == ["dog", "dog", "cat"]
    assert made.between == 1
    with raises("no-rows", "helpful"):
        rows_of_ratings(rated[:1], "helpful", Rubric(None, list(VALUES)), VALUES)


@pytest.fixture
def judge(tmp_path):
    """A file of settings with the model that it names."""
    model = make_model(tmp_path / "model")
    path = tmp_path / "judge.yaml"
    path.write_text(yaml.safe_dump({"model": str(model), "verdicts": VALUES}))
    return path


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_trained_row_is_what_the_reward_model_reads(judge, tmp_path, capsys):
    """The ids before the completion's first token are the ids that the reward model scores."""
    rankings = write_rows(
        tmp_path / "rankings.jsonl", [{"prompt": "Where?", "chosen": "Box.", "rejected": "No."}]
    )
    output = tmp_path / "verdicts.jsonl"
    main([rankings, "--reward", str(judge), "--output", str(output)])
    assert "1 x 'cat', 1 x 'dog'" in capsys.readouterr().out
    rows = load_demonstrations(str(output)).rows
    reward = GenerativeReward(judge)
    for row, response, place in zip(rows, ("Box.", "No."), (0, 1), strict=True):
        tokens = token_response(reward.chat, row.prompt, row.completion)
        assert list(tokens.prompt_ids) == reward.ids("Where?", response)
        assert tokens.response_ids[0] == reward.tokens[place]


def test_outcomes_and_ratings_are_converted(judge, tmp_path):
    row = {"prompt": "Where?", "response": "Box."}
    outcomes = write_rows(
        tmp_path / "o.jsonl", [row | {"correct": True}, row | {"correct": False, "response": "No."}]
    )
    output = tmp_path / "out.jsonl"
    main([outcomes, "--reward", str(judge), "--output", str(output)])
    written = [json.loads(line)["completion"] for line in output.read_text().splitlines()]
    assert written == ["cat", "dog"]
    ratings = write_rows(
        tmp_path / "r.jsonl",
        [row | {"ratings": {"brief": 1}}, row | {"ratings": {"brief": 3}, "response": "No."}],
    )
    main([ratings, "--reward", str(judge), "--output", str(output), "--axis", "brief"])
    written = [json.loads(line)["completion"] for line in output.read_text().splitlines()]
    assert written == ["dog", "cat"]


def test_options_that_do_not_go_together_raise(judge, tmp_path):
    row = {"prompt": "Where?", "response": "Box."}
    words = ["--reward", str(judge), "--output", str(tmp_path / "out.jsonl")]
    outcomes = write_rows(tmp_path / "o.jsonl", [row | {"correct": True}])
    ratings = write_rows(tmp_path / "r.jsonl", [row | {"ratings": {"brief": 1}}])
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "Where?"}])
    with raises("key-conflict", "--axis"):
        main([outcomes, *words, "--axis", "brief"])
    with raises("key-conflict", "--axis"):
        main([ratings, *words])
    with raises("bad-value", "prompts"):
        main([prompts, *words])
    with raises("missing-key", "--output"):
        main([outcomes, "--reward", str(judge)])
    with raises("bad-row", "o.jsonl:1"):
        main([outcomes, *words, "--rows", "rankings"])
