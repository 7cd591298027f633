"""Rows of other published preference datasets become these rankings and no others."""

from collections import Counter
from pathlib import Path

import pytest

from tests.data.source_formats.published_rows import (
    HH_EARLY_DIFFERENCE,
    HH_PAIR,
    HH_SHORTER,
    completion,
    convert_rows_of,
    rewardbench2_row,
    ultrafeedback_row,
)
from tests.errors import raises


def test_ultrafeedback_ranks_by_the_mean_rating(tmp_path: Path):
    """Means 4.5, 2.75, 4.5 and 1.25; `overall_score` does not count."""
    row = ultrafeedback_row(
        completion("a", "5", "4", "4", "5"),
        completion("b", "2", "3", "3", "3"),
        completion("c", "4", "5", "5", "4"),
        completion("d", "1", "1", "1", "2"),
    )
    conversion = convert_rows_of(tmp_path, "ultrafeedback", row)
    assert conversion.rows == [
        {
            "prompt": "Name a bird.",
            "responses": ["a", "b", "c", "d"],
            "ranks": [1, 3, 1, 4],
            "models": ["m"] * 4,
        }
    ]
    assert conversion.lines("ultrafeedback") == [
        "columns not used: source, models, correct_answers, incorrect_answers",
        "overall_score and the system prompt of each response are not used",
    ]


def test_ultrafeedback_uses_axes_on_which_all_are_rated(tmp_path: Path):
    """Without honesty a has 5, 1, 1 and b 1, 5, 5: b is better. With it a would have 5, 5, 1, 1."""
    row = ultrafeedback_row(
        completion("a", "5", "5", "1", "1"),
        completion("b", "1", "N/A", "5", "5"),
        completion("c", "N/A", "N/A", "N/A", "N/A"),
        completion("", "5", "5", "5", "5"),
        completion(None, "5", "5", "5", "5"),
    )
    conversion = convert_rows_of(tmp_path, "ultrafeedback", row)
    assert (conversion.rows[0]["responses"], conversion.rows[0]["ranks"]) == (["a", "b"], [2, 1])
    assert conversion.left_out == Counter(
        {
            "response without text": 2,
            "response without a rating": 1,
            "axis on which not all responses of its row are rated": 1,
        }
    )


@pytest.mark.parametrize(
    "completions",
    [
        [],
        [completion("a", "1", "1", "1", "1")],
        [completion("a", "1", None, None, None), completion("b", None, "1", None, None)],
        [None],
    ],
    ids=["none", "one", "no common axis", "null"],
)
def test_ultrafeedback_rows_without_a_comparison_are_bad(tmp_path, completions):
    with raises("bad-row", "in.jsonl:1", "completions"):
        convert_rows_of(tmp_path, "ultrafeedback", ultrafeedback_row(*completions))


def test_rewardbench2_has_one_right_response_or_several_tied(tmp_path: Path):
    conversion = convert_rows_of(
        tmp_path,
        "rewardbench2",
        rewardbench2_row("Focus", ["Red."], ["A cup.", "A dog.", "Ten."], 1),
        rewardbench2_row("Ties", ["Red.", "Blue."], ["A cup.", "Ten."], 2),
    )
    assert conversion.rows == [
        {
            "prompt": "Name a colour.",
            "responses": ["Red.", "A cup.", "A dog.", "Ten."],
            "ranks": [1, 2, 2, 2],
            "id": "17",
            "subset": "Focus",
        },
        {
            "prompt": "Name a colour.",
            "responses": ["Red.", "Blue.", "A cup.", "Ten."],
            "ranks": [1, 1, 3, 3],
            "id": "17",
            "subset": "Ties",
        },
    ]
    assert conversion.lines("rewardbench2") == ["columns not used: models, additional_metadata"]
    with raises("bad-row", "num_correct is 2"):
        convert_rows_of(tmp_path, "rewardbench2", rewardbench2_row("Ties", ["Red."], ["Ten."], 2))


@pytest.mark.parametrize(
    ("scores", "ranks"), [((0.75, -0.75), [1, 2]), ((0.0, 0.0), [1, 1]), ((-1.0, 1.0), [2, 1])]
)
def test_webgpt_orders_by_the_sign_of_the_scores(tmp_path: Path, scores, ranks):
    row = {
        "question": {"dataset": "eli5", "id": "x1", "full_text": "Why is the sky blue?"},
        "quotes_0": {"title": ["t"], "extract": ["e"]},
        "answer_0": "It scatters light [1].",
        "tokens_0": {"prefix": [1], "completion": [2]},
        "score_0": scores[0],
        "quotes_1": {"title": [], "extract": []},
        "answer_1": "It is paint.",
        "tokens_1": {"prefix": [1], "completion": [3]},
        "score_1": scores[1],
    }
    conversion = convert_rows_of(tmp_path, "webgpt", row)
    responses = ["It scatters light [1].", "It is paint."]
    assert conversion.rows == [
        {"prompt": "Why is the sky blue?", "responses": responses, "ranks": ranks}
    ]
    assert "columns not used: quotes_0, tokens_0, quotes_1, tokens_1" in conversion.lines("webgpt")


@pytest.mark.parametrize(("label", "ranks"), [(1, [1, 2]), (0, [2, 1])])
def test_shp_prefers_a_by_label_1(tmp_path: Path, label: int, ranks: list[int]):
    row = {
        "post_id": "abc",
        "domain": "askbaking_train",
        "upvote_ratio": 0.98,
        "history": "How long does bread keep?",
        "c_root_id_A": "a1",
        "c_root_id_B": "b1",
        "created_at_utc_A": 1,
        "created_at_utc_B": 2,
        "score_A": 34,
        "score_B": 17,
        "human_ref_A": "Three days.",
        "human_ref_B": "It depends.",
        "labels": label,
        "seconds_difference": 1.0,
        "score_ratio": 2.0,
    }
    conversion = convert_rows_of(tmp_path, "shp", row)
    assert conversion.rows == [
        {
            "prompt": "How long does bread keep?",
            "responses": ["Three days.", "It depends."],
            "ranks": ranks,
            "strength": 2.0,
        }
    ]
    assert conversion.unused[:3] == ["post_id", "domain", "upvote_ratio"]


def test_hh_transcripts_that_differ_early_are_dropped(tmp_path: Path):
    """Space around a turn does not count as a difference."""
    conversion = convert_rows_of(
        tmp_path, "hh", HH_EARLY_DIFFERENCE, HH_SHORTER, HH_PAIR, dropping=True
    )
    assert [(row["chosen"], row["rejected"]) for row in conversion.rows] == [
        ("A robin.", "A chair.")
    ]
    assert conversion.lines("hh") == [
        "dropped: 2 x no common prompt: chosen and rejected differ before their last responses"
    ]
    with raises("bad-row", "in.jsonl:1", "line 2"):
        convert_rows_of(tmp_path, "hh", HH_EARLY_DIFFERENCE, HH_SHORTER, HH_PAIR)


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": HH_PAIR["chosen"] + "\n\nHuman: Thanks.", "rejected": HH_PAIR["chosen"]},
        {
            "prompt": "\n\nHuman: A bird?\n\nAssistant:",
            "chosen": " A.\n\nHuman: B",
            "rejected": "C",
        },
    ],
)
def test_hh_response_with_further_turns_is_bad(tmp_path: Path, row: dict):
    with raises("bad-row", "in.jsonl:1", "chosen or rejected"):
        convert_rows_of(tmp_path, "hh", row)


def test_step_labels_are_unsupported(tmp_path: Path):
    with raises("unsupported", "prm800k"):
        convert_rows_of(
            tmp_path, "prm800k", {"labeler": "x", "question": {}, "label": {"steps": []}}
        )
