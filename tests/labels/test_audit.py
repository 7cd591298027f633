"""The audit: requests, claims and events in one list; cut details; the command."""

import json

import pytest

from rlhf.cli import run_command
from rlhf.labels.audit import (
    LONGEST_ENTRY,
    AuditFilter,
    as_row,
    entries,
    record,
    shortened,
    since_days,
)
from rlhf.labels.erase import erase_person
from rlhf.labels.queue import Queue
from rlhf.labels.review import decisions
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.audit_middleware import VIEW_SECONDS, Views, is_audited
from tests.labels.queues import judgment, queue_of


def listed(store, **wanted):
    with store.read() as connection:
        return list(entries(connection, AuditFilter(**wanted)))


@pytest.fixture
def store(each_store):
    """Ann labels item 1 and sees item 2; Rita corrects the label, excludes item 2 and looks."""
    queue = queue_of(each_store, 2)
    claim = queue.next("ann")
    queue.submit("ann", claim.id, judgment((1, 2)), request_key="k1")
    [label] = each_store.labels()
    decisions.correct(each_store, label.event_id, [2, 1], "swapped", by="rita")
    decisions.exclude(each_store, 2, "cut off", by="rita")
    with each_store.write() as connection:
        record(connection, who="rita", role="researcher", action="GET /admin/items/2", item_id=2)
    return each_store


def test_audit_joins_claims_events_and_requests(store):
    found = {(one.who, one.action, one.item_id, one.source) for one in listed(store)}
    assert found == {
        ("ann", "saw item", 1, "claims"),
        ("ann", "submit", 1, "events"),
        ("ann", "saw item", 2, "claims"),
        ("rita", "undo", 1, "events"),
        ("rita", "submit", 1, "events"),
        ("rita", "exclude", 2, "events"),
        ("rita", "GET /admin/items/2", 2, "audit"),
    }
    times = [one.at for one in listed(store)]
    assert times == sorted(times)


def test_filter_by_person_item_and_time(store):
    assert {one.who for one in listed(store, who="ann")} == {"ann"}
    ritas = listed(store, who="rita")
    assert [one.action for one in ritas] == ["undo", "submit", "exclude", "GET /admin/items/2"]
    assert ritas[0].details == {"event_id": 2, "undoes": 1, "annotator": "ann", "reason": "swapped"}
    assert {one.item_id for one in listed(store, item_id=2)} == {2}
    assert listed(store, since=2e12) == []
    assert since_days(2, now=1_000_000.0) == 827_200.0
    assert since_days(0, now=1_000_000.0) == 0.0


def test_row_of_an_entry_has_utc_and_is_json(store):
    row = as_row(listed(store, who="rita")[-1])
    assert (row["role"], row["item_id"], row["source"]) == ("researcher", 2, "audit")
    assert row["time"].endswith("Z")
    assert json.loads(json.dumps(row)) == row


def test_long_details_are_cut():
    cut = shortened({"text": "x" * 500, "many": list(range(30)), "deep": {"a": "y" * 500}})
    assert cut["text"] == "x" * 200 + "…"
    assert cut["many"] == [*range(20), "… 10 more"]
    assert cut["deep"]["a"] == "y" * 200 + "…"
    huge = shortened({str(i): "z" * 200 for i in range(50)})
    assert list(huge) == ["left_out"]
    assert len(json.dumps(huge)) < LONGEST_ENTRY


def test_erased_person_leaves_the_audit(store):
    with store.write() as connection:
        details = {"names": ["ann"], "annotator": "ann", "text": "annotation"}
        record(connection, who="rita", role="researcher", action="GET /x", details=details)
    erasure = erase_person(store, "ann")
    assert erasure.renamed == {"events": 0, "audit": 1}
    assert "ann" not in {one.who for one in listed(store)}
    assert listed(store)[-1].details == {
        "names": ["(erased)"],
        "annotator": "(erased)",
        "text": "annotation",
    }
    assert erase_person(store, "rita").removed["audit"] == 2
    assert {one.who for one in listed(store)} == {"(erased)"}  # her exclusion of item 2 stays


def test_labelling_writes_nothing_to_the_audit(each_store):
    queue = Queue(each_store, QueueConfig())
    assert not any(
        is_audited(method, path)
        for method, path in (
            *(("POST", "/api/next"), ("POST", "/api/submit"), ("POST", "/api/draft")),
            *(("GET", "/"), ("GET", "/login"), ("GET", "/nowhere")),
        )
    )
    each_store.add("p", ["a", "b"])
    claim = queue.next("ann")
    queue.submit("ann", claim.id, judgment(), request_key="k")
    assert {one.source for one in listed(each_store)} == {"claims", "events"}


def test_same_view_is_recorded_once_in_ten_minutes():
    now = [0.0]
    views = Views(clock=lambda: now[0])
    assert [views.is_new("a"), views.is_new("a"), views.is_new("b")] == [True, False, True]
    now[0] = VIEW_SECONDS - 1
    assert not views.is_new("a")
    now[0] = VIEW_SECONDS
    assert views.is_new("a")


def test_command_prints_and_writes_the_audit(tmp_path, capsys):
    path, output = tmp_path / "labels.sqlite", tmp_path / "audit.jsonl"
    with LabelStore(path) as store:
        store.add("p", ["a", "b"], ranks=[1, 2], annotator="Ann")
    words = ["label", "audit", "--store", str(path)]
    run_command(["label", "invite", "--store", str(path), "Ann", "Rita", "--role", "researcher"])
    run_command(["label", "people", "--store", str(path), "Rita", "--revoke"])
    capsys.readouterr()
    run_command(words)
    printed = capsys.readouterr().out
    assert '(command line) (admin): rlhf label people {"name": "Rita", "revoke": true}' in printed
    assert "4 of 4 entries" in printed
    run_command([*words, "--output", str(output)])
    assert output.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["who"], row["action"]) for row in rows] == [
        ("Ann", "submit"),
        ("(command line)", "rlhf label invite"),
        ("(command line)", "rlhf label invite"),
        ("(command line)", "rlhf label people"),
    ]
    assert rows[-1]["details"] == {"name": "Rita", "revoke": True}
    run_command([*words, "--who", "Ann"])
    assert "1 of 1 entry" in capsys.readouterr().out
    run_command(["label", "erase", "--store", str(path), "Ann"])
    report = capsys.readouterr().out
    assert "1 label among the removed events." in report
    assert "1 place of an item is free again." in report
    run_command([*words, "--output", str(output)])
    assert "Ann" not in output.read_text()
