"""Rows of HelpSteer2 and HelpSteer3 become these rankings and no others."""

from collections import Counter
from pathlib import Path

import pytest

from tests.data.source_formats.published_rows import (
    convert_rows_of,
    helpsteer2_row,
    helpsteer3_row,
)
from tests.errors import raises


def test_helpsteer2_ranks_successive_responses(tmp_path: Path):
    """3 beats 1, and 2 ties 2; a prompt that occurs again later is another ranking."""
    conversion = convert_rows_of(
        tmp_path,
        "helpsteer2",
        helpsteer2_row("Name a bird.", "A robin.", 3),
        helpsteer2_row("Name a bird.", "A chair.", 1),
        helpsteer2_row("Name a tree.", "An oak.", 2),
        helpsteer2_row("Name a tree.", "An elm.", 2),
        helpsteer2_row("Name a bird.", "A wren.", 0),
        helpsteer2_row("Name a bird.", "A crow.", 4),
    )
    assert conversion.rows == [
        {"prompt": "Name a bird.", "responses": ["A robin.", "A chair."], "ranks": [1, 2]},
        {"prompt": "Name a tree.", "responses": ["An oak.", "An elm."], "ranks": [1, 1]},
        {"prompt": "Name a bird.", "responses": ["A wren.", "A crow."], "ranks": [2, 1]},
    ]
    assert conversion.lines("helpsteer2") == [
        "kept: 1 ranking whose responses all tie",
        "columns not used: correctness, coherence, complexity, verbosity",
    ]


def test_helpsteer2_prompts_of_several_turns_become_messages(tmp_path: Path):
    prompt = "Hi.\n\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nName a bird."
    conversion = convert_rows_of(
        tmp_path, "helpsteer2", helpsteer2_row(prompt, "a", 0), helpsteer2_row(prompt, "b", 4)
    )
    assert conversion.rows[0]["prompt"] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a bird."},
    ]


def test_helpsteer2_responses_alone_or_without_score_are_bad(tmp_path: Path):
    rows = [helpsteer2_row("p", "a", 1), helpsteer2_row("q", "a", 1), helpsteer2_row("q", "b", 5)]
    with raises("bad-row", "in.jsonl:1", "in.jsonl:2 helpfulness", "'5'"):
        convert_rows_of(tmp_path, "helpsteer2", *rows)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (-3, {"ranks": [1, 2], "strength": 3}),
        (0, {"ranks": [1, 1]}),
        (1, {"ranks": [2, 1], "strength": 1}),
    ],
)
def test_helpsteer2_preference_has_ranks_and_strength(
    tmp_path: Path, strength: int, expected: dict
):
    row = {
        "split": "train",
        "prompt": "p",
        "response_1": "a",
        "response_2": "b",
        "preference_strength": strength,
        "preference_statement": "",
        "preference_elaboration": "",
        "three_most_similar_preferences": [{"statement": "", "elaboration": "", "strength": -3}],
        "all_preferences_unprocessed": [{"statement": "", "elaboration": "", "strength": -100}],
    }
    conversion = convert_rows_of(tmp_path, "helpsteer2", row, row)
    shared = {"prompt": "p", "responses": ["a", "b"], "split": "train"}
    assert conversion.rows == [shared | expected] * 2
    assert "kept: 1 row the same as another" in conversion.lines("helpsteer2")


def test_helpsteer3_gives_a_ranking_for_each_annotator(tmp_path: Path):
    """Below 0 the first is better; the strength is the distance from 0."""
    conversion = convert_rows_of(tmp_path, "helpsteer3", helpsteer3_row(-3, 0, 2, None))
    shared = {
        "prompt": [{"role": "user", "content": "Name a bird."}],
        "responses": ["A robin.", "A chair."],
        "domain": "general",
        "language": "english",
    }
    assert conversion.rows == [
        shared | {"ranks": [1, 2], "strength": 3, "annotator": "annotator1"},
        shared | {"ranks": [1, 1], "annotator": "annotator2"},
        shared | {"ranks": [2, 1], "strength": 2, "annotator": "annotator3"},
    ]
    assert conversion.left_out == Counter({"annotator without a score from -3 to 3": 1})


def test_helpsteer3_with_votes_needs_no_overall_preference(tmp_path: Path):
    conversion = convert_rows_of(
        tmp_path, "helpsteer3", helpsteer3_row(-1) | {"overall_preference": None}
    )
    assert [row["ranks"] for row in conversion.rows] == [[1, 2]]


@pytest.mark.parametrize("preferences", [None, [], [{"score": None}], [None]])
def test_helpsteer3_without_votes_uses_the_overall_preference(tmp_path: Path, preferences):
    conversion = convert_rows_of(
        tmp_path, "helpsteer3", helpsteer3_row() | {"individual_preference": preferences}
    )
    [row] = conversion.rows
    assert (row["ranks"], row["strength"], "annotator" in row) == ([1, 2], 2, False)
