"""The audit over HTTP: who saw and who changed what; nothing for annotators, nothing for errors."""

import json

import pytest
from starlette.testclient import TestClient

from rlhf.labels.api_tokens import new_api_token
from rlhf.labels.audit import AuditFilter, entries
from rlhf.labels.people import update_person
from rlhf.labels.web.audit_middleware import _sent
from rlhf.labels.web.rest import create_rest, guard_rest

HOST = "http://127.0.0.1"


def recorded(site):
    """Who, role, action, item and details of the entries of requests."""
    with site.store.read() as connection:
        found = list(entries(connection, AuditFilter()))
    return [
        (one.who, one.role, one.action, one.item_id, one.details)
        for one in found
        if one.source == "audit"
    ]


def person(site, name, role):
    site.token(name)
    with site.store.write() as connection:
        update_person(connection, name, role=role)
    return site.client(name)


def test_views_and_changes_of_researchers_are_recorded(site):
    rita = person(site, "rita", "researcher")
    start = len(recorded(site))
    for _ in range(3):  # the page renews itself
        rita.http.get("/admin/items/2").raise_for_status()
    rita.http.get("/admin/items", params={"annotator": "ann", "text": ""}).raise_for_status()
    rita.post("/admin/decide", {"action": "exclude", "id": 2, "reason": "x"}).raise_for_status()
    assert rita.post("/admin/decide", {"action": "exclude", "id": 2, "reason": "x"}).is_error
    assert rita.post("/admin/invite", {"name": "zoe"}).is_error
    rita.http.get("/admin/export/rankings?format=csv").raise_for_status()
    rita.post("/admin/guideline", {"text": "g" * 999, "base": 0}).raise_for_status()
    decided = {"action": "exclude", "id": 2, "reason": "x"}
    assert recorded(site)[start:] == [
        ("rita", "researcher", "GET /admin/items/2", 2, {}),
        ("rita", "researcher", "GET /admin/items", None, {"annotator": "ann"}),
        ("rita", "researcher", "POST /admin/decide", None, decided),
        ("rita", "researcher", "GET /admin/export/rankings", None, {"format": "csv"}),
        ("rita", "researcher", "POST /admin/guideline", None, {"text": "g" * 200 + "…", "base": 0}),
    ]


def test_logins_are_recorded_and_annotators_leave_nothing_else(site):
    ann = site.client("ann")
    ann.submit(ann.next(), "key-00000001").raise_for_status()
    site.client("admin")
    assert recorded(site) == [
        ("ann", "annotator", "POST /login", None, {}),
        ("(administrator)", "admin", "POST /login", None, {}),
        ("(administrator)", "admin", "GET /admin", None, {}),
    ]


def test_adjudicator_is_recorded_with_the_item_and_the_labels_seen(site):
    for name, tiers in (("ann", [1, 2, 3, 4]), ("bob", [4, 3, 2, 1])):
        client = site.client(name)
        item = client.next()
        order = site.queue.order_shown(name, item["claim"])
        shown = [tiers[index] for index in order]
        client.submit(item, f"key-{name}-0001", tiers=shown).raise_for_status()
    dana = person(site, "dana", "adjudicator")
    start = len(recorded(site))
    task = dana.http.get("/api/adjudicate").json()
    body = {"item": task["item"], "ranks": [1, 2, 3, 4], "seconds": 5.0, "key": "key-00000001"}
    dana.post("/api/adjudicate", body).raise_for_status()
    first, second = recorded(site)[start:]
    assert first == ("dana", "adjudicator", "GET /api/adjudicate", 1, {"labels_shown": []})
    assert (second[2], second[3]) == ("POST /api/adjudicate", 1)
    assert second[4]["labels_shown"] == [1, 2]


def test_programs_are_recorded_by_name(site):
    app = guard_rest(create_rest(site.queue), site.store, {"127.0.0.1"})
    token = new_api_token(site.store, "robot", "write")
    client = TestClient(app, base_url=HOST, headers={"authorization": f"Bearer {token}"})
    client.get("/rest/v1/labels?after=0").raise_for_status()
    label = {"item_id": 1, "annotator": "Ann", "ranks": [1, 2, 3, 4], "key": "key-number-1"}
    client.post("/rest/v1/labels", json=label).raise_for_status()
    assert client.get("/rest/v1/nothing").status_code == 404
    assert client.get("/rest/v1/openapi.json").status_code == 200
    seen, added = recorded(site)
    assert seen == ("robot", "write", "GET /rest/v1/labels", None, {"after": "0"})
    assert added[:4] == ("robot", "write", "POST /rest/v1/labels", 1)
    assert added[4]["annotator"] == "Ann"


def test_page_filters_and_exports_for_admins_only(site):
    ann, admin = site.client("ann"), site.client("admin")
    ann.next()
    page = admin.http.get("/admin/audit").text
    assert "saw item" in page
    assert "POST /login" in page
    page = admin.http.get("/admin/audit", params={"who": "ann", "item": "1", "days": "1"}).text
    assert "saw item" in page
    assert "POST /login" not in page
    rows = admin.http.get("/admin/audit/export?who=ann").raise_for_status().text.splitlines()
    assert [json.loads(row)["action"] for row in rows] == ["POST /login", "saw item"]
    for query in ("item=x", "days=-1", "who=%00"):
        assert admin.http.get(f"/admin/audit?{query}").status_code == 422
    assert person(site, "rita", "researcher").http.get("/admin/audit").status_code == 403


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_number_that_json_lacks_is_recorded_as_text(value):
    sent = _sent({"type": "http", "method": "POST"}, f'{{"x": {value}}}'.encode())
    assert sent == {"x": value}
