"""What a chat leaves behind: conversations that SFT reads, votes and thumbs in the label store."""

import json

import pytest

from rlhf.chat.transcripts import load, save
from rlhf.chat.votes import Compared, Votes, prompt_of
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.errors import DataError
from rlhf.labels.export import rows_of
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello.\nÄ “quote”."},
]
PAIR = Compared(prompt="Hi", answers=["good", "poor"], models=["m/a", "m/b"], blind=True)


def test_a_saved_conversation_is_a_demonstration_and_comes_back(tmp_path):
    path = tmp_path / "new" / "chats.jsonl"
    save(path, TALK)
    save(path, TALK[1:])
    assert [json.loads(line)["messages"] for line in path.read_text().splitlines()] == [
        TALK,
        TALK[1:],
    ]
    assert load(str(path)) == TALK[1:]
    assert load(str(path), 1) == TALK
    assert [row.completion for row in load_demonstrations(str(path)).rows] == [
        TALK[2]["content"]
    ] * 2


def test_a_thought_is_a_field_of_the_saved_message_and_comes_back(tmp_path):
    path = tmp_path / "chats.jsonl"
    talk = [TALK[1], {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHello."}]
    save(path, [*talk, TALK[1], TALK[2]])
    save(path, talk)
    [long, short] = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    said = {"role": "assistant", "content": "Hello.", "reasoning_content": "Hm."}
    assert short == [TALK[1], said]
    assert long == [TALK[1], said, TALK[1], TALK[2]]
    assert load(str(path)) == talk
    assert load(str(path), 1) == [*talk, TALK[1], TALK[2]]
    assert load_demonstrations(str(path)).rows[1].turn == said
    with pytest.raises(DataError, match="is empty"):
        save(path, [TALK[1], {"role": "assistant", "content": "<think>\nHm."}])


def test_a_vote_keeps_thoughts_in_the_responses(tmp_path):
    thoughtful = "<think>\nHm.\n</think>\n\nHello."
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.prefer(
            Compared(prompt="Hi", answers=[thoughtful, "y"], models=["a", "b"], blind=False), "1"
        )
        with pytest.raises(DataError, match="an answer is empty"):
            votes.prefer(
                Compared(prompt="Hi", answers=["<think>\nHm.", "y"], models=["a"] * 2, blind=False),
                "1",
            )
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert [row["chosen"] for row in rows_of(store, "pairs").rows] == [thoughtful]


def test_what_is_no_conversation_is_neither_saved_nor_loaded(tmp_path):
    path = tmp_path / "chats.jsonl"
    with pytest.raises(DataError, match="nothing was said"):
        save(path, [])
    with pytest.raises(DataError, match="is empty"):
        save(path, [TALK[1], {"role": "assistant", "content": ""}])
    assert not path.exists()
    with pytest.raises(DataError, match="no such file"):
        load(str(path))
    with pytest.raises(DataError, match="cannot be written"):
        save(tmp_path, TALK)
    path.write_text('{"messages": 3}\nnot json\n')
    with pytest.raises(DataError, match=r"chats\.jsonl:2"):
        load(str(path))
    with pytest.raises(DataError, match=r"chats\.jsonl:1: messages"):
        load(str(path), 1)
    with pytest.raises(DataError, match="has 2 rows; row 3"):
        load(str(path), 3)


def test_votes_become_preference_rows(tmp_path):
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.prefer(PAIR, "1")
        votes.prefer(
            Compared(prompt=TALK[:2], answers=["x", "y"], models=["a", "b"], blind=False), "2"
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


def test_a_second_vote_replaces_the_first_and_a_tie_is_one(tmp_path):
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        for vote in ("1", "2", "tie", "bad"):
            votes.prefer(PAIR, vote)
    with LabelStore(tmp_path / "labels.sqlite") as store:
        [label] = store.labels()
        assert label.ranks == [1, 1]
        assert label.extra == {"blind": True, "both_bad": True}
        assert rows_of(store, "pairs").left_out["tied pairs"] == 1


@pytest.mark.parametrize("vote", ["0", "3", "-1", "", "best", "²"])
def test_other_votes_and_empty_answers_are_refused_and_nothing_is_kept(tmp_path, vote):
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        with pytest.raises(DataError, match="a vote is 1 to 2"):
            votes.prefer(PAIR, vote)
        with pytest.raises(DataError, match="an answer is empty"):
            votes.prefer(
                Compared(prompt="Hi", answers=["", "b"], models=["", ""], blind=False), "1"
            )
        with pytest.raises(DataError, match="not empty"):
            votes.thumb("Hi", " ", "m", up=True)
        with pytest.raises(DataError, match="not empty"):
            votes.thumb("Hi", "<think>\nHm.", "m", up=True)
    assert not (tmp_path / "labels.sqlite").exists()


def test_thumbs_become_kto_rows_and_are_nobodys_work(tmp_path):
    """A thumb is in no queue, no ranking and no statistic of agreement."""
    with Votes(tmp_path / "labels.sqlite", "Ann") as votes:
        votes.thumb("Hi", "good", "m", up=False)
        votes.thumb("Hi", "good", "m", up=True)
        votes.thumb(TALK[:2], "poor", "m", up=False)
        votes.prefer(PAIR, "1")
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


def test_one_question_is_a_string_and_a_conversation_stays_one():
    assert prompt_of(TALK[1:2]) == "Hi"
    assert prompt_of(TALK[:2]) == TALK[:2]
