"""Conversations on disk."""

import os
import sqlite3
import threading

import pytest

from rlhf.chat.web.conversation_tree import Turn, TurnResponse
from rlhf.chat.web.history import ChatHistory
from tests.errors import raises

ANN, BOB = "ann-hash", "bob-hash"
FIRST, SECOND = "conversation-1", "conversation-2"


def user(name: str, content: str, parent: str | None = None) -> Turn:
    return Turn(id=f"user-{name}", parent=parent, role="user", content=content)


def assistant(name: str, text: str) -> Turn:
    responses = [TurnResponse(model="m", label="m", text=text, finish="stop", reward=0.5)]
    return Turn(
        id=f"assistant-{name}", parent=f"user-{name}", role="assistant", responses=responses
    )


@pytest.fixture
def history(tmp_path):
    opened = ChatHistory(tmp_path / "chats.sqlite")
    yield opened
    opened.close()


def test_file_is_created_with_the_first_conversation(tmp_path, history):
    assert history.summaries(ANN) == []
    assert history.blind_names() == {}
    assert not (tmp_path / "chats.sqlite").exists()
    history.save(ANN, FIRST, title="One", leaf=None, turns=[user("one1", "Hi")])
    assert (tmp_path / "chats.sqlite").stat().st_mode & 0o777 == 0o600


def test_conversation_outlives_the_server(tmp_path, history):
    turns = [user("one1", "Hi"), assistant("one1", "Hello"), assistant("one2", "Hey")]
    history.save(ANN, FIRST, title="One", leaf="assistant-one2", turns=turns)
    history.close()
    again = ChatHistory(tmp_path / "chats.sqlite")
    stored = again.read(ANN, FIRST)
    assert (stored.title, stored.leaf, list(stored.turns)) == ("One", "assistant-one2", turns)
    again.close()


def test_saving_again_replaces_turns_and_keeps_their_order_and_the_title(history):
    history.save(ANN, FIRST, title="One", leaf=None, turns=[user("one1", "a"), user("one2", "b")])
    history.rename(ANN, FIRST, "Mine")
    history.save(ANN, FIRST, title="Two", leaf="user-one1", turns=[user("one1", "A")])
    stored = history.read(ANN, FIRST)
    assert [turn.content for turn in stored.turns] == ["A", "b"]
    assert (stored.title, stored.leaf) == ("Mine", "user-one1")


def test_search_finds_titles_and_texts_in_any_case(history):
    history.save(ANN, FIRST, title="Größe", leaf=None, turns=[user("one1", "50% of _it_")])
    history.save(ANN, SECOND, title="x", leaf=None, turns=[assistant("two1", "ΣΟΦΙΑ and PI")])
    found = {
        query: [one.id for one in history.summaries(ANN, query)]
        for query in ("GRÖSSE", "50%", "_IT_", "σοφια", "Pi", "5%0", "nothing", "")
    }
    assert found == {
        "GRÖSSE": [FIRST], "50%": [FIRST], "_IT_": [FIRST], "σοφια": [SECOND], "Pi": [SECOND],
        "5%0": [], "nothing": [], "": [SECOND, FIRST],
    }  # fmt: skip


def test_owners_do_not_see_each_others_conversations(history):
    history.save(ANN, FIRST, title="Ann's", leaf=None, turns=[user("one1", "secret")])
    history.save(BOB, FIRST, title="Bob's", leaf=None, turns=[user("one1", "other")])
    assert [one.title for one in history.summaries(BOB)] == ["Bob's"]
    assert history.read(BOB, FIRST).turns[0].content == "other"
    history.delete(BOB, FIRST)
    assert history.read(ANN, FIRST).turns[0].content == "secret"
    with raises("unknown-name", FIRST):
        history.read(BOB, FIRST)
    with raises("unknown-name", FIRST):
        history.rename(BOB, FIRST, "Mine")


def test_deleted_texts_leave_the_file(tmp_path, history):
    history.save(ANN, FIRST, title="One", leaf=None, turns=[user("one1", "needle" * 100)])
    assert b"needle" in (tmp_path / "chats.sqlite").read_bytes()
    history.delete(ANN, FIRST)
    assert b"needle" not in (tmp_path / "chats.sqlite").read_bytes()
    assert history.summaries(ANN) == []
    history.delete(ANN, FIRST)  # nothing to delete


def test_blind_names_are_kept_up_to_a_number(history):
    history.add_blind_names({"blind-1": "one", "blind-2": "two"}, keep=3)
    history.add_blind_names({"blind-3": "one", "blind-4": "two"}, keep=3)
    assert history.blind_names() == {"blind-2": "two", "blind-3": "one", "blind-4": "two"}


def test_threads_save_at_the_same_time(history):
    def save(number: int) -> None:
        for part in range(5):
            turns = [user(f"{number:04}-{part}", "x")]
            history.save(ANN, f"conversation-{number}", title="x", leaf=None, turns=turns)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history.summaries(ANN)) == 8
    assert all(len(history.read(ANN, one.id).turns) == 5 for one in history.summaries(ANN))


def test_other_files_are_not_used_as_a_history(tmp_path):
    path = tmp_path / "labels.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE labels (id INTEGER)")
    with raises("bad-store", path):
        ChatHistory(path)
    path.write_text("no database, but long enough to be taken for one by its header " * 20)
    with raises("bad-store", path):
        ChatHistory(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_history_in_a_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with raises("bad-store", "--history"):
        ChatHistory(tmp_path / "chats.sqlite").save(ANN, FIRST, title="x", leaf=None, turns=[])


def test_history_in_a_missing_folder_is_an_error(tmp_path):
    with raises("bad-store", "--history"):
        ChatHistory(tmp_path / "no" / "chats.sqlite").save(
            ANN, FIRST, title="x", leaf=None, turns=[]
        )
