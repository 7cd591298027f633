"""The administrator's and the adjudicator's pages over HTTP; hostile text stays text."""

import csv
import io
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from rlhf.labels import people
from rlhf.labels.access import MAX_NAME_LENGTH
from rlhf.labels.erase import erase_older, erase_person
from rlhf.labels.export import rows_of
from rlhf.labels.records import Candidate, Label
from rlhf.labels.review import questions
from rlhf.labels.schema import events
from rlhf.labels.selection import QueueConfig
from tests.labels.web_server import candidates, serving

PAGES = ["", "/items", "/items/1", "/events", "/people", "/guideline", "/models", "/audit"]


def labelled(site, *names):
    """Each annotator ranks every item: the first one downwards, the others upwards."""
    for name in names:
        client = site.client(name)
        while (item := client.next())["claim"] is not None:
            count = len(item["answers"])
            order = site.queue.order_shown(name, item["claim"])
            tiers = [index + 1 if name == names[0] else count - index for index in order]
            client.submit(item, f"key-{item['claim']:08}", tiers=tiers).raise_for_status()


def test_pages_show_items_labels_and_progress(site):
    labelled(site, "ann", "bob")
    admin = site.client("admin")
    pages = {page: admin.http.get(f"/admin{page}").raise_for_status().text for page in PAGES}
    assert "4 items" in pages["/items"]
    assert "hidden-model-0" in pages["/items/1"]
    assert "Disagreement 1.00" in pages["/items/1"]
    assert pages["/events"].count('<td><span class="kind">submit') == 8
    assert ">ann</th>" in pages["/people"].replace("\n", "")
    assert "hidden-model-3" in pages["/models"]
    found = admin.http.get("/admin/items", params={"text": "PROMPT 2", "disagreement": "0.5"}).text
    assert "1 item<" in found
    assert "/admin/items/3" in found
    assert admin.http.get("/admin/items/99").status_code == 422
    assert admin.http.get("/admin/items", params={"disagreement": "2"}).status_code == 422


def test_decisions_over_http(site):
    labelled(site, "ann", "bob")
    admin = site.client("admin")
    [first, *_] = site.store.labels()

    def decide(**body):
        return admin.post("/admin/decide", body).status_code

    assert decide(action="exclude", id=2, reason="broken") == 200
    assert decide(action="exclude", id=2, reason="broken") == 422
    assert decide(action="reopen", id=3, reason="") == 422
    assert decide(action="correct", id=first.event_id, reason="swapped", ranks=[1, 1, 2, 3]) == 200
    assert decide(action="take_back", id=first.event_id, reason="twice") == 422
    assert decide(action="delete", id=1, reason="x") == 422
    labels = site.store.labels()
    assert {label.item_id for label in labels} == {1, 3, 4}
    assert labels[-1].ranks == [1, 1, 2, 3]
    page = admin.http.get("/admin/items/1").text
    assert "corrected" in page
    assert "swapped" in page
    assert "excluded" in admin.http.get("/admin/items/2").text


def test_retired_item_is_handed_out_again_on_request(site):
    labelled(site, "ann", "bob")
    with site.store.write() as connection:
        old = events.c.item_id == 1
        connection.execute(sa.update(events).where(old).values(at=events.c.at - 864_000))
    assert erase_older(site.store, 5).retired == 1
    admin = site.client("admin")
    found = admin.http.get("/admin/items", params={"state": "retired"}).text
    assert "1 item<" in found
    assert "Hand out again" in admin.http.get("/admin/items/1").text
    assert site.client("cat").next()["claim"] is None
    body = {"action": "reopen", "id": 1, "reason": "a new round"}
    admin.post("/admin/decide", body).raise_for_status()
    assert site.client("cat").next()["claim"] is not None
    assert "One more annotator" in admin.http.get("/admin/items/1").text


def test_decision_records_who_decided(site):
    labelled(site, "ann")
    site.token("rita")
    with site.store.write() as connection:
        people.update_person(connection, "rita", role="researcher")
    rita = site.client("rita")
    event = site.store.labels()[0].event_id
    rita.post(
        "/admin/decide", {"action": "exclude", "id": 2, "reason": "cut off"}
    ).raise_for_status()
    body = {"action": "correct", "id": event, "reason": "swapped", "ranks": [1, 1, 2, 3]}
    rita.post("/admin/decide", body).raise_for_status()
    rows = [
        (row["kind"], row["annotator"], row["by"]) for row in rows_of(site.store, "events").rows
    ]
    assert rows[-3:] == [
        ("exclude", "(administrator)", "rita"),
        ("undo", "ann", "rita"),
        ("submit", "ann", None),
    ]
    assert site.store.labels()[-1].extra["corrected"]["by"] == "rita"
    assert "rita" in rita.http.get("/admin/events").text
    erasure = erase_person(site.store, "rita")  # her decisions stay, without her name
    assert (erasure.removed["events"], erasure.renamed["events"]) == (0, 3)
    assert "rita" not in site.client("admin").http.get("/admin/events").text
    assert site.store.labels()[-1].extra["corrected"]["by"] == "(erased)"
    assert {label.item_id for label in site.store.labels()} == {1, 3, 4}


def test_people_are_paused_capped_and_revoked_over_http(site):
    ann, admin = site.client("ann"), site.client("admin")

    def change(**body):
        return admin.post("/admin/people", {"name": "ann", **body}).status_code

    assert change(paused=True) == 200
    state = ann.next()
    assert (state["claim"], "paused" in state["notice"]) == (None, True)
    assert change(paused=False, cap=1, tags=["de"]) == 200
    item = ann.next()
    state = ann.submit(item, "key-00000001").json()
    assert (state["claim"], state["left"], "planned" in state["notice"]) == (None, 0, True)
    assert admin.post("/admin/people", {"everyone_paused": True}).status_code == 200
    assert site.queue.obstacle("bob") == "paused"
    assert admin.post("/admin/people", {"name": "zoe", "cap": 1}).status_code == 422
    assert admin.post("/admin/access", {"name": "ann", "revoke": True}).status_code == 200
    assert ann.post("/api/next", {}).status_code == 401


def test_guideline_is_published_once_per_base_and_compared(site):
    admin = site.client("admin")

    def publish(text, base):
        return admin.post("/admin/guideline", {"text": text, "base": base}).status_code

    assert publish("Be fair.\nBe kind.", 0) == 200
    assert publish("Be fair.\nBe quick.", 1) == 200
    assert publish("Lost", 1) == 422
    page = admin.http.get("/admin/guideline", params={"old": 1, "new": 2}).text
    assert 'class="removed"' in page
    assert "Be kind." in page
    assert site.client("ann").next()["guideline"] == 2


def test_question_is_asked_answered_and_read(site):
    ann, admin = site.client("ann"), site.client("admin")
    claim = ann.next()["claim"]
    ann.post("/api/questions", {"text": "Is *this* a tie?", "claim": claim}).raise_for_status()
    assert "Is *this* a tie?" in admin.http.get("/admin/guideline").text
    [asked] = questions.questions_of(site.store)
    assert asked.item_id == 1
    body = {"question": asked.id, "text": "**Yes**", "in_guideline": True}
    assert admin.post("/admin/answer", body).json() == {"version": 1}
    [own] = ann.http.get("/api/questions").json()["questions"]
    assert "<strong>Yes</strong>" in own["answer"]
    assert site.client("bob").http.get("/api/questions").json() == {"questions": []}
    # The claim of another annotator names no item.
    site.client("bob").post("/api/questions", {"text": "And?", "claim": claim}).raise_for_status()
    assert questions.questions_of(site.store, "bob")[0].item_id is None


def test_adjudicator_page_shows_no_name_and_annotators_have_no_access(site):
    labelled(site, "ann", "bob")
    dana = site.client("dana")
    assert dana.http.get("/adjudicate").status_code == 403
    assert dana.http.get("/api/adjudicate").status_code == 403
    with site.store.write() as connection:
        people.update_person(connection, "dana", role="adjudicator")
    assert dana.http.get("/").headers["location"] == "/adjudicate"
    task = dana.http.get("/api/adjudicate").json()
    assert (task["left"], task["blind"], task["labels"]) == (4, None, [])
    body = {"item": task["item"], "ranks": [1, 2, 3, 4], "seconds": 5.0}
    seen = dana.post("/api/adjudicate", {**body, "key": "key-00000001"})
    shown = seen.json()
    assert (shown["item"], shown["blind"], len(shown["labels"])) == (task["item"], [1, 2, 3, 4], 2)
    assert not any(word in seen.text for word in ("ann", "bob", "hidden-model"))
    first, second = (label["ranks"] for label in shown["labels"])
    assert [one + other for one, other in zip(first, second, strict=True)] == [5, 5, 5, 5]
    after = dana.post("/api/adjudicate", {**body, "key": "key-00000002"}).json()
    assert after["left"] == 3
    assert dana.post("/api/adjudicate", {**body, "key": "key-00000003"}).status_code == 422


def test_qualification_feedback_comes_in_the_order_shown(tmp_path):
    config = QueueConfig(qualification=1, pass_mark=1.0)
    with serving(tmp_path, candidates(1), config) as site:
        gold = Candidate(prompt="g", responses=("x", "y"), columns={"explanation": "**Why**"})
        site.store.add_gold([gold], [(1, 2)])
        ann = site.client("ann")
        item = ann.next()
        texts = [answer["text"] for answer in item["answers"]]
        state = ann.submit(item, "key-00000001", scale=-2 if texts[0] == "x" else 2).json()
        feedback = state["feedback"]
        assert feedback["known"] == [1 if text == "x" else 2 for text in texts]
        assert feedback["ranks"] == feedback["known"]
        assert (feedback["passed"], feedback["share"]) == (True, 1.0)
        assert "<strong>Why</strong>" in feedback["explanation"]
        assert state["prompt"][0]["text"] == "prompt 0"


def test_export_of_events_and_csv_for_spreadsheets(site):
    ann = site.client("ann")
    item = ann.next()
    skip = {"claim": item["claim"], "key": "key-00000001", "reason": "other", "seconds": 2.0}
    ann.post("/api/skip", {**skip, "comment": "=1+1"}).raise_for_status()
    content = site.client("admin").http.get("/admin/export/events?format=csv").content
    assert content.startswith(b"\xef\xbb\xbf")
    [row] = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert (row["kind"], row["reason"], row["comment"]) == ("skip", "other", "'=1+1")


@pytest.fixture
def hostile(tmp_path):
    """A site whose prompts, responses, names, comments, reasons and questions are payloads."""
    payloads = (Path(__file__).parent / "xss.txt").read_text().splitlines()
    items = [
        Candidate(
            prompt=text, responses=(text, "b"), models=(text, "m"), columns={"category": text}
        )
        for text in payloads
    ]
    with serving(tmp_path, items) as site:
        names = [text[:MAX_NAME_LENGTH].strip() for text in payloads]
        names = [name for name in dict.fromkeys(names) if name.isprintable() and name]
        for number, name in enumerate(names[::4]):  # the browser test has all names
            extra = {"comment": name, "flags": [[name], []], "rewrite": name}
            site.store.submit(
                Label(item_id=1 + number % 3, annotator=name, ranks=(1, 2), extra=extra)
            )
            questions.ask(site.store, name, payloads[number], None)
            site.token(name)
            with site.store.write() as connection:
                people.update_person(connection, name, tags=[name])
        site.store.add_guideline("\n".join(payloads))
        site.store.add_guideline("\n".join(reversed(payloads)))
        yield site


def test_hostile_text_stays_text_on_every_page(hostile):
    """No payload's own tag reaches a page: the pages contain only the tags of their templates."""
    admin = hostile.client("admin")
    for page in [
        *PAGES,
        "/items?text=<script>",
        "/guideline?old=1&new=2",
        "/models?category=<i>",
        "/audit?days=0",
    ]:
        text = admin.http.get(f"/admin{page}").raise_for_status().text.lower()
        for tag in ("<img", "<iframe", "<svg", "<object", "<embed", "<math", "<video", "<style"):
            assert tag not in text, (page, tag)
        scripts = re.findall(r"<script[^>]*>", text)  # the template's own
        assert all(re.search(r'src="/static/[a-z]+\.js"', tag) for tag in scripts), page
        assert not re.search(r'<[a-z]+ [^>]*href="\s*javascript', text), page
