"""Votes and thumbs of chats become rankings, each in the round in which it first arrives."""

import json
from dataclasses import replace

import pytest

from rlhf.chat.votes import ComparedResponses, ResponseOrigin, Votes
from rlhf.data.rows.load import load_rankings
from rlhf.labels.store import LabelStore
from rlhf.pipeline.chat_votes import (
    COUNTS,
    ROWS,
    last_event_before,
    read_votes,
    votes_store,
    write_votes,
)
from rlhf.pipeline.label_stage import rows_of_rankings
from rlhf.pipeline.rounds_config import RoundsConfig


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "votes.sqlite")


def pair(prompt="Hi", responses=("good", "poor")):
    return ComparedResponses(prompt=prompt, responses=responses, models=["a", "b"], blind=False)


def test_votes_and_thumbs_are_rankings(store):
    """A vote, a thumb up and a thumb down on one prompt, and one without a counterpart."""
    with Votes(store, "ann") as votes:
        votes.vote(pair(), "2")
        votes.thumb("Where?", "There.", "a", up=True)
        votes.thumb("Where?", "Nowhere.", "a", up=False)
        votes.thumb("Who?", "Tom.", "a", up=True)
    taken = read_votes(store, 0)
    ranks = [(row["prompt"], row["responses"], row["ranks"]) for row in taken.rows]
    assert ranks == [
        ("Hi", ["good", "poor"], [2, 1]),
        ("Where?", ["There.", "Nowhere."], [1, 2]),
    ]
    assert [row["annotator"] for row in taken.rows] == ["ann", "ann"]
    counts = taken.counts
    assert (counts.votes, counts.thumbs) == (1, 3)
    assert (counts.thumb_rankings, counts.unpaired_thumbs) == (1, 1)
    assert len(load_rankings(taken.rows).rows) == 2


def test_cut_responses_stay_cut_in_the_rankings_of_a_round(store):
    """A vote and two thumbs, in rows as the stage of labels writes and the next one reads them."""
    whole, cut = ResponseOrigin(), ResponseOrigin(ending="stopped")
    with Votes(store, "ann") as votes:
        votes.vote(replace(pair(), origins=[whole, cut]), "1")
        votes.thumb("Where?", "There.", "a", up=True)
        votes.thumb("Where?", "Now", "a", up=False, origin=cut)
        votes.vote(pair("Who?"), "1")
    rows = rows_of_rankings(load_rankings(read_votes(store, 0).rows).rows)
    again = load_rankings(json.loads(json.dumps(rows))).rows
    assert {row.prompt: row.is_cut for row in again} == {
        "Hi": [False, True],
        "Where?": [False, True],
        "Who?": [False, False],
    }


def test_thumbs_of_two_annotators_are_not_compared(store):
    for name, up in (("ann", True), ("bob", False)):
        with Votes(store, name) as votes:
            votes.thumb("Where?", f"By {name}.", "a", up=up)
    taken = read_votes(store, 0)
    assert taken.rows == []
    assert taken.counts.unpaired_thumbs == 2


def test_only_votes_since_the_last_round_are_new(store):
    with Votes(store, "ann") as votes:
        votes.vote(pair("one"), "1")
    first = read_votes(store, 0)
    assert read_votes(store, first.counts.last_event).rows == []
    with Votes(store, "ann") as votes:
        votes.vote(pair("two"), "1")
    second = read_votes(store, first.counts.last_event)
    assert [row["prompt"] for row in second.rows] == ["two"]
    assert second.counts.last_event > first.counts.last_event


def test_later_vote_on_the_same_responses_counts(store):
    for vote in ("1", "2"):  # of two sessions: the second does not know the first
        with Votes(store, "ann") as votes:
            votes.vote(pair(), vote)
    assert [row["ranks"] for row in read_votes(store, 0).rows] == [[2, 1]]


def test_replaced_store_is_read_from_its_start(store):
    with Votes(store, "ann") as votes:
        votes.vote(pair(), "1")
    assert len(read_votes(store, 1000).rows) == 1


def test_rankings_of_the_label_page_are_not_votes(store):
    """Rankings that are in the store for another reason stay out; equal responses too."""
    with LabelStore(store) as label_store:
        label_store.add("Page?", ["x", "y"], ranks=[1, 2], annotator="ann")
    with Votes(store, "ann") as votes:
        votes.vote(pair("same", ("x", "x ")), "tie")
    assert read_votes(store, 0).rows == []


def test_missing_store_has_no_votes(tmp_path, store):
    taken = read_votes(store, 7)
    assert (taken.rows, taken.counts.last_event) == ([], 7)
    assert not (tmp_path / "votes.sqlite").exists()


def test_rounds_remember_the_last_event(tmp_path, store):
    """Votes of round 2 end at event 1; round 3 starts after it."""
    with Votes(store, "ann") as votes:
        votes.vote(pair(), "1")
    assert last_event_before(str(tmp_path), 2) == 0
    folder = tmp_path / "round-2" / "labels"
    folder.mkdir(parents=True)
    write_votes(folder, read_votes(store, 0))
    assert json.loads((folder / COUNTS).read_text())["last_event"] == 1
    assert len((folder / ROWS).read_text().splitlines()) == 1
    assert (folder / ROWS).stat().st_mode & 0o777 == 0o600
    assert last_event_before(str(tmp_path), 2) == 0
    assert last_event_before(str(tmp_path), 3) == 1


def test_store_is_in_the_run_folder_by_default(tmp_path):
    assert votes_store("runs/x", RoundsConfig()) == "runs/x/votes.sqlite"
    assert votes_store("runs/x", RoundsConfig(votes="mine.sqlite")) == "mine.sqlite"
