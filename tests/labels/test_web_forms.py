"""The form's fields over HTTP: answers, skips that keep the form, time that goes on, export."""

import json

import pytest

from rlhf.data.rows.load_rated import load_ratings
from rlhf.labels.export import export, rows_of
from rlhf.labels.importing import import_file
from rlhf.labels.records import Candidate
from rlhf.labels.schema import events
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.item_view import is_blank, same_texts
from tests.labels.forms import FORM, span
from tests.labels.web_server import serving

PAIR = Candidate(prompt="When?", responses=("On 4 May.", "Never."), models=("m1", "m2"))


@pytest.fixture
def form_site(tmp_path):
    with serving(tmp_path, [PAIR], web=WebConfig(form=FORM)) as site:
        yield site


def answer(item, **more):
    """A complete form; the response about May gets 3, the other 1, in whatever order shown."""
    texts = [response["text"] for response in item["answers"]]
    may = texts.index("On 4 May.")
    marked = [None, None]
    marked[may] = [span("On 4 May.", "4 May")]
    answers = {
        "helpful": [3 if index == may else 1 for index in range(2)],
        "wrong": marked,
        "topics": ["food"],
        "why": ["clear" if index == may else None for index in range(2)],
    }
    return {"scale": -2 if may == 0 else 2, "answers": answers | more}


def test_answers_go_from_the_page_into_rows_of_a_reward_model(form_site, tmp_path):
    """One item, from the page to the files: columns of rankings, and rows of ratings."""
    ann = form_site.client("ann")
    shown = ann.http.get("/api/form").json()["criteria"]
    assert [one["kind"] for one in shown] == [
        "rating", "choice", "checklist", "spans", "choice", "text",
    ]  # fmt: skip
    item = ann.next()
    ann.submit(item, "key-00000001", **answer(item)).raise_for_status()
    [row] = rows_of(form_site.store, "rankings").rows
    assert row["criteria.helpful"] == [3, 1]
    assert row["criteria.topics"] == ["food"]
    assert row["criteria.wrong"] == [[span("On 4 May.", "4 May")], None]
    assert "criteria" not in row["extra"]
    export(form_site.store, tmp_path / "ratings.jsonl", "ratings")
    rated = load_ratings(str(tmp_path / "ratings.jsonl"), axes=["helpful"]).rows
    assert [(one.completion, dict(one.ratings), one.annotator) for one in rated] == [
        ("On 4 May.", {"helpful": 3.0}, "ann"),
        ("Never.", {"helpful": 1.0}, "ann"),
    ]
    models = [row["model"] for row in rows_of(form_site.store, "ratings").rows]
    assert models == ["m1", "m2"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_exported_answers_are_imported_as_answers(form_site, tmp_path, suffix):
    ann = form_site.client("ann")
    item = ann.next()
    ann.submit(item, "key-00000001", **answer(item)).raise_for_status()
    export(form_site.store, tmp_path / f"r.{suffix}", "rankings")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        import_file(copy, str(tmp_path / f"r.{suffix}"))
        [label], [stored] = copy.labels(), copy.items()
        assert label.extra["criteria"] == form_site.store.labels()[0].extra["criteria"]
        assert not any(name.startswith("criteria.") for name in stored.columns)
        exported = rows_of(copy, "rankings").rows[0]
    assert exported["criteria.helpful"] == [3, 1]


def test_required_answers_are_checked_and_the_draft_keeps_incomplete_ones(form_site):
    ann = form_site.client("ann")
    item = ann.next()
    form = answer(item, helpful=[2, None])
    missing = ann.submit(item, "key-00000001", **form)
    assert (missing.status_code, "helpful of response B" in missing.text) == (422, True)
    ann.post("/api/draft", {"claim": item["claim"], "form": form}).raise_for_status()
    assert ann.next()["draft"]["answers"]["helpful"] == [2, None]
    assert form_site.store.labels() == []


def test_skipped_form_comes_back_whole(site):
    """A typed response is in the log with its skip, and undo fills the form with it."""
    ann = site.client("ann")
    item = ann.next()
    form = {"tiers": [2, 1, None, None], "comment": "odd", "rewrite": "text", "skip_comment": "why"}
    skip = {"claim": item["claim"], "key": "key-00000001", "reason": "other", "seconds": 9.0}
    ann.post("/api/skip", {**skip, "form": form}).raise_for_status()
    with site.store.read() as connection:
        [payload] = connection.execute(events.select()).mappings().all()
    assert payload["payload"]["form"] == form
    undone = ann.post("/api/undo", {"key": "key-00000002"}).json()
    assert (undone["draft"], undone["seconds"]) == (form, 9.0)


def test_seconds_go_on_after_a_reload_and_after_undo(site):
    """14 s by a heartbeat, 20 s by a draft; a shorter time never replaces a longer one."""
    ann = site.client("ann")
    item = ann.next()
    assert item["seconds"] == 0.0
    ann.post("/api/heartbeat", {"claim": item["claim"], "seconds": 14.0}).raise_for_status()
    assert (ann.next()["seconds"], ann.next()["draft"]) == (14.0, {})
    draft = {"claim": item["claim"], "form": {"comment": "x"}, "seconds": 20.0}
    ann.post("/api/draft", draft).raise_for_status()
    ann.post("/api/heartbeat", {"claim": item["claim"], "seconds": 3.0}).raise_for_status()
    again = ann.next()
    assert (again["seconds"], again["draft"]) == (20.0, {"comment": "x"})
    ann.submit(item, "key-00000001").raise_for_status()  # with 3.0 s, as the page measured
    assert ann.post("/api/undo", {"key": "key-00000002"}).json()["seconds"] == 3.0


def test_all_bad_ties_responses_that_have_no_rank(site):
    ann = site.client("ann")
    ann.submit(ann.next(), "key-00000001", both_bad=True).raise_for_status()
    ann.submit(ann.next(), "key-00000002", both_bad=True, tiers=[2, 1, 3, 4]).raise_for_status()
    partly = ann.submit(ann.next(), "key-00000003", both_bad=True, tiers=[1, None, None, None])
    assert partly.status_code == 422
    tied, ranked = site.store.labels()
    assert (list(tied.ranks), tied.extra["all_bad"]) == ([1, 1, 1, 1], True)
    assert [ranked.ranks[i] for i in ranked.order_shown] == [2, 1, 3, 4]
    assert (ranked.extra["all_bad"], "both_bad" in ranked.extra) == (True, False)


def test_page_names_copies_of_a_text_and_responses_that_show_nothing(tmp_path):
    item = Candidate(prompt="p", responses=("x", "\u200b", " x\n"))
    with serving(tmp_path, [item]) as site:
        shown = site.client("ann").next()
    blank = [response["text"] for response in shown["answers"] if response.get("blank")]
    assert blank == ["\u200b"]
    copies = [place for place, r in enumerate(shown["answers"]) if r["text"].strip() == "x"]
    assert [shown["same"][place] for place in copies] == [copies[0]] * 2
    assert same_texts(["a", "b", "a "]) == [0, 1, 0]
    assert [is_blank(text) for text in ("", " \n", "\u200d\ufeff", ".", "\u200b.")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_undo_of_a_skip_by_an_older_page_gives_an_empty_form(site):
    ann = site.client("ann")
    item = ann.next()
    skip = {"claim": item["claim"], "key": "key-00000001", "reason": "other", "seconds": 1.0}
    ann.post("/api/skip", skip).raise_for_status()
    undone = ann.post("/api/undo", {"key": "key-00000002"}).json()
    assert (undone["draft"], json.dumps(undone["prompt"])) == ({}, json.dumps(item["prompt"]))
