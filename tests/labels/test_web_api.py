"""The label page over HTTP: forms become labels, drafts and skips; exports and forms."""

import json
import re

import pytest

from rlhf.labels.form_config import FormConfig, load_form
from rlhf.labels.records import Candidate
from rlhf.labels.web.live_sampling import LiveSampling
from tests.errors import raises
from tests.labels.web_server import serving

PAIR = Candidate(prompt="p", responses=("first", "second"), models=("m1", "m2"))
# Every route of the app; a test checks that a new route is added here.
ROUTES = [
    ("GET", "/"),
    ("GET", "/api/form"),
    ("GET", "/api/guideline"),
    ("POST", "/api/next"),
    ("POST", "/api/heartbeat"),
    ("POST", "/api/draft"),
    ("POST", "/api/submit"),
    ("POST", "/api/skip"),
    ("POST", "/api/undo"),
    ("POST", "/api/ask"),
    ("GET", "/api/ask"),
    ("POST", "/logout"),
    ("GET", "/admin"),
    ("POST", "/admin/invite"),
    ("POST", "/admin/finish"),
    ("GET", "/admin/export/rankings"),
]


def test_ranking_is_stored_in_the_order_of_the_stored_responses(site):
    """Tiers 2 1 1 4 in the order shown: competition ranks 3 1 1 4, put into the stored order."""
    ann = site.client("ann")
    item = ann.next()
    form = {
        "tiers": [2, 1, 1, 4],
        "flags": [["untrue"], [], [], []],
        "overall": [None, 7, None, 1],
        "comment": " hm ",
        "rewrite": "a better one",
    }
    state = ann.submit(item, "key-00000001", **form).raise_for_status().json()
    assert (state["kind"], state["done"], state["left"]) == ("submit", 1, 3)
    [label] = site.store.labels()
    order = list(label.order_shown)
    assert [label.ranks[index] for index in order] == [3, 1, 1, 4]
    assert [label.extra["flags"][index] for index in order] == [["untrue"], [], [], []]
    assert [label.extra["overall"][index] for index in order] == [None, 7, None, 1]
    assert (label.extra["comment"], label.extra["rewrite"]) == ("hm", "a better one")
    assert (label.seconds, label.strength) == (3.0, 1.0)
    texts = [response["text"] for response in item["answers"]]
    assert texts == [f"response 0.{index}" for index in order]


@pytest.mark.parametrize(
    ("form", "ranks_shown", "strength"),
    [
        ({"scale": -4}, [1, 2], 4.0),
        ({"scale": 2}, [2, 1], 2.0),
        ({"scale": 0}, [1, 1], 1.0),
        ({"both_bad": True}, [1, 1], 1.0),
    ],
)
def test_two_responses_are_compared_on_a_scale(tmp_path, form, ranks_shown, strength):
    with serving(tmp_path, [PAIR]) as site:
        ann = site.client("ann")
        ann.submit(ann.next(), "key-00000001", **form).raise_for_status()
        [label] = site.store.labels()
    assert [label.ranks[index] for index in label.order_shown] == ranks_shown
    assert label.strength == strength
    assert label.extra.get("both_bad", False) is form.get("both_bad", False)
    if "scale" in form:  # its sign follows the stored order, as the ranks do
        first_better = (label.ranks[0] < label.ranks[1]) - (label.ranks[0] > label.ranks[1])
        assert label.extra["scale"] == -abs(form["scale"]) * first_better


def test_model_names_never_reach_the_browser(site):
    ann = site.client("ann")
    bodies = [ann.http.get("/").text, ann.http.get("/api/form").text]
    while (item := ann.next())["claim"] is not None:
        bodies += [json.dumps(item), ann.submit(item, f"key-{item['claim']:08}").text]
    assert len(site.store.labels()) == 4
    assert not any("hidden-model" in text for text in bodies)


def test_thought_is_sent_separately_from_the_response(tmp_path):
    """The page folds it; the label is stored for the complete response."""
    complete = "<think>\nA **pet**.\n</think>\n\nA dog."
    item = Candidate(prompt="Pet?", responses=(complete, "A cat."))
    with serving(tmp_path, [item]) as site:
        responses = site.client("ann").next()["answers"]
    [dog] = [response for response in responses if response["text"] == "A dog."]
    assert dog["thought"]["text"] == "A **pet**."
    assert "<strong>pet</strong>" in dog["thought"]["html"]
    assert "pet" not in dog["html"]
    [cat] = [response for response in responses if response is not dog]
    assert set(cat) == {"text", "html"}


def test_drafts_and_undone_labels_fill_the_form(site):
    ann = site.client("ann")
    item = ann.next()
    draft = {"tiers": [1, None, 2, None], "comment": "not done"}
    assert ann.post("/api/draft", {"claim": item["claim"], "form": draft}).json() == {"saved": True}
    assert ann.next()["draft"] == draft
    ann.submit(item, "key-00000001", tiers=[1, 2, 2, 4], comment="done").raise_for_status()
    undone = ann.post("/api/undo", {"key": "key-00000002"}).json()
    assert (undone["kind"], undone["answers"]) == ("undo", item["answers"])
    assert undone["draft"] == {"tiers": [1, 2, 2, 4], "comment": "done"}
    assert site.store.labels() == []
    assert ann.post("/api/undo", {"key": "key-00000003"}).json()["kind"] == "nothing"


def test_skip_returns_the_next_item_and_is_logged(site):
    ann = site.client("ann")
    item = ann.next()
    body = {"claim": item["claim"], "key": "key-00000001", "reason": "unclear prompt"}
    following = ann.post("/api/skip", {**body, "seconds": 1.0}).json()
    assert following["claim"] != item["claim"]
    assert site.store.count_events() == {"skip": 1}


def test_retried_submission_is_one_label_and_a_second_is_a_conflict(site):
    ann = site.client("ann")
    item = ann.next()
    assert ann.submit(item, "key-00000001").json() == ann.submit(item, "key-00000001").json()
    second = ann.submit(item, "key-00000002")
    assert second.status_code == 409
    assert "another window" in second.json()["detail"]
    assert len(site.store.labels()) == 1


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"tiers": [1, 2, 3]},
        {"tiers": [1, 2, 3, None]},
        {"tiers": [1, 2, 3, 5]},
        {"tiers": [1, 2, 3, 0]},
        {"tiers": [1, 2, 3, "4"]},
        {"tiers": [1, 2, 3, 4], "flags": [["made up"], [], [], []]},
        {"tiers": [1, 2, 3, 4], "overall": [8, None, None, None]},
        {"tiers": [1, 2, 3, 4], "model": "x"},
        {"tiers": [1, 2, 3, 4], "answers": {"helpful": [1, 1, 1, 1]}},
    ],
)
def test_unfit_form_returns_422_and_changes_nothing(site, form):
    ann = site.client("ann")
    item = ann.next()
    body = {"claim": item["claim"], "key": "key-00000001", "seconds": 1.0, "form": form}
    assert ann.post("/api/submit", body).status_code == 422
    assert site.store.labels() == []


def test_admin_page_shows_statistics_and_exports_rows(site):
    for name in ("ann", "bob"):
        client = site.client(name)
        while (item := client.next())["claim"] is not None:
            client.submit(item, f"key-{item['claim']:08}", tiers=[1, 2, 3, 3], comment="=1+1")
    admin = site.client("admin")
    page = admin.http.get("/admin").text
    assert "ann" in page
    assert "Krippendorff" in page
    rows = admin.http.get("/admin/export/rankings?format=jsonl")
    assert rows.headers["content-disposition"] == 'attachment; filename="rankings.jsonl"'
    assert len(rows.text.splitlines()) == 8
    pairs = admin.http.get("/admin/export/pairs?format=csv").text
    assert len(pairs.splitlines()) == 1 + 8 * 5  # one of the 6 pairs per item is tied
    card = admin.http.get("/admin/export/pairs?format=md").text
    assert "40 rows of 2 annotators" in card
    assert re.search("## Left out\n\n- [a-z ]+: 8\n", card)
    agreed = admin.http.get("/admin/export/rankings?format=jsonl&consensus=majority")
    assert {row["consensus"] for row in map(json.loads, agreed.text.splitlines())} == {"majority"}
    assert "rankings-majority.jsonl" in agreed.headers["content-disposition"]
    for path in ("rankings?consensus=x", "events?consensus=majority"):
        assert admin.http.get(f"/admin/export/{path}").status_code == 404
    assert admin.http.get("/admin/export/passwords").status_code == 404
    assert admin.http.get("/admin/export/rankings?format=../x").status_code == 404


def test_live_prompt_becomes_an_item_to_rank(tmp_path):
    def sampler(prompt):
        if prompt == "fail":
            raise ValueError("no response")
        return [(f"{prompt} one", "m1"), (f"{prompt} two", "m2"), (" ", "m3")]

    def wait(client):
        while (status := client.http.get("/api/ask").json())["state"] == "waiting":
            pass
        return status

    with serving(tmp_path, [], live=lambda store: LiveSampling(store, sampler)) as site:
        ann = site.client("ann")
        assert ann.next()["claim"] is None
        assert ann.post("/api/ask", {"prompt": "fail"}).status_code == 200
        assert wait(ann) == {"state": "failed", "error": "ValueError: no response"}
        ann.post("/api/ask", {"prompt": "hello"})
        assert wait(ann)["state"] == "ready"
        item = ann.next()
        assert sorted(response["text"] for response in item["answers"]) == [
            "hello one",
            "hello two",
        ]
        ann.submit(item, "key-00000001").raise_for_status()
        assert len(site.store.labels()) == 1


def test_forms_load_from_yaml(tmp_path):
    (tmp_path / "form.yaml").write_text("flags: [rude]\noverall: false\n")
    assert load_form(tmp_path / "form.yaml") == FormConfig(flags=["rude"], overall=False)
    for wrong, code, name in (
        ("flags: rude", "bad-value", "flags"),
        ("colour: red", "unknown-key", "form.yaml"),
        ("skip_reasons: []", "bad-value", "skip_reasons"),
        ("- a", "unknown-key", "form.yaml"),
        ("overall: 'no'", "bad-value", "overall"),
        ("flags: [", "bad-config-file", "form.yaml"),
        ("criteria: [{name: x, kind: star}]", "bad-value", "star"),
    ):
        (tmp_path / "form.yaml").write_text(wrong)
        with raises(code, name):
            load_form(tmp_path / "form.yaml")
