"""A row is one of the types the recipes take, or the reason says why not."""

import pytest

from rlhf.data.parse import parse_demonstration, parse_prompt, parse_ranking, parse_text
from rlhf.errors import DataError
from rlhf.types import Demonstration, PromptRow, Ranking

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "Be kind."}
PAIR = {"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}
RANKED = {"prompt": "Hi", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hi", "completion": "Hello.", "category": "x"}, ("Hi", "Hello.")),
        ({"prompt": "", "completion": "Once."}, ("", "Once.")),
        ({"messages": [SYSTEM, USER, BOT]}, ([SYSTEM, USER], "Hello.")),
        ({"messages": [USER, BOT, USER, BOT]}, ([USER, BOT, USER], "Hello.")),
        ({"prompt": [USER], "completion": [BOT]}, ([USER], "Hello.")),
    ],
)
def test_demonstrations(row, expected):
    prompt, completion = expected
    assert parse_demonstration(row) == Demonstration(prompt=prompt, completion=completion)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"completion": "x"}, "no prompt; a row needs prompt and completion"),
        ({"prompt": "x", "text": "y"}, "no completion"),
        ({"prompt": "x", "completion": " \n"}, "completion is empty"),
        ({"prompt": "x", "completion": 5}, "completion is int, not text"),
        ({"prompt": 5, "completion": "x"}, "prompt is int, neither text nor a list of messages"),
        ({"prompt": "x", "completion": "y", "label": False}, "a thumb"),
        ({"messages": []}, "messages is an empty list"),
        ({"messages": None}, "messages is null, not a list"),
        ({"messages": [USER]}, "roles user; expected .* ending with assistant"),
        ({"messages": [BOT, USER]}, "roles assistant, user"),
        ({"messages": [BOT]}, "roles assistant; expected"),
        ({"messages": [USER, USER, BOT]}, "roles user, user, assistant"),
        ({"messages": [USER, SYSTEM, BOT]}, "roles user, system, assistant"),
        ({"messages": [SYSTEM, BOT]}, "roles system, assistant"),
        ({"messages": [{"role": "human", "content": "x"}, BOT]}, "unknown role 'human'"),
        ({"messages": [{"role": ["user"], "content": "x"}, BOT]}, "unknown role"),
        ({"messages": ["Hi", "Hello"]}, "a message is"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "content is empty"),
        ({"messages": [{"role": "user", "content": [{}]}, BOT]}, "content is list, not text"),
        ({"prompt": [USER, BOT], "completion": "x"}, "ending with user"),
        ({"prompt": "x", "completion": [USER]}, "ends with user, not with the assistant"),
        ({"prompt": "x", "completion": []}, "completion is list, not text"),
    ],
)
def test_what_is_no_demonstration(row, reason):
    with pytest.raises(DataError, match=reason):
        parse_demonstration(row)


def test_a_prompt_keeps_its_other_columns():
    row = {"prompt": [USER], "category": "talk", "answer": 3}
    expected = PromptRow(prompt=[USER], columns={"category": "talk", "answer": 3})
    assert parse_prompt(row) == expected


def test_texts():
    assert parse_text({"text": "a story", "label": 1}) == "a story"
    with pytest.raises(DataError, match="text is empty"):
        parse_text({"text": ""})


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {**PAIR, "chosen": [BOT], "rejected": [{**BOT, "content": "Go away."}]},
        {**PAIR, "chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": "Go away."}]},
    ],
)
def test_a_pair_is_a_ranking_of_two(row):
    expected = Ranking(prompt="Hi", responses=["Hello.", "Go away."], ranks=[1, 2])
    assert parse_ranking(row) == expected


def test_whole_conversations_bring_their_prompt():
    row = {"chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": "Go away."}]}
    assert parse_ranking(row).prompt == [USER]


def test_a_number_names_an_annotator_and_null_nobody():
    assert parse_ranking({**PAIR, "annotator": 7}).annotator == "7"
    assert parse_ranking({**PAIR, "annotator": None}).annotator == ""


def test_rankings_keep_ties_annotator_and_strength():
    row = {**RANKED, "annotator": "ann", "strength": 2}
    ranking = parse_ranking(row)
    assert (ranking.ranks, ranking.annotator, ranking.strength) == ([2, 1, 2], "ann", 2.0)


def test_equal_texts_may_tie():
    """Sampled answers repeat; of equal rank they say nothing against each other."""
    row = {"prompt": "Hi", "responses": ["x", "x ", "y"], "ranks": [1, 1, 3]}
    assert parse_ranking(row).ranks == [1, 1, 3]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PAIR, "rejected": "Hello."}, "the same text"),
        ({**PAIR, "rejected": ""}, "rejected is empty"),
        ({"prompt": "Hi", "chosen": "x"}, "no rejected"),
        ({"chosen": "x", "rejected": "y"}, "no prompt"),
        ({"chosen": [USER, BOT], "rejected": [SYSTEM, USER, BOT]}, "the same turns"),
        ({**PAIR, "chosen": [SYSTEM, USER, BOT]}, "does not begin with the prompt"),
        ({**RANKED, "ranks": [1, 2]}, "2 ranks for 3 responses"),
        ({**RANKED, "ranks": [1, 2, 2.5]}, "not whole numbers"),
        ({**RANKED, "ranks": [True, 2, 3]}, "not whole numbers"),
        ({**RANKED, "ranks": "1 2 3"}, "ranks is str, not a list"),
        ({**RANKED, "responses": ["a", "", "c"]}, r"responses\[1\] is empty"),
        ({**RANKED, "responses": ["a"], "ranks": [1]}, "holds 1 answer"),
        ({**PAIR, "rejected": "Hello. "}, "the same text"),
        ({**RANKED, "responses": ["x", "y", "x "], "ranks": [1, 2, 3]}, "ranks 1 and 3; equal"),
        ({**RANKED, "ranks": [1, 0, 2]}, "below 1"),
        ({**RANKED, "strength": "much"}, "strength 'much'"),
        ({"prompt": "Hi"}, "no responses"),
        ({**PAIR, "annotator": {"name": "ann"}}, "annotator is dict, neither a name"),
    ],
)
def test_what_is_no_ranking(row, reason):
    with pytest.raises(DataError, match=reason):
        parse_ranking(row)
