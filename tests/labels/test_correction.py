"""Corrections of a label: answers, flags and ratings, checked by the form of the label."""

import pytest

from rlhf.labels.form_versions import add_form
from rlhf.labels.records import Candidate, Label
from rlhf.labels.review import decisions
from rlhf.labels.review.correction import CorrectedFields
from rlhf.labels.web.config import WebConfig
from tests.errors import raises
from tests.labels.forms import FORM, span
from tests.labels.web_server import serving

TRIPLE = Candidate(prompt="When?", responses=("On 4 May.", "Never.", "Soon."))
PASSAGES = [[span("On 4 May.", "4 May")], None, None]
CRITERIA = {
    "helpful": [4, 0, 2],
    "wrong": PASSAGES,
    "topics": ["food"],
    "why": [{"response": 0, "answer": "it has a date"}],
}


@pytest.fixture
def store(sqlite_store):
    """A label in FORM: the first response is the best, the second the worst."""
    sqlite_store.add_candidates([TRIPLE])
    with sqlite_store.write() as connection:
        add_form(connection, FORM)
    extra = {"criteria": CRITERIA, "flags": [[], ["untrue"], []], "form": {"tiers": [1, 3, 2]}}
    sqlite_store.submit(
        Label(
            item_id=1, annotator="ann", ranks=(1, 3, 2), strength=2.0, form_version=1, extra=extra
        )
    )
    return sqlite_store


def correct(store, ranks=(1, 3, 2), **fields):
    [old] = store.labels()
    decisions.correct(store, old.event_id, list(ranks), "misread", CorrectedFields(**fields))
    [new] = store.labels()
    return new


def test_answers_are_replaced_and_the_ranks_and_passages_stay(store):
    """The ranks are the same, so that the strength of the preference stays; the raw form goes."""
    answers = {"helpful": [3, 1, 2], "why": ["it is short", None, None]}
    new = correct(store, answers=answers)
    assert new.extra["criteria"] == {
        "wrong": PASSAGES,
        "helpful": [3, 1, 2],
        "why": [{"response": 0, "answer": "it is short"}],
    }
    assert (new.ranks, new.strength, new.form_version) == ([1, 3, 2], 2.0, 1)
    assert new.extra["flags"] == [[], ["untrue"], []]
    assert new.extra["corrected"]["reason"] == "misread"
    assert "form" not in new.extra


def test_flags_and_overall_ratings_are_replaced_or_removed(store):
    new = correct(store, flags=[["unsafe"], [], []], overall=[7, None, None])
    assert (new.extra["flags"], new.extra["overall"]) == ([["unsafe"], [], []], [7, None, None])
    assert new.extra["criteria"] == CRITERIA
    new = correct(store, flags=[[], [], []], overall=[None, None, None])
    assert not {"flags", "overall"} & set(new.extra)


def test_reason_for_a_response_that_is_no_longer_the_best_is_left_out(store):
    new = correct(store, ranks=(2, 3, 1))
    assert "why" not in new.extra["criteria"]
    assert new.extra["criteria"]["helpful"] == [4, 0, 2]
    assert new.strength == 1.0


def test_reason_stays_where_its_response_is_still_the_best(store):
    assert correct(store, ranks=(1, 2, 3)).extra["criteria"]["why"] == CRITERIA["why"]


def test_required_answer_need_not_be_invented(store):
    """`why` is required of the annotator; the third response becomes the best without one."""
    assert "why" not in correct(store, ranks=(2, 3, 1), answers={}).extra["criteria"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"answers": {"helpful": [9, 0, 0]}}, "helpful"),
        ({"answers": {"helpful": [1, 0]}}, "helpful"),
        ({"answers": {"wrong": [None, None, None]}}, "wrong"),
        ({"flags": [["odd"], [], []]}, "odd"),
        ({"flags": [["unsafe"]]}, "flags"),
        ({"overall": [1]}, "overall"),
    ],
)
def test_fields_that_do_not_fit_the_form_change_nothing(store, fields, name):
    before = store.labels()
    with raises("bad-label", name):
        correct(store, **fields)
    assert store.labels() == before


def test_fields_of_an_unknown_form_are_rejected_and_its_ranks_corrected(sqlite_store):
    sqlite_store.add("p", ["a", "b"], ranks=[1, 2], annotator="ann")
    with raises("not-allowed", "form"):
        correct(sqlite_store, ranks=(2, 1), overall=[1, 2])
    assert correct(sqlite_store, ranks=(2, 1)).ranks == [2, 1]


def test_correction_over_http(tmp_path):
    with serving(tmp_path, [TRIPLE], web=WebConfig(form=FORM)) as site:
        ann, admin = site.client("ann"), site.client("admin")
        item = ann.next()
        answers = {"helpful": [1, 1, 1], "why": ["a", "b", "c"]}
        ann.submit(item, "key-00000001", tiers=[1, 2, 3], answers=answers).raise_for_status()
        [label] = site.store.labels()
        body = {"action": "correct", "id": label.event_id, "reason": "x", "ranks": label.ranks}
        wrong = admin.post("/admin/decide", {**body, "answers": {"helpful": [True, 1, 1]}})
        assert (wrong.status_code, "helpful" in wrong.text) == (422, True)
        right = {"answers": {"helpful": [0, 1, 4]}, "overall": [1, 2, 3], "flags": [[], [], []]}
        admin.post("/admin/decide", {**body, **right}).raise_for_status()
        [corrected] = site.store.labels()
        assert corrected.extra["criteria"] == {"helpful": [0, 1, 4]}
        assert corrected.extra["overall"] == [1, 2, 3]
