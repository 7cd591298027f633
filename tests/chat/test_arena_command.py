"""`rlhf serve --arena`: from the options to the votes in the store."""

import json
import time

import httpx
import pytest

from rlhf.chat.arena import serve
from rlhf.chat.web.cli import main
from rlhf.labels.store import LabelStore
from tests.chat.running_app import running_command
from tests.chat.scripted_model import make_scripted
from tests.errors import raises


def vote_on(address: str, question: str) -> dict:
    """Ask, read for as long as the arena wants, and vote for the left answer."""
    headers = {"origin": address}
    reply = httpx.post(f"{address}/arena/ask", json={"question": question}, headers=headers)
    events = [
        json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")
    ]
    time.sleep(events[-1]["seconds"])
    body = {"battle": events[0]["battle"], "vote": "1"}
    return httpx.post(f"{address}/arena/vote", json=body, headers=headers).raise_for_status().json()


def test_two_names_of_one_folder_stay_apart_from_the_command_to_the_leaderboard(
    tmp_path, monkeypatch, capsys
):
    folder = make_scripted(tmp_path / "scripted", script=["<think>", "Hm.", "</think>", "A dog."])
    store = tmp_path / "votes.sqlite"
    options = ["--arena", f"first={folder}", f"second={folder}", "--store", str(store)]
    with running_command(monkeypatch, serve, [*options, "--port", "0"]) as address:
        voted = vote_on(address, "Which animal?")
        board = httpx.get(f"{address}/leaderboard").text
        assert httpx.get(f"{address}/v1/models").status_code == 404  # it would tell who is who
    assert voted["broken_rules"] == []
    assert set(voted["models"]) == {"first", "second"}
    assert "first" in board
    assert "second" in board
    printed = capsys.readouterr().err
    assert f"arena: {address}/" in printed
    assert f"leaderboard: {address}/leaderboard" in printed
    with LabelStore(store, create=False) as opened:
        [label] = opened.labels()
        assert label.extra["models"] == voted["models"]
        assert opened.items()[0].models == tuple(voted["models"])


@pytest.mark.parametrize(
    ("options", "code", "fragment"),
    [
        (["--arena", "a=x"], "missing-key", "--arena"),
        (["--arena", "a=x", "b=x", "--token", "t" * 16], "key-conflict", "--token"),
        (["--arena", "a=x", "b=x", "--history", "off"], "key-conflict", "--history"),
        (["a=x", "--questions_per_hour", "3"], "key-conflict", "--questions_per_hour"),
        (["--arena", "a=x", "a=y"], "repeated-key", "a"),
    ],
)
def test_options_that_do_not_fit_end_before_a_model_loads(
    tmp_path, monkeypatch, options, code, fragment
):
    monkeypatch.chdir(tmp_path)
    with raises(code, fragment):
        main([*options, "--port", "0"])
