"""Versions of the form: stored with each label, exported, and kept apart from other stores."""

import json

import pytest

from rlhf.labels.cli import main
from rlhf.labels.criteria import parse_criteria
from rlhf.labels.export import export, rows_of
from rlhf.labels.form_config import FormConfig, load_form, shipped_forms
from rlhf.labels.form_versions import add_form, form_of, forms_of
from rlhf.labels.importing import import_file
from rlhf.labels.records import Candidate, Label
from rlhf.labels.store import LabelStore
from rlhf.labels.web.answer_view import answer_rows
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import WebConfig
from tests.errors import raises
from tests.labels.forms import FORM, span
from tests.labels.web_server import serving

PAIR = Candidate(prompt="When?", responses=("On 4 May.", "Never."))
PAIR_2 = Candidate(prompt="Who?", responses=("Ann", "Bob"))


def form_with(**criterion) -> FormConfig:
    return FormConfig(criteria=parse_criteria([{"name": "good", "kind": "rating", **criterion}]))


def add(store, form) -> int:
    with store.write() as connection:
        return add_form(connection, form)


def test_edited_form_is_a_new_version_and_a_known_one_keeps_its_own(each_store):
    first, second = form_with(high=5), form_with(high=7)
    assert [add(each_store, one) for one in (first, second, first)] == [1, 2, 1]
    with each_store.read() as connection:
        assert form_of(connection, 2).criteria[0].answer.high == 7
        with raises("unknown-name", 3):
            form_of(connection, 3)


@pytest.mark.parametrize("name", [None, *shipped_forms()])
def test_stored_form_equals_the_one_that_was_served(sqlite_store, name):
    """Its settings as the page reads them are the same, so storing it again adds no version."""
    version = add(sqlite_store, load_form(name) if name else FormConfig())
    with sqlite_store.read() as connection:
        stored = forms_of(connection)[version]
    assert add(sqlite_store, stored) == version


def test_label_records_the_form_and_an_old_page_is_told(tmp_path):
    """The server gets another form: the old page's label is rejected once, and says why."""
    forms = [form_with(high=5), form_with(high=7)]
    with serving(tmp_path, [PAIR, PAIR_2], web=WebConfig(form=forms[0])) as site:
        ann = site.client("ann")
        assert ann.http.get("/api/form").json()["version"] == 1
        item = ann.submit(ann.next(), "key-00000001").json()  # an old client names no version
        site.app._app = create_app(site.queue, WebConfig(form=forms[1]))._app
        assert ann.http.get("/api/form").json()["version"] == 2
        assert ann.next()["form"] == 2
        body = {"claim": item["claim"], "key": "key-00000002", "seconds": 3.0}
        body["form"] = {"scale": 1, "answers": {"good": [7, 1]}}
        reply = ann.post("/api/submit", {**body, "form_version": 1})
        assert (reply.status_code, "form has changed" in reply.text) == (409, True)
        ann.post("/api/submit", {**body, "form_version": 2}).raise_for_status()
        assert [label.form_version for label in site.store.labels()] == [1, 2]


@pytest.fixture
def exported(tmp_path):
    """A store whose label has version 2 of the guideline and of the form, and its rankings."""
    with LabelStore(tmp_path / "first.sqlite", create=True) as store:
        for text in ("Be fair.", "Be kind."):
            store.add_guideline(text)
        for form in (form_with(high=5), form_with(high=7)):
            add(store, form)
        [item] = store.add_candidates([PAIR])
        extra = {"criteria": {"good": [7, 1]}}
        label = Label(item_id=item, annotator="ann", ranks=(1, 2), extra=extra)
        for purpose in ("label", "repeat"):
            versions = {"guideline_version": 2, "form_version": 2}
            store.submit(Label(**{**vars(label), **versions, "purpose": purpose}))
        export(store, tmp_path / "r.jsonl", "rankings")
        yield store
    assert (tmp_path / "r.jsonl").exists()


def versions(store) -> list[tuple[int, int]]:
    return [(label.guideline_version, label.form_version) for label in store.labels()]


def test_export_has_both_versions_and_their_hashes(exported, tmp_path):
    row = json.loads((tmp_path / "r.jsonl").read_text())
    assert (row["guideline_version"], row["form_version"]) == (2, 2)
    [repeat] = row["repeats"]
    assert repeat["form_sha256"] == row["form_sha256"] != row["guideline_sha256"]
    for kind in ("pairs", "ratings"):
        for row in rows_of(exported, kind).rows:
            assert (row["guideline_version"], row["form_version"]) == (2, 2)
    events = rows_of(exported, "events").rows
    assert {row["form_version"] for row in events} == {2}
    card = (tmp_path / "r.jsonl.md").read_text()
    assert "## Form, version 2 (2 labels)" in card
    assert "| `good` | rating | response |" in card
    assert "| `criteria.good` | the answer to this criterion of the form |" in card


def test_import_into_another_store_takes_the_numbers_of_the_same_content(exported, tmp_path):
    """There the guideline "Be kind." is version 1 and the form with 7 steps version 3."""
    with LabelStore(tmp_path / "other.sqlite", create=True) as other:
        other.add_guideline("Be kind.")
        for high in (3, 5, 7):
            add(other, form_with(high=high))
        import_file(other, str(tmp_path / "r.jsonl"))
        assert versions(other) == [(1, 3), (1, 3)]
        assert "versions_elsewhere" not in other.labels()[0].extra
    import_file(exported, str(tmp_path / "r.jsonl"))
    assert versions(exported) == [(2, 2), (2, 2)]  # nothing was added


def test_import_does_not_take_a_number_of_another_store_for_its_own(exported, tmp_path):
    """The other store has a version 2 of both, with other contents."""
    with LabelStore(tmp_path / "other.sqlite", create=True) as other:
        for text in ("One", "Two"):
            other.add_guideline(text)
        for high in (2, 3):
            add(other, form_with(high=high))
        import_file(other, str(tmp_path / "r.jsonl"))
        assert versions(other) == [(0, 0), (0, 0)]
        elsewhere = other.labels()[0].extra["versions_elsewhere"]
        assert (elsewhere["guideline_version"], elsewhere["form_version"]) == (2, 2)
        assert len(elsewhere["form_sha256"]) == 64
        [row] = rows_of(other, "rankings").rows
        assert (row["form_version"], row["form_sha256"]) == (0, None)
        assert row["extra"]["versions_elsewhere"] == elsewhere


def test_numbers_of_an_older_export_without_hashes_are_not_trusted(sqlite_store, tmp_path):
    sqlite_store.add_guideline("Be fair.")
    row = {"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2], "guideline_version": 1}
    (tmp_path / "old.jsonl").write_text(json.dumps(row) + "\n")
    import_file(sqlite_store, str(tmp_path / "old.jsonl"))
    [label] = sqlite_store.labels()
    assert label.guideline_version == 0
    assert label.extra["versions_elsewhere"] == {"guideline_version": 1, "guideline_sha256": None}


def test_command_imports_a_form(tmp_path, capsys):
    store = ["--store", str(tmp_path / "s.sqlite")]
    assert main(["import", *store, "--form", "helpsteer"]) == 0
    assert "form version 1: helpsteer" in capsys.readouterr().out
    with raises("bad-config-file", "nothing"):
        main(["import", *store, "--form", "nothing"])


def answered(form_version: int, **answers) -> Label:
    return Label(
        item_id=1,
        annotator="ann",
        ranks=(1, 2),
        form_version=form_version,
        extra={"criteria": answers},
    )


ANSWERS = {
    "helpful": [3, 0],
    "tone": [None, "rude"],
    "rubric": [{"It names a date.": True, "It is short.": False}, None],
    "wrong": [[span("On 4 May.", "4 May")], None],
    "topics": ["food", "law"],
    "why": [{"response": 0, "answer": "it answers"}],
}


def test_answers_are_shown_as_texts_of_their_form(sqlite_store):
    sqlite_store.add_candidates([PAIR])
    version = add(sqlite_store, FORM)
    sqlite_store.submit(answered(version, **ANSWERS))
    with sqlite_store.read() as connection:
        forms = forms_of(connection)
    [label] = sqlite_store.labels()
    rows = {row.title: row.of_responses or row.of_item for row in answer_rows(label, forms)}
    assert rows == {
        "helpful": ["3", "0"],
        "tone": ["", "rude"],
        "rubric": ["yes: It names a date.\nno: It is short.", ""],
        "wrong": ["untrue: 4 May", ""],
        "topics": "food, law",
        "why (best)": ["it answers", ""],
    }


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ([], ["1", "3"]),
        (["bad", "good"], ["1, bad", "3, good"]),
        (["a", "b", "c"], ["1, a", "3, c"]),
    ],
)
def test_rating_is_shown_with_its_word(sqlite_store, words, texts):
    form = form_with(high=3, words=words)
    sqlite_store.add_candidates([PAIR])
    sqlite_store.submit(answered(1, good=[1, 3]))
    [row] = answer_rows(sqlite_store.labels()[0], {1: form})
    assert row.of_responses == texts


def test_item_page_shows_labels_of_an_old_and_of_an_unknown_form(tmp_path):
    """The server has another form by now; a label from elsewhere has answers without one."""
    old = form_with(high=3, question="How <b>good</b> is it?", words=["bad", "fine", "good"])
    with serving(tmp_path, [PAIR], web=WebConfig(form=FORM)) as site:
        version = add(site.store, old)
        site.store.submit(answered(version, good=[3, 1]))
        site.store.submit(answered(0, **ANSWERS))
        page = site.client("admin").http.get("/admin/items/1").text
    assert f"form {version}" in page
    assert "3, good" in page
    assert "How &lt;b&gt;good&lt;/b&gt; is it?" in page
    assert "it answers" in page
    assert "food" in page
