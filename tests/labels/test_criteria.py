"""The form's criteria: how a form declares them, and how answers are checked and exported."""

import pytest

from rlhf.labels.answers import (
    answer_columns,
    answers_of_columns,
    asked_responses,
    by_response,
    ratings_of,
    stored_answers,
)
from rlhf.labels.criteria import Checklist, Choice, Criterion, Rating, Spans, Text, parse_criteria
from rlhf.labels.form_config import FormConfig, load_form, shipped_forms
from tests.errors import raises
from tests.labels.forms import FORM, span

TEXTS = ("<think>\nhm 🙂\n</think>\n\nOn 4 May. 🙂 It rains.", "No.")
ORDER = (1, 0)  # the second stored response is shown first
WHY = [None, "x"]  # the first stored response is the best, and is shown second


def stored(ranks=(1, 2), **answers):
    return stored_answers({"helpful": [4, 0], **answers}, FORM.criteria, ORDER, ranks, TEXTS)


def test_form_declares_each_kind_of_criterion():
    assert [type(one.answer) for one in FORM.criteria] == [
        Rating, Choice, Checklist, Spans, Choice, Text,
    ]  # fmt: skip
    assert [one.about for one in FORM.criteria] == ["response"] * 4 + ["item", "best"]
    assert FORM.marks_passages


@pytest.mark.parametrize(
    ("entry", "code", "names"),
    [
        ({"name": "x"}, "bad-value", ["kind"]),
        ({"name": "x", "kind": "stars"}, "bad-value", ["stars", "rating"]),
        ({"name": "x", "kind": "rating", "options": ["a"]}, "unknown-key", ["x", "options"]),
        ({"name": "Two words", "kind": "text"}, "bad-value", ["Two words"]),
        ({"name": "overall", "kind": "rating"}, "bad-value", ["overall"]),
        ({"name": "x", "kind": "text", "about": "worse"}, "bad-value", ["worse", "worst"]),
        ({"name": "x", "kind": "text", "required": "no"}, "bad-value", ["required"]),
        ({"name": "x", "kind": "rating", "low": 1, "high": 10}, "bad-value", ["10"]),
        ({"name": "x", "kind": "rating", "low": True, "high": 5}, "bad-value", ["True"]),
        ({"name": "x", "kind": "rating", "words": ["a", "b", "c"]}, "bad-value", ["words", "5"]),
        ({"name": "x", "kind": "choice", "options": ["one"]}, "bad-value", ["options"]),
        ({"name": "x", "kind": "choice", "options": ["a", "a"]}, "bad-value", ["twice"]),
        ({"name": "x", "kind": "choice", "options": "ab"}, "bad-value", ["options"]),
        (
            {"name": "x", "kind": "choice", "options": ["a", "b"], "several": "no"},
            "bad-value",
            ["several"],
        ),
        ({"name": "x", "kind": "checklist", "statements": []}, "bad-value", ["statements"]),
        (
            {"name": "x", "kind": "spans", "options": ["a"], "about": "item"},
            "bad-value",
            ["response"],
        ),
    ],
)
def test_criterion_that_cannot_be_used_names_the_key(entry, code, names):
    with raises(code, *names):
        parse_criteria([entry])


def test_criterion_given_twice_and_criteria_without_a_list_are_errors():
    entry = {"name": "x", "kind": "text"}
    with raises("repeated-key", "x"):
        parse_criteria([entry, entry])
    with raises("bad-value", "criteria"):
        parse_criteria({"x": "text"})


def test_forms_of_the_package_load_by_name(tmp_path):
    assert shipped_forms() == ["helpsteer", "reasons", "safety"]
    axes = load_form("helpsteer").criteria
    names = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
    assert [one.name for one in axes] == names
    assert {(one.answer.low, one.answer.high) for one in axes} == {(0, 4)}
    assert load_form("safety").marks_passages
    assert {one.about for one in load_form("reasons").criteria} == {"best", "worst", "item"}
    with raises("bad-config-file", "nothing.yaml", "helpsteer"):
        load_form("nothing.yaml")


def test_answers_are_stored_in_the_order_of_the_stored_responses():
    """Shown first is the second response; it got the 4, and the first one the 0."""
    answers = stored(tone=["kind", None], topics=["food", "maths"], why=[None, " clear "])
    assert answers == {
        "helpful": [0, 4],
        "tone": [None, "kind"],
        "topics": ["food", "maths"],
        "why": [{"response": 0, "answer": "clear"}],
    }


def test_passages_count_the_characters_of_the_stored_response():
    """The page shows the text after the thought and counts an emoji as one character."""
    shown = "On 4 May. 🙂 It rains."
    marked = [span(shown, "It rains", "unclear"), span(shown, "4 May")]
    [first, second] = stored(wrong=[None, marked], why=WHY)["wrong"][0]
    assert (first["option"], second["option"]) == ("untrue", "unclear")
    for one in (first, second):
        assert TEXTS[0][one["start"] : one["end"]] == one["text"]


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"helpful": [4, None]}, "helpful of response B"),
        ({"helpful": None}, "helpful of response A"),
        ({"helpful": [4]}, "helpful"),
        ({"helpful": [5, 0]}, "helpful"),
        ({"helpful": [True, 0]}, "helpful"),
        ({"helpful": ["4", 0]}, "helpful"),
        ({"tone": ["kind", "wild"]}, "tone"),
        ({"topics": ["food", "food"]}, "topics"),
        ({"topics": "food"}, "topics"),
        ({"rubric": [{"It is short.": True}, None]}, "rubric"),
        ({"wrong": [[span("No.", "No") | {"end": 3}], None]}, "wrong"),
        ({"wrong": [[span("No.", "No", "odd")], None]}, "wrong"),
        ({"why": [None, "  "]}, "why of response B"),
        ({"why": ["the worse one has a reason", None]}, "why of response B"),
        ({"why": "one for all"}, "why"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_answers_that_do_not_fit_their_criterion_are_rejected(answers, name):
    with raises("bad-label", name):
        stored(**{"why": WHY, **answers})


def test_reason_for_the_best_is_not_required_where_all_are_tied():
    assert stored(ranks=(1, 1)) == {"helpful": [0, 4]}


def test_reason_stays_with_its_response_when_the_ranking_changes():
    """Both responses have a reason to be the best; the one that is not the best is left out."""
    reasons = ["shown first", "shown second"]
    assert stored(ranks=(1, 2), why=reasons)["why"] == [{"response": 0, "answer": "shown second"}]
    assert stored(ranks=(2, 1), why=reasons)["why"] == [{"response": 1, "answer": "shown first"}]
    assert "why" not in stored(ranks=(1, 1), why=reasons)


def test_every_response_that_is_tied_for_the_best_or_the_worst_is_asked_for():
    assert asked_responses("best", (2, 1, 1, 4)) == [1, 2]
    assert asked_responses("worst", (4, 1, 2, 4)) == [0, 3]
    assert asked_responses("worst", (1, 1)) == []
    assert asked_responses("response", (1, 1)) == [0, 1]


def test_stored_answers_are_read_by_response():
    assert by_response([{"response": 2, "answer": "x"}], 3) == [None, None, "x"]
    assert by_response([1, None, 2], 3) == [1, None, 2]
    assert by_response(["of", "item"], 3) is None
    assert by_response("of the item", 3) is None


def test_columns_restore_the_answers():
    answers = stored(tone=["kind", None], why=WHY)
    columns = answer_columns({"criteria": answers, "comment": "x"})
    assert columns["criteria.helpful"] == [0, 4]
    assert answers_of_columns({"prompt": "p", "criteria.gone": None, **columns}) == answers


def test_ratings_and_rubrics_are_axes_of_each_response():
    """One of two statements holds: 0.5. A choice is no rating; a missing rating no key."""
    rubric = {"It names a date.": True, "It is short.": False}
    extra = {
        "criteria": {"helpful": [0, None], "tone": ["kind", None], "rubric": [None, rubric]},
        "overall": [7, None],
    }
    assert ratings_of(extra, 2) == [{"helpful": 0.0, "overall": 7.0}, {"rubric": 0.5}]
    assert ratings_of({"criteria": {"of_item": 3}}, 2) == [{}, {}]
    of_best = [{"response": index, "answer": 3} for index in range(2)]  # two that are tied
    assert ratings_of({"criteria": {"of_best": of_best}}, 2) == [{}, {}]


def test_form_without_criteria_takes_no_answers():
    with raises("bad-label", "helpful"):
        stored_answers({"helpful": [1, 2]}, FormConfig().criteria, ORDER, (1, 2), ())
    assert Criterion(name="x", answer=Text()).kind == "text"
