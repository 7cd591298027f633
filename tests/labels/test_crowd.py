"""Participants of crowd platforms: their entrance, their code, and that no export has their ids."""

import contextlib
import csv
import json
import sqlite3

import httpx
import pytest
import sqlalchemy as sa

from rlhf.labels import access, cli
from rlhf.labels.audit import AuditFilter, entries
from rlhf.labels.crowd import (
    CrowdConfig,
    participants_file,
    platform_ids,
)
from rlhf.labels.export import FOR_TOOLS, KINDS, rows_of
from rlhf.labels.people import revoke
from rlhf.labels.schema import claims, events
from rlhf.labels.web import crowd as crowd_routes
from tests.errors import raises
from tests.labels.crowd_study import (
    LINK,
    OTHER_PID,
    PID,
    PROLIFIC,
    SESSION,
    STUDY,
    Participant,
    study,
)


def test_a_participant_gets_the_code_after_the_quota(tmp_path):
    with study(tmp_path) as site:
        participant = Participant(site, LINK)
        assert participant.entered.json() == {"to": "/"}
        participant.label(1)
        assert participant.completion() == {"complete": False}
        participant.label(1)
        assert participant.http.post("/api/next", json={}).json()["claim"] is None
        assert participant.completion() == {
            "complete": True,
            "code": "C1A2B3C4",
            "link": "https://app.prolific.com/submissions/complete?cc=C1A2B3C4",
        }


def test_the_entrance_has_its_own_name_in_the_audit(tmp_path):
    with study(tmp_path) as site:
        Participant(site, LINK)
        [name] = access.names(site.store)
        with site.store.read() as connection:
            found = list(entries(connection, AuditFilter()))
    assert [(one.who, one.role, one.action) for one in found] == [
        (name, "annotator", "POST /crowd")
    ]


def test_without_a_quota_the_code_comes_when_no_item_is_left(tmp_path):
    config = CrowdConfig(platform="mturk", completion_code="thanks-7")
    query = {"workerId": "A1B2C3D4E5", "hitId": "3HIT", "assignmentId": "3ASSIGN"}
    with study(tmp_path, config, items=1) as site:
        worker = Participant(site, query)
        assert worker.completion() == {"complete": False}
        worker.label(1)
        assert worker.completion() == {"complete": True, "code": "thanks-7", "link": ""}
        Participant(site, {**query, "workerId": "A0000"}).label(1)
        late = Participant(site, {**query, "workerId": "A1111"})  # for whom nothing is left
        assert late.http.post("/api/next", json={}).json()["claim"] is None
        assert late.completion() == {"complete": False}


def test_other_annotators_get_no_code(tmp_path):
    with study(tmp_path, items=1) as site:
        ann = site.client("ann")
        ann.submit(ann.next(), "key-00000001").raise_for_status()
        assert ann.http.get("/api/completion").json() == {"complete": False}


def test_the_same_link_brings_a_participant_back(tmp_path):
    with study(tmp_path) as site:
        first = Participant(site, LINK)
        first.label(1)
        again = Participant(site, {**LINK, "SESSION_ID": "63cc00000000000000000003"})
        assert first.http.post("/api/next", json={}).status_code in (401, 403)  # one session
        again.label(1)
        assert again.completion()["complete"]
        assert len({label.annotator for label in site.store.labels()}) == 1
        other = Participant(site, {**LINK, "PROLIFIC_PID": OTHER_PID})
        other.label(1)
        names = {label.annotator for label in site.store.labels()}
    assert len(names) == 2
    assert all(name.startswith("prolific-") for name in names)


def test_a_participant_whose_access_was_revoked_cannot_come_back(tmp_path):
    with study(tmp_path) as site:
        Participant(site, LINK)
        [name] = access.names(site.store)
        with site.store.write() as connection:
            revoke(connection, name)
        assert Participant(site, LINK).entered.status_code == 403


def test_ids_of_the_platform_are_in_no_export_and_not_in_the_store(tmp_path):
    with study(tmp_path) as site:
        participant = Participant(site, LINK)
        participant.label(1)
        item = participant.http.post("/api/next", json={}).json()
        skip = {"claim": item["claim"], "key": "key-99999999", "reason": "other", "seconds": 1.0}
        participant.http.post("/api/skip", json=skip).raise_for_status()
        exports = [json.dumps(rows_of(site.store, kind).rows) for kind in KINDS]
        items = {one.id: one for one in site.store.items()}
        exports += [json.dumps(make(items, site.store.labels())[0]) for make in FOR_TOOLS.values()]
        admin = site.client("admin").http
        pages = [admin.get(path).text for path in ("/admin", "/admin/people", "/admin/events")]
    store = (tmp_path / "labels.sqlite").read_bytes()
    for value in (PID, STUDY, SESSION):
        assert value.encode() not in store
        assert not any(value in text for text in [*exports, *pages])
    assert any("prolific-" in text for text in exports)
    assert (tmp_path / "labels.participants.sqlite").stat().st_mode & 0o777 == 0o600


def test_participants_are_listed_for_payment_and_forgotten_when_erased(tmp_path, capsys):
    with study(tmp_path) as site:
        Participant(site, LINK).label(2)
        Participant(site, {**LINK, "PROLIFIC_PID": OTHER_PID})
        [name] = {label.annotator for label in site.store.labels()}
    store, output = str(tmp_path / "labels.sqlite"), tmp_path / "paid" / "participants.csv"
    cli.main(["participants", "--store", store, "--output", str(output)])
    assert "2 participants" in capsys.readouterr().out
    with output.open(newline="") as file:
        first, second = csv.DictReader(file)
    ids = ("prolific", PID, STUDY, SESSION, "2")
    columns = ("platform", "person", "study", "session", "labels")
    assert tuple(first[column] for column in columns) == ids
    assert (first["annotator"], second["person"], second["labels"]) == (name, OTHER_PID, "0")
    assert output.stat().st_mode & 0o777 == 0o600
    cli.main(["erase", name, "--store", store])
    assert PID.encode() not in participants_file(store).read_bytes()
    assert OTHER_PID.encode() in participants_file(store).read_bytes()


def test_retention_deletes_the_ids_of_participants_who_left_nothing_newer(tmp_path, capsys):
    """Of three who came ten days ago, one labels today and one opens the link again today."""
    queries = [{**LINK, "PROLIFIC_PID": f"{number:024}"} for number in range(3)]
    with study(tmp_path) as site:
        gone, busy, back = (Participant(site, query) for query in queries)
        gone.label(1)
        path = participants_file(str(tmp_path / "labels.sqlite"))
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE participants SET entered = entered - 864000")
        with site.store.write() as connection:
            for table in (events, claims):
                connection.execute(sa.update(table).values(at=table.c.at - 864_000))
        busy.label(1)
        back = Participant(site, queries[2])
        assert back.entered.status_code == 200
    retain = ["retain", "--store", str(tmp_path / "labels.sqlite"), "--days", "5"]
    cli.main([*retain, "--dry_run"])
    assert "platform ids of 1 participant would be removed" in capsys.readouterr().out
    cli.main(retain)
    printed = capsys.readouterr().out
    assert "platform ids of 1 participant removed" in printed
    assert "1 item is retired" in printed
    ids = path.read_bytes()
    assert [query["PROLIFIC_PID"].encode() in ids for query in queries] == [False, True, True]


@pytest.mark.parametrize(
    ("platform", "query", "fragment"),
    [
        ("prolific", {**LINK, "PROLIFIC_PID": ""}, "PROLIFIC_PID"),
        ("prolific", {"PROLIFIC_PID": PID, "STUDY_ID": STUDY}, "SESSION_ID"),
        ("prolific", {**LINK, "STUDY_ID": "{{%STUDY_ID%}}"}, "STUDY_ID"),  # not replaced
        ("prolific", {**LINK, "PROLIFIC_PID": "=1+1"}, "PROLIFIC_PID"),
        (
            "mturk",
            {"workerId": "", "hitId": "3HIT", "assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE"},
            "accept the HIT",
        ),
    ],
)
def test_a_link_without_ids_admits_nobody(tmp_path, platform, query, fragment):
    with raises("bad-value", fragment):
        platform_ids(platform, query)
    with study(tmp_path, CrowdConfig(platform=platform, completion_code="x")) as site:
        page = httpx.get(f"{site.address}/crowd", params=query)
        assert (page.status_code, fragment in page.text) == (200, True)
        assert "<form" not in page.text
        assert Participant(site, query).entered.status_code == 422
        assert access.names(site.store) == []


def test_entrance_is_closed_to_other_sites_and_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(crowd_routes, "MAX_NEW", 3)
    with study(tmp_path) as site:
        body = {"query": LINK}
        for headers in ({}, {"origin": "http://evil.example"}):
            assert (
                httpx.post(f"{site.address}/crowd", json=body, headers=headers).status_code == 403
            )
        for number in range(3):
            query = {**LINK, "PROLIFIC_PID": f"{number:024}"}
            assert Participant(site, query).entered.status_code == 200
        assert Participant(site, LINK).entered.status_code == 429
        known = {**LINK, "PROLIFIC_PID": f"{0:024}"}
        assert Participant(site, known).entered.status_code == 200


def test_a_server_without_a_study_has_no_entrance(site):
    assert httpx.get(f"{site.address}/crowd").status_code in (401, 404)


def test_hostile_texts_in_the_link_do_not_reach_the_page(tmp_path, root):
    payloads = (root / "tests" / "labels" / "xss.txt").read_text().splitlines()
    with study(tmp_path) as site, httpx.Client(base_url=site.address) as client:
        for payload in payloads:
            for query in ({**LINK, "PROLIFIC_PID": payload}, {**LINK, payload: "x"}):
                page = client.get("/crowd", params=query)
                assert payload not in page.text
                assert "unsafe" not in page.headers["content-security-policy"]


@pytest.mark.slow
@pytest.mark.browser
def test_a_participant_works_from_the_link_to_the_code(tmp_path, window):
    config = CrowdConfig(platform="prolific", completion_code="C1A2B3C4", labels_per_person=1)
    with study(tmp_path, config) as site:
        page = window().page()
        page.goto(f"{site.address}/crowd?" + "&".join(f"{k}={v}" for k, v in LINK.items()))
        page.wait_for_selector("body[data-ready]")
        assert "Your part is 1 item." in page.locator("main").inner_text()
        page.click("text=Begin")
        page.locator(".card").nth(3).wait_for()
        assert PID not in page.url
        for key in ("4", "3", "2", "1"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        link = page.locator("#completion-link")
        link.wait_for()
        assert link.get_attribute("href") == PROLIFIC.completion_link
        assert page.locator("#completion-code").inner_text() == "C1A2B3C4"
        assert page.locator("#empty-title").inner_text() == "All done. Thank you!"
