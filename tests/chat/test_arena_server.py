"""The arena over HTTP: what a visitor gets to see, and who may ask and vote how often."""

import json

import httpx
import pytest
from fastapi.routing import APIRoute

from rlhf.chat.arena import battles as battles_module
from rlhf.chat.arena.config import MAX_QUESTION, ArenaConfig
from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from rlhf.labels.export import rows_of
from tests.browsing import wait_until
from tests.chat.arena_server import serving_arena
from tests.chat.scripted_model import make_scripted

ROUTES = {
    ("GET", "/"),
    ("GET", "/leaderboard"),
    ("GET", "/health"),
    ("POST", "/arena/ask"),
    ("POST", "/arena/vote"),
}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`alpha` thinks and answers "A dog, I say."; `beta` answers "**Two** <b>cats</b>"."""
    folder = tmp_path_factory.mktemp("models")
    alpha = make_scripted(folder / "alpha")
    beta = make_scripted(folder / "beta", script=["**Two**", " <b>cats", "</b>"])
    return {"alpha": load_chat_model(str(alpha)), "beta": load_chat_model(str(beta))}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def arena(models, tmp_path, clock):
    with serving_arena(tmp_path, models, clock=clock) as arena:
        yield arena


def test_a_battle_hides_the_names_until_the_vote(arena, clock):
    first, *middle, last = events = arena.ask(" Which animal? ")
    assert not any(name in json.dumps(events) for name in ("alpha", "beta", "runs", "Hm, "))
    texts = ["".join(one["text"] for one in middle if one["side"] == side) for side in (0, 1)]
    assert sorted(texts) == ["**Two** <b>cats</b>", "A dog, I say."]
    left = texts.index("A dog, I say.")
    assert last["html"][left] == '<p dir="auto">A dog, I say.</p>\n'
    assert "&lt;b&gt;cats" in last["html"][1 - left]
    assert last["seconds"] == 1.0  # 13 and 19 characters are read in 0.64 seconds
    clock.now = 1.0
    reply = arena.vote(first["battle"], str(1 + left)).raise_for_status().json()
    assert reply == {"models": ["alpha", "beta"] if left == 0 else ["beta", "alpha"],
                     "broken_rules": []}  # fmt: skip
    [pair] = rows_of(arena.store, "pairs").rows
    assert pair["prompt"] == "Which animal?"
    thought = "<think>\nHm, let me see.\n</think>\n\n"
    assert (pair["chosen"], pair["rejected"]) == (f"{thought}A dog, I say.", "**Two** <b>cats</b>")
    assert pair["models"] == ["runs/alpha", "runs/beta"]
    assert pair["annotator"].startswith("visitor-")


def test_a_vote_before_reading_is_rejected_and_discounts_the_later_one(arena, clock):
    battle = arena.ask("Which animal?")[0]["battle"]
    clock.now = 0.9
    assert arena.vote(battle, "1").status_code == 409
    clock.now = 1.0
    reply = arena.vote(battle, "1").json()
    assert set(reply["models"]) == {"alpha", "beta"}
    assert [text.split()[0:3] for text in reply["broken_rules"]] == [["A", "vote", "was"]]
    again = arena.vote(battle, "2")
    assert (again.status_code, "already" in again.text) == (409, True)
    [label] = arena.store.labels()
    assert (label.purpose, label.extra["discounted"]) == ("discounted", ["early"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"battle": "none", "vote": "1"}, 410),
        ({"battle": "none", "vote": "3"}, 400),
        ({"battle": "none"}, 400),
        ({"battle": "none", "vote": "1", "models": ["alpha", "beta"]}, 400),
    ],
)
def test_votes_that_fit_no_battle_are_rejected(arena, body, status):
    reply = arena.post("/arena/vote", body)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


def test_empty_and_long_questions_are_rejected(arena):
    headers = {"origin": arena.address, "content-type": "application/json"}
    for question in ("", "  ", "x" * (MAX_QUESTION + 1), "\ud800"):
        content = json.dumps({"question": question})
        reply = httpx.post(f"{arena.address}/arena/ask", content=content, headers=headers)
        assert reply.status_code == 400, question[:5]
    assert arena.store.items() == []


def test_answers_without_text_cannot_be_compared(models, tmp_path, clock):
    """Answers of three tokens: `alpha` is still thinking."""
    limits = Limits(max_new_tokens=3)
    with serving_arena(tmp_path, models, ArenaConfig(limits=limits), clock=clock) as arena:
        *_, last = events = arena.ask("Which animal?")
        assert last["is_empty"]
        clock.now = 60.0
        reply = arena.vote(events[0]["battle"], "1")
        assert (reply.status_code, "empty" in reply.text) == (400, True)
        assert arena.store.labels() == []


def test_questions_of_an_address_are_limited(models, tmp_path):
    """The proxy's X-Forwarded-For is the address; another connection's would be ignored."""
    config = ArenaConfig(questions_per_hour=2, trusted_proxy=["127.0.0.1"])
    with serving_arena(tmp_path, models, config) as arena:
        for address in ("203.0.113.7", "2001:db8::1"):
            assert arena.ask("?", **{"x-forwarded-for": address})
            assert arena.ask("?", **{"x-forwarded-for": address})
        for address in ("203.0.113.7", "1.1.1.1, 203.0.113.7", "2001:db8::2"):
            headers = {"x-forwarded-for": address}
            reply = arena.post("/arena/ask", {"question": "?"}, **headers)
            assert (reply.status_code, "2 questions" in reply.text) == (429, True)
        assert arena.ask("?", **{"x-forwarded-for": "198.51.100.1"})


def test_open_questions_of_an_address_are_limited(arena, monkeypatch):
    monkeypatch.setattr(battles_module, "MAX_RUNNING", 0)
    reply = arena.post("/arena/ask", {"question": "?"})
    assert (reply.status_code, "wait" in reply.text) == (429, True)


def test_a_reader_who_leaves_frees_the_models(models, tmp_path):
    with serving_arena(tmp_path, models) as arena:
        headers = {"origin": arena.address}
        address = f"{arena.address}/arena/ask"
        with httpx.stream("POST", address, json={"question": "?"}, headers=headers) as reply:
            next(reply.iter_lines())
        [battle] = arena.battles._battles.values()
        wait_until(lambda: not battle.is_running)


def test_the_arena_serves_nothing_else(arena):
    """Neither the API nor the chat page, with which a model could be recognised."""
    app = arena.app._app
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
        if method != "HEAD"
    }
    assert routes == ROUTES
    for path in ("/v1/models", "/page/models", "/openapi.json", "/docs"):
        assert httpx.get(f"{arena.address}{path}").status_code == 404
    mounts = {route.path for route in app.routes if not isinstance(route, APIRoute)}
    assert mounts == {"/static", "/static/text", "/static/arena"}


def test_other_sites_cannot_ask_or_vote(arena):
    for path in ("/arena/ask", "/arena/vote"):
        for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
            reply = httpx.post(f"{arena.address}{path}", json={}, headers=headers)
            assert reply.status_code == 403
    assert httpx.get(arena.address, headers={"host": "evil.example"}).status_code == 421


def test_pages_have_the_strict_policy_and_the_rules(arena):
    for path in ("/", "/leaderboard"):
        reply = httpx.get(f"{arena.address}{path}", timeout=240)
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert reply.headers["cache-control"] == "no-store"
        assert "The same address has voted on the same question before." in reply.text
        assert "alpha, beta" in reply.text
        assert "http" not in reply.text
        assert "<script>" not in reply.text
        assert "style=" not in reply.text


def test_leaderboard_shows_names_on_the_server_as_text(models, tmp_path, clock):
    """A name that looks like HTML stays text; models of earlier starts are listed."""
    hostile = "<img src=x onerror=alert(1)>"
    with serving_arena(tmp_path, {hostile: models["alpha"], "beta": models["beta"]},
                       clock=clock) as arena:  # fmt: skip
        battle = arena.ask("Which animal?")[0]["battle"]
        clock.now = 2.0
        arena.vote(battle, "1").raise_for_status()
        page = httpx.get(f"{arena.address}/leaderboard", timeout=240).text
    assert "Counted votes: 1." in page
    assert page.count("<tr><td>–</td>") == 2  # no ranks
    assert "detects ± 0.71" in page  # one question: 2.80 times 1/3.92
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    with serving_arena(tmp_path, {"gamma": models["alpha"], "beta": models["beta"]}) as arena:
        page = httpx.get(f"{arena.address}/leaderboard", timeout=240).text
    assert "runs/&lt;img" in page
    assert ">beta</th>" in page
