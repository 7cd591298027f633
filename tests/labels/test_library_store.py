"""`LabelStore` as a library: add items with labels, read rankings and agreement."""

import json
import math

import numpy as np
import pytest

from rlhf.data.rows.load import load_rankings
from rlhf.labels.export import export
from rlhf.labels.importing import import_file
from rlhf.labels.records import Candidate, Label
from rlhf.labels.shares import Share
from rlhf.labels.store import LabelStore
from tests.errors import raises

PROMPT, RESPONSES = "Name a colour.", ["Red.", "Blue."]


def test_add_makes_the_store_the_item_and_the_label(tmp_path):
    with LabelStore(tmp_path / "new" / "labels.sqlite") as store:
        assert store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann") == 1
        [label] = store.labels()
    assert (label.item_id, label.annotator, label.ranks) == (1, "Ann", [1, 2])
    # Unknown, not invented: the order shown, the time, the guideline.
    assert (label.order_shown, label.seconds, label.guideline_version) == ([], None, 0)


def test_rankings_are_the_rows_that_export_writes(sqlite_store, tmp_path):
    sqlite_store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann", strength=3.0)
    [row] = sqlite_store.rankings()
    assert {key: row[key] for key in ("prompt", "responses", "ranks", "annotator", "strength")} == {
        "prompt": PROMPT,
        "responses": RESPONSES,
        "ranks": [1, 2],
        "annotator": "Ann",
        "strength": 3.0,
    }
    export(sqlite_store, tmp_path / "r.jsonl", "rankings")
    assert [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()] == [row]
    [ranking] = load_rankings(str(tmp_path / "r.jsonl")).rows
    assert (ranking.ranks, ranking.annotator) == ([1, 2], "Ann")


def test_add_equals_the_import_of_the_same_row(sqlite_store, tmp_path):
    messages = [{"role": "user", "content": PROMPT}]
    row = {"prompt": messages, "responses": RESPONSES, "ranks": [1, 1], "annotator": "Ann"}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    with LabelStore(tmp_path / "imported.sqlite") as imported:
        import_file(imported, str(tmp_path / "r.jsonl"))
        [expected] = imported.rankings()
    sqlite_store.add(messages, RESPONSES, ranks=[1, 1], annotator="Ann")
    [added] = sqlite_store.rankings()
    expected.pop("labelled_at"), added.pop("labelled_at")
    assert added == expected


def test_same_label_is_added_once_and_again_after_undo(sqlite_store):
    first = sqlite_store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann")
    assert sqlite_store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann") == first
    assert len(sqlite_store.labels()) == 1
    sqlite_store.undo(sqlite_store.labels()[0].event_id)
    assert sqlite_store.labels() == []
    sqlite_store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann")
    sqlite_store.add(PROMPT, RESPONSES, ranks=[2, 1], annotator="Bob")
    assert [label.annotator for label in sqlite_store.labels()] == ["Ann", "Bob"]


def test_gold_item_takes_no_label_that_training_would_read(each_store):
    each_store.add_gold([Candidate(prompt=PROMPT, responses=RESPONSES)], [(1, 2)])
    with raises("not-allowed", "item 1", "gold item"):
        each_store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann")
    with raises("not-allowed", "item 1"):
        each_store.submit(Label(item_id=1, annotator="Ann", ranks=[1, 2]))
    assert each_store.labels(with_excluded=True) == []
    each_store.submit(Label(item_id=1, annotator="Ann", ranks=[1, 2], purpose="gold"))
    assert [label.purpose for label in each_store.labels()] == ["gold"]
    assert each_store.rankings() == []


def test_item_without_ranks_waits_to_be_ranked(sqlite_store):
    assert sqlite_store.add(PROMPT, RESPONSES, models=["m1", "m2"]) == 1
    assert sqlite_store.rankings() == []
    [item] = sqlite_store.items()
    assert (item.prompt, item.responses, item.models) == (PROMPT, tuple(RESPONSES), ("m1", "m2"))


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        ({"responses": ["Red."], "ranks": [1]}, "bad-row", "1 response;"),
        ({"ranks": [1, 2, 3]}, "bad-label", [1, 2, 3]),
        ({"ranks": [0, 1]}, "bad-label", [0, 1]),
        ({"ranks": [1, 2], "annotator": ""}, "bad-label", "annotator"),
        ({"models": ["m1"]}, "bad-row", "1 model;"),
        ({"models": "m1"}, "bad-value", "models"),
        ({"responses": "ab"}, "bad-value", "'ab'"),
        ({"responses": ["Red.", None]}, "bad-value", "None"),
        ({"ranks": "12"}, "bad-value", "'12'"),
        ({"ranks": [1.5, 2]}, "bad-value", 1.5),
        ({"ranks": [True, 2]}, "bad-value", "True"),
        ({"ranks": np.array([1.0, 2.0])}, "bad-value", "ranks"),
        ({"ranks": [1, 2], "annotator": None}, "bad-value", "annotator=None"),
        ({"ranks": [1, 2], "strength": math.nan}, "bad-value", "strength=nan"),
        ({"ranks": [1, 2], "strength": -1}, "bad-value", "strength=-1"),
        ({"ranks": [1, 2], "strength": "strong"}, "bad-value", "'strong'"),
        ({"prompt": " "}, "bad-value", "prompt"),
        ({"prompt": [{"role": "user", "content": ""}]}, "bad-value", "prompt"),
        ({"prompt": [{"role": "user"}]}, "bad-value", "prompt"),
        ({"prompt": None}, "bad-row", "prompt"),
        ({"prompt": [{"role": "narrator", "content": "Hi"}]}, "bad-row", "narrator"),
        ({"prompt": 3}, "bad-row", "int"),
    ],
)
def test_unfit_arguments_raise_and_add_nothing(sqlite_store, arguments, code, name):
    with raises(code, name):
        sqlite_store.add(**{"prompt": PROMPT, "responses": RESPONSES} | arguments)
    assert sqlite_store.items() == []


@pytest.mark.parametrize("ranks", [np.array([1, 2]), [np.int64(1), np.int32(2)]])
def test_numpy_ranks_and_strength_are_stored_as_numbers(sqlite_store, ranks):
    sqlite_store.add(PROMPT, RESPONSES, ranks=ranks, annotator="Ann", strength=np.float32(2))
    [row] = sqlite_store.rankings()
    assert (row["ranks"], row["strength"]) == ([1, 2], 2.0)


def test_agreement_by_value(sqlite_store):
    """Two annotators, two items of two responses: the same order once, the opposite order once.

    Pairs: 1 of 2 decided the same way. Alpha: 4 units of 2 values, 8 values, four 1s and four 2s;
    the second item's two units disagree. Observed 4 d², expected 2 * 4 * 4 / 7 d² = 32/7 d²:
    1 - 4 / (32/7) = 0.125.
    """
    for prompt, ranks in (("p", [1, 2]), ("q", [2, 1])):
        sqlite_store.add(prompt, ["a", "b"], ranks=[1, 2], annotator="Ann")
        sqlite_store.add(prompt, ["a", "b"], ranks=ranks, annotator="Bob")
    agreement = sqlite_store.agreement()
    assert agreement.pairs == Share(0.5, 2)
    assert agreement.by_annotators["Ann"]["Bob"] == Share(0.5, 2)
    assert agreement.alpha.value == pytest.approx(0.125)
    assert (agreement.alpha.n, agreement.alpha.low <= 0.125 <= agreement.alpha.high) == (2, True)


def test_agreement_of_one_annotator_is_nan(sqlite_store):
    sqlite_store.add(PROMPT, RESPONSES, ranks=[1, 2], annotator="Ann")
    agreement = sqlite_store.agreement()
    numbers = [agreement.alpha.value, agreement.alpha.low, agreement.alpha.high]
    assert all(map(math.isnan, [*numbers, agreement.pairs.value]))
    assert (agreement.alpha.n, agreement.pairs.n) == (0, 0)
    assert str(agreement).startswith("not enough labels")


def test_closed_store_raises(tmp_path):
    store = LabelStore(tmp_path / "l.sqlite")
    store.close()
    store.close()
    for call in (store.items, store.rankings, store.agreement, store.serving_lock):
        with raises("bad-store", tmp_path / "l.sqlite"):
            call()
    with raises("bad-store", "closed"):
        store.add(PROMPT, RESPONSES)
    assert LabelStore(tmp_path / "l.sqlite").items() == []


def test_location_below_a_file_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with raises("bad-store", tmp_path / "file" / "l.sqlite"):
        LabelStore(tmp_path / "file" / "l.sqlite")
