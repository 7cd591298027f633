"""A campaign in the store: people, progress, guideline, questions."""

import time
from dataclasses import replace

import pytest

from rlhf.labels import people
from rlhf.labels.access import invite, log_in
from rlhf.labels.erase import erase_person
from rlhf.labels.export import rows_of
from rlhf.labels.guidelines import guideline_diff, publish_guideline
from rlhf.labels.importing import import_file
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate
from rlhf.labels.review import questions
from rlhf.labels.review.history import Histories
from rlhf.labels.review.progress import Work, day_of, progress_of
from rlhf.labels.selection import QueueConfig
from tests.errors import raises
from tests.labels.queues import judgment, label_all, queue_of


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


def change(store, name, **settings):
    with store.write() as connection:
        return people.update_person(connection, name, **settings)


def test_paused_person_keeps_the_open_item(store):
    queue = queue_of(store, 2)
    invite(store, "ann")
    claim = queue.next("ann")
    change(store, "ann", paused=True)
    assert (queue.next("ann"), queue.obstacle("ann")) == (None, "paused")
    kind, following = queue.submit("ann", claim.id, judgment(), request_key="1")
    assert (kind, following) == ("submit", None)
    change(store, "ann", paused=False)
    assert queue.next("ann").item.id == 2


def test_paused_campaign_stops_everybody(store):
    queue = queue_of(store, 2)
    invite(store, "ann")
    for name in ("ann", "guest"):
        with store.write() as connection:
            people.pause_everyone(connection, True)
        assert (queue.next(name), queue.obstacle(name)) == (None, "paused")
        with store.write() as connection:
            people.pause_everyone(connection, False)
        assert queue.next(name) is not None


def test_cap_ends_the_items_of_a_person(store):
    queue = queue_of(store, 4)
    invite(store, "ann")
    change(store, "ann", cap=2)
    assert queue.progress("ann").left == 2
    assert label_all(queue, "ann") == [1, 2]
    assert queue.obstacle("ann") == "cap"
    assert queue.progress("ann").left == 0
    change(store, "ann", no_cap=True)
    assert label_all(queue, "ann") == [3, 4]


def test_items_with_tags_go_to_people_who_have_all_of_them(each_store, tmp_path):
    store = each_store
    (tmp_path / "c.jsonl").write_text(
        '{"prompt": "p", "responses": ["a", "b"], "language": "de", "skills": ["maths", "logic"]}\n'
        '{"prompt": "q", "responses": ["a", "b"], "language": "de", "skills": []}\n'
        '{"prompt": "r", "responses": ["a", "b"]}\n'
    )
    import_file(store, str(tmp_path / "c.jsonl"), tag_columns=("language", "skills"))
    queue = Queue(store, QueueConfig(overlap=9))
    tags = {"ann": ["de", "maths", "logic", "en"], "bob": ["de", "maths"], "cat": []}
    for name, own in tags.items():
        invite(store, name)
        change(store, name, tags=own)
    left = {name: queue.progress(name).left for name in tags}
    assert left == {"ann": 3, "bob": 2, "cat": 1}
    assert {name: label_all(queue, name) for name in tags} == {
        "ann": [1, 2, 3],
        "bob": [2, 3],
        "cat": [3],
    }
    with raises("bad-value", "tag"):
        change(store, "ann", tags=["x" * 65])


def test_revoked_link_ends_and_a_new_one_keeps_the_settings(each_store):
    store = each_store
    token = invite(store, "ann")
    change(store, "ann", cap=5, tags=["de"], role="adjudicator")
    with store.write() as connection:
        people.revoke(connection, "ann")
    assert log_in(store, token) is None
    new = invite(store, "ann")
    assert log_in(store, new) is not None
    with store.read() as connection:
        person = people.person_of(connection, "ann")
    assert (person.cap, person.tags, person.role) == (5, ("de",), "adjudicator")
    with raises("unknown-name", "zoe"):
        change(store, "zoe", cap=1)
    with raises("bad-value", "(administrator)"):
        invite(store, "(administrator)")


def test_progress_counts_activity_by_person_and_day(browsed):
    """Ann: two labels of 2 s each; Bob: a label of 2 s and a skip of 3 s. Both hold item 3, and
    item 2, which Bob skipped, is left for Cat."""
    invite(browsed, "cat")
    config = QueueConfig(overlap=2)
    now = time.time()
    progress = progress_of(browsed, Histories(browsed).get(), [], config, now=now)
    rows = {one.person.name: one for one in progress.people}
    assert rows["ann"].work == Work(labels=2, skips=0, seconds=4.0)
    assert rows["bob"].work == rows["bob"].today == Work(labels=1, skips=1, seconds=5.0)
    assert [rows[name].left for name in ("ann", "bob", "cat")] == [1, 1, 1]
    assert (rows["cat"].last_seen, rows["cat"].work) == (None, Work())
    assert now - 60 < rows["bob"].last_seen <= now
    assert progress.by_day[day_of(now)][""] == Work(labels=3, skips=1, seconds=9.0)
    assert (progress.busiest, len(progress.days), progress.days[-1]) == (3, 14, day_of(now))
    yesterday = progress_of(browsed, Histories(browsed).get(), [], config, now=now + 86_400)
    assert next(one for one in yesterday.people if one.person.name == "ann").today == Work()
    assert yesterday.by_day[yesterday.days[-2]][""].labels == 3
    day = {"day": day_of(now)}
    assert rows_of(browsed, "work").rows == [
        day | {"annotator": "ann", "labels": 2, "skips": 0, "seconds": 4.0},
        day | {"annotator": "bob", "labels": 1, "skips": 1, "seconds": 5.0},
    ]


def test_progress_has_the_guideline_of_the_last_label(store):
    queue = queue_of(store, 2)
    for version in (1, 2):
        claim, followed = queue.next("ann"), replace(judgment(), guideline_version=version)
        queue.submit("ann", claim.id, followed, request_key=f"k{version}")
    invite(store, "bob")
    progress = progress_of(store, Histories(store).get(), [], QueueConfig(), now=time.time())
    versions = {one.person.name: one.guideline for one in progress.people}
    assert versions == {"ann": 2, "bob": 0}


def test_undone_label_counts_no_working_time(store):
    queue = queue_of(store, 1)
    label_all(queue, "ann")
    claim = queue.undo("ann", request_key="u")
    queue.submit("ann", claim.id, judgment(), request_key="again")
    progress = progress_of(store, Histories(store).get(), [], QueueConfig(), now=time.time())
    assert progress.people[0].work == Work(labels=1, seconds=2.0)


def publish(store, text, base):
    with store.write() as connection:
        return publish_guideline(connection, text, base)


def test_guideline_versions_go_back_and_reject_a_lost_update(store):
    assert publish(store, "one", 0) == 1
    assert publish(store, "two", 1) == 2
    assert publish(store, "one", 2) == 1  # the old text is its old version
    assert store.newest_guideline() == (1, "one")
    with raises("busy", "version 1"):
        publish(store, "three", 2)
    assert store.add_guideline("two") == 2  # an import of a known text publishes nothing
    assert store.newest_guideline() == (1, "one")
    assert store.add_guideline("three") == 3
    assert store.newest_guideline() == (3, "three")


def test_guideline_diff_by_line():
    assert guideline_diff("a\nb\nc", "a\nB\nc") == [
        (" ", "a"),
        ("-", "b"),
        ("+", "B"),
        (" ", "c"),
    ]


def test_answered_question_joins_the_guideline_without_the_name(each_store):
    store = each_store
    publish(store, "Be fair.", 0)
    store.add_candidates([Candidate(prompt="p", responses=("a", "b"))])
    first = questions.ask(store, "ann", " Is a tie\nallowed? ", 1)
    second = questions.ask(store, "bob", "And two?", None)
    assert questions.answer(store, first, "Yes.", in_guideline=True) == 2
    assert questions.answer(store, second, "No.", in_guideline=True) == 3
    added = "> Is a tie\n> allowed?\n\nYes.\n\n> And two?\n\nNo.\n"
    expected = f"Be fair.\n\n## Questions and answers\n\n{added}"
    assert store.newest_guideline() == (3, expected)
    [own] = questions.questions_of(store, "ann")
    assert (own.text, own.answer, own.item_id) == ("Is a tie\nallowed?", "Yes.", 1)
    with raises("unknown-name", 9):
        questions.answer(store, 9, "Yes.", in_guideline=False)
    assert erase_person(store, "ann").removed["events"] == 0
    assert [one.annotator for one in questions.questions_of(store)] == ["bob"]
