"""Saved conversations that SFT reads, and votes and thumbs in the label store."""

import json
from dataclasses import replace

import pytest

from rlhf.chat.transcripts import load_conversation, save_conversation
from rlhf.chat.votes import ComparedResponses, ResponseOrigin, Votes, as_prompt
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.labels.export import rows_of
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from tests.errors import raises

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello.\nÄ “quote”."},
]
PAIR = ComparedResponses(prompt="Hi", responses=["good", "poor"], models=["m/a", "m/b"], blind=True)


def test_saved_conversation_is_a_demonstration_and_loads_back(tmp_path):
    path = tmp_path / "new" / "chats.jsonl"
    save_conversation(path, TALK)
    save_conversation(path, TALK[1:])
    assert [json.loads(line)["messages"] for line in path.read_text().splitlines()] == [
        TALK,
        TALK[1:],
    ]
    assert load_conversation(str(path)) == TALK[1:]
    assert load_conversation(str(path), 1) == TALK
    assert [row.completion for row in load_demonstrations(str(path)).rows] == [
        TALK[2]["content"]
    ] * 2


def test_exported_conversation_with_a_cut_response_is_loaded_as_it_was(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": TALK, "endings": ["length"]}) + "\n")
    assert load_conversation(str(path)) == TALK


def test_thought_is_a_field_of_the_saved_message(tmp_path):
    path = tmp_path / "chats.jsonl"
    talk = [TALK[1], {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHello."}]
    save_conversation(path, [*talk, TALK[1], TALK[2]])
    save_conversation(path, talk)
    [long, short] = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    reply = {"role": "assistant", "content": "Hello.", "reasoning_content": "Hm."}
    assert short == [TALK[1], reply]
    assert long == [TALK[1], reply, TALK[1], TALK[2]]
    assert load_conversation(str(path)) == talk
    assert load_conversation(str(path), 1) == [*talk, TALK[1], TALK[2]]
    assert load_demonstrations(str(path)).rows[1].turn == reply
    with raises("bad-row"):
        save_conversation(path, [TALK[1], {"role": "assistant", "content": "<think>\nHm."}])


def test_vote_keeps_thoughts_in_the_responses(tmp_path):
    thoughtful = "<think>\nHm.\n</think>\n\nHello."
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.vote(
            ComparedResponses(
                prompt="Hi", responses=[thoughtful, "y"], models=["a", "b"], blind=False
            ),
            "1",
        )
        with raises("bad-label"):
            votes.vote(
                ComparedResponses(
                    prompt="Hi", responses=["<think>\nHm.", "y"], models=["a"] * 2, blind=False
                ),
                "1",
            )
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert [row["chosen"] for row in rows_of(store, "pairs").rows] == [thoughtful]


def test_invalid_conversation_is_neither_saved_nor_loaded(tmp_path):
    path = tmp_path / "chats.jsonl"
    with raises("no-rows"):
        save_conversation(path, [])
    with raises("bad-row"):
        save_conversation(path, [TALK[1], {"role": "assistant", "content": ""}])
    assert not path.exists()
    with raises("missing-file", path):
        load_conversation(str(path))
    with raises("unreadable-file", tmp_path):
        save_conversation(tmp_path, TALK)
    path.write_text('{"messages": 3}\nnot json\n')
    with raises("bad-row", "chats.jsonl:2"):
        load_conversation(str(path))
    with raises("bad-row", "chats.jsonl:1", "messages"):
        load_conversation(str(path), 1)
    with raises("unknown-name", path, "row 3"):
        load_conversation(str(path), 3)


def test_votes_become_preference_rows(tmp_path):
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.vote(PAIR, "1")
        votes.vote(
            ComparedResponses(
                prompt=TALK[:2], responses=["x", "y"], models=["a", "b"], blind=False
            ),
            "2",
        )
    with LabelStore(tmp_path / "labels.sqlite") as store:
        pairs = rows_of(store, "pairs").rows
        assert [(row["prompt"], row["chosen"], row["rejected"]) for row in pairs] == [
            ("Hi", "good", "poor"),
            (TALK[:2], "y", "x"),
        ]
        rankings = rows_of(store, "rankings").rows
    assert rankings[0]["models"] == ["m/a", "m/b"]
    assert rankings[0]["extra"] == {"blind": True}
    path = tmp_path / "rankings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rankings))
    assert [row.ranks for row in load_rankings(str(path)).rows] == [[1, 2], [2, 1]]


def test_second_vote_replaces_the_first(tmp_path):
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        for vote in ("1", "2", "tie", "bad"):
            votes.vote(PAIR, vote)
    with LabelStore(tmp_path / "labels.sqlite") as store:
        [label] = store.labels()
        assert label.ranks == [1, 1]
        assert label.extra == {"blind": True, "models": ["m/a", "m/b"], "both_bad": True}
        assert rows_of(store, "pairs").left_out["tied pairs"] == 1


def test_complete_responses_of_the_models_have_no_mark(tmp_path):
    own = ResponseOrigin()
    cut = ResponseOrigin(ending="length")
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.vote(replace(PAIR, origins=[own, own]), "1")
        votes.vote(replace(PAIR, prompt="Other", origins=[own, cut]), "1")
    with LabelStore(tmp_path / "labels.sqlite") as store:
        own_row, cut_row = rows_of(store, "pairs").rows
    assert "endings" not in own_row
    assert (cut_row["endings"], cut_row["steered"]) == (["stop", "length"], [False, False])


@pytest.mark.parametrize("vote", ["0", "3", "-1", "", "best", "²"])
def test_invalid_votes_are_rejected_and_not_stored(tmp_path, vote):
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        with raises("bad-label", repr(vote)):
            votes.vote(PAIR, vote)
        with raises("bad-label"):
            votes.vote(
                ComparedResponses(prompt="Hi", responses=["", "b"], models=["", ""], blind=False),
                "1",
            )
        with raises("bad-label"):
            votes.thumb("Hi", " ", "m", up=True)
        with raises("bad-label"):
            votes.thumb("Hi", "<think>\nHm.", "m", up=True)
    assert not (tmp_path / "labels.sqlite").exists()


def test_thumbs_become_kto_rows_and_are_not_queued(tmp_path):
    """A thumb is not in the queue, the rankings or the agreement statistics."""
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.thumb("Hi", "good", "m", up=False)
        votes.thumb("Hi", "good", "m", up=True)
        votes.thumb(TALK[:2], "poor", "m", up=False)
        votes.vote(PAIR, "1")
    with LabelStore(tmp_path / "labels.sqlite") as store:
        thumbs = rows_of(store, "thumbs").rows
        assert [(row["prompt"], row["completion"], row["label"]) for row in thumbs] == [
            ("Hi", "good", True),
            (TALK[:2], "poor", False),
        ]
        assert len(rows_of(store, "rankings").rows) == len(rows_of(store, "pairs").rows) == 1
        assert rows_of(store, "rankings").left_out == {"thumbs on single responses": 2}
        assert label_stats(store).labels == 1
        claim = Queue(store, QueueConfig(overlap=2)).next("Bob")
        assert claim is not None
        assert list(claim.item.responses) == ["good", "poor"]
        assert Queue(store, QueueConfig(overlap=1)).next("Eve") is None


def test_single_user_message_becomes_a_string_prompt():
    assert as_prompt(TALK[1:2]) == "Hi"
    assert as_prompt(TALK[:2]) == TALK[:2]
