"""The routes of the chat page, without a browser."""

from dataclasses import replace

import httpx
import pytest

from rlhf.chat.introspection import next_tokens, token_differences
from rlhf.chat.loading import load_chat_model
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

MESSAGES = [{"role": "user", "content": "A cat?"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        name: load_chat_model(str(make_model(folder / name, seed=seed)))
        for seed, name in enumerate(("one", "two"))
    }


@pytest.fixture
def http(models, tmp_path):
    with (
        serving(tmp_path, models) as site,
        httpx.Client(base_url=site.address, timeout=240) as client,
    ):
        yield client


def test_blind_vote_is_stored_under_the_models_names(http, models, tmp_path):
    names = http.post("/page/blind", json={"models": ["one", "two"]}).json()["names"]
    assert len({*names, "one", "two"}) == 4
    body = {"model": names[0], "messages": MESSAGES, "max_tokens": 2}
    completion = http.post("/v1/chat/completions", json=body).json()
    assert completion["model"] == names[0]
    vote = {"messages": MESSAGES, "responses": ["x", "y"], "models": names, "vote": "1"}
    revealed = http.post("/page/vote", json=vote).json()["models"]
    assert set(revealed) == {"one", "two"}
    thumb = {"messages": MESSAGES, "response": "x", "model": "one", "up": True}
    assert http.post("/page/thumb", json=thumb).json() == {"kept": True}
    with LabelStore(tmp_path / "labels.sqlite") as store:
        [row] = rows_of(store, "rankings").rows
        [mark] = rows_of(store, "thumbs").rows
    assert row["models"] == revealed  # and not the paths of this machine
    assert (row["prompt"], row["ranks"], row["extra"]) == ("A cat?", [1, 2], {"blind": True})
    assert (mark["completion"], mark["label"]) == ("x", True)


def test_vote_keeps_the_name_that_the_user_gave(models, tmp_path):
    """`rlhf serve mine=DIR DIR` of one folder."""
    twice = {"mine": models["one"], "one": models["one"]}
    vote = {"messages": MESSAGES, "responses": ["x", "y"], "models": list(twice), "vote": "1"}
    with serving(tmp_path, twice, given_names=["mine"]) as site:
        httpx.post(f"{site.address}/page/vote", json=vote).raise_for_status()
    with LabelStore(tmp_path / "labels.sqlite") as store:
        [row] = rows_of(store, "rankings").rows
    assert row["models"] == ["mine", "one"]


def test_inspection_routes_equal_library_functions(http, models):
    one, two = models.values()
    prompt = prompt_ids(one.chat, MESSAGES)
    body = {"model": "one", "messages": MESSAGES, "response": "A dog"}
    tokens = http.post("/page/tokens", json=body).json()
    assert [token["id"] for token in tokens["prompt"]] == prompt
    response = [token["id"] for token in tokens["response"]]
    assert "".join(token["text"] for token in tokens["response"]) == "A dog"
    assert tokens["text"] == "A dog"
    likeliest = http.post(
        "/page/next", json={**body, "ids": response[:1], "temperature": 0.5}
    ).json()
    expected = next_tokens(one, [*prompt, response[0]], Sampling(temperature=0.5), most=10)
    assert [row["token"]["id"] for row in likeliest] == [row.token.id for row in expected]
    reshaped = [row["reshaped"] for row in likeliest]
    assert reshaped == pytest.approx([row.reshaped for row in expected])
    ranked = http.post("/page/positions", json=body).json()
    assert [row["token"]["id"] for row in ranked] == response
    why = http.post("/page/why", json={**body, "others": ["two"]}).json()
    kl = [row.kl[0] for row in token_differences([one, two], prompt, response)]
    assert [row["kl"][0] for row in why["tokens"]] == pytest.approx(kl, abs=1e-5)
    assert why["rewards"] == []
    space = http.post("/page/space", json=body).json()
    assert [step["text"] for step in space["path"]] == [t["text"] for t in tokens["response"]]


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        (
            "vote",
            {"responses": ["x", "y"], "models": ["one"], "vote": "1"},
            "2 responses for 1 model",
        ),
        ("vote", {"responses": ["x", "y"], "models": ["one", "two"], "vote": "3"}, "1 to 2, tie"),
        ("thumb", {"response": " ", "model": "one", "up": True}, "the response is empty"),
        ("tokens", {"model": "one", "ids": [340]}, "beyond the model's 340 tokens"),
        ("tokens", {"model": "one", "ids": [1] * 513}, "ids"),
        ("tokens", {"model": "one", "response": "red " * 600}, "at most 512 can be inspected"),
        ("next", {"model": "one", "temperature": -1}, "temperature"),
        ("space", {"model": "one", "texts": ["a"]}, "three different prompts"),
        ("rewards", {"responses": ["a"]}, "this server has no reward model"),
    ],
)
def test_invalid_page_request_is_rejected_with_its_reason(http, path, changes, message):
    reply = http.post(f"/page/{path}", json={"messages": MESSAGES, **changes})
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


def test_text_of_inspected_tokens_has_no_leading_space(root, tmp_path):
    """The first token of the bundled model begins with a space, its response does not."""
    pocket = load_chat_model(str(root / "data/pocket/model"))
    with serving(tmp_path, {"pocket": pocket}) as site:
        body = {"model": "pocket", "messages": MESSAGES, "response": "A lion eats"}
        tokens = httpx.post(f"{site.address}/page/tokens", json=body, timeout=240).json()
    assert "".join(token["text"] for token in tokens["response"]) == " A lion eats"
    assert tokens["text"] == "A lion eats"


def test_rewards_are_normalised(models, tmp_path):
    model = models["one"]
    fresh = new_reward_model(model.name, seed=0)
    save_reward_model(tmp_path / "rm", fresh, model.chat, 0.5, 2.0)
    reward_model = RewardModel(tmp_path / "rm")
    with serving(tmp_path, models, reward_model=reward_model) as site:
        body = {"messages": MESSAGES, "responses": ["A dog", "The ball"]}
        rewards = httpx.post(f"{site.address}/page/rewards", json=body, timeout=240).json()
    raw = reward_model.score(["A cat?"] * 2, body["responses"])
    assert rewards == pytest.approx([(value - 0.5) / 2 for value in raw], abs=1e-5)


def test_votes_of_cut_and_steered_responses_are_marked_in_exports(http, tmp_path):
    origins = [{"ending": "length"}, {"ending": "stopped", "steered": True}]
    vote = {"messages": MESSAGES, "responses": ["x", "y"], "models": ["one", "two"], "vote": "2"}
    http.post("/page/vote", json={**vote, "origins": origins}).raise_for_status()
    thumb = {"messages": MESSAGES, "response": "z", "model": "one", "up": True}
    http.post("/page/thumb", json={**thumb, "origin": origins[1]}).raise_for_status()
    with LabelStore(tmp_path / "labels.sqlite") as store:
        [ranking] = rows_of(store, "rankings").rows
        [pair] = rows_of(store, "pairs").rows
        [mark] = rows_of(store, "thumbs").rows
    assert ranking["extra"]["endings"] == ["length", "stopped"]
    assert ranking["extra"]["steered"] == [False, True]
    assert (pair["chosen"], pair["endings"], pair["steered"]) == (
        "y",
        ["stopped", "length"],
        [True, False],
    )
    assert (mark["endings"], mark["steered"]) == (["stopped"], [True])


def test_votes_are_stored_under_the_voters_own_name(http, tmp_path):
    """A later vote of the same browser and name replaces the earlier one; another's does not."""
    body = {"messages": MESSAGES, "responses": ["x", "y"], "models": ["one", "two"]}
    for name, browser, vote in (
        ("Eve", "a" * 64, "1"), ("Eve", "a" * 64, "2"), ("Eve", "b" * 64, "1"), ("", "a" * 64, "1"),
    ):  # fmt: skip
        headers = {"x-browser-key": browser}
        reply = http.post(
            "/page/vote", json={**body, "annotator": name, "vote": vote}, headers=headers
        )
        reply.raise_for_status()
    with LabelStore(tmp_path / "labels.sqlite") as store:
        labels = [(label.annotator, list(label.ranks)) for label in store.labels()]
    assert labels == [("Eve", [2, 1]), ("Eve", [1, 2]), ("Ann", [1, 2])]


def test_conversation_is_saved_listed_renamed_and_deleted(http):
    turns = [
        {"id": "user-0001", "parent": None, "role": "user", "content": "A cat?"},
        {
            "id": "reply-0001", "parent": "user-0001", "role": "assistant", "system": "Be kind.",
            "settings": {"temperature": 1, "top_p": 0.5, "max_tokens": None, "seed": 3},
            "responses": [{"model": "one", "label": "one", "text": "A dog", "finish": "length"}],
        },
    ]  # fmt: skip
    body = {"title": "A cat?", "leaf": "reply-0001", "turns": turns}
    assert http.post("/page/history/chat-0001", json=body).json() == {"saved": True}
    [summary] = http.get("/page/history", params={"q": "DOG"}).json()
    assert (summary["id"], summary["title"]) == ("chat-0001", "A cat?")
    stored = http.get("/page/history/chat-0001").json()
    assert stored["leaf"] == "reply-0001"
    assert stored["turns"][1]["system"] == "Be kind."
    assert stored["turns"][1]["responses"][0]["text"] == "A dog"
    [row] = http.post("/page/export", json={"turns": stored["turns"]}).json()["rows"]
    assert [message["content"] for message in row["messages"]] == ["Be kind.", "A cat?", "A dog"]
    assert row["endings"] == ["length"]
    http.post("/page/history/chat-0001/title", json={"title": "Mine"}).raise_for_status()
    assert [one["title"] for one in http.get("/page/history").json()] == ["Mine"]
    http.delete("/page/history/chat-0001").raise_for_status()
    assert http.get("/page/history").json() == []
    missing = http.get("/page/history/chat-0001")
    assert missing.status_code == 400
    assert "chat-0001" in missing.json()["error"]["message"]


def test_oldest_turns_are_left_out_where_they_do_not_fit(models, tmp_path):
    """Of four messages the two oldest go, for every model, if one of them has no room."""
    small = {"one": models["one"], "two": replace(models["two"], positions=60)}
    talk = [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "red " * 40},
        {"role": "assistant", "content": "ball"}, {"role": "user", "content": "A cat?"},
    ]  # fmt: skip
    with serving(tmp_path, small) as site:
        body = {"models": ["one", "two"], "messages": talk, "max_tokens": 8}
        assert httpx.post(f"{site.address}/page/fit", json=body).json() == {"dropped": 2}
        body["models"] = ["one"]
        assert httpx.post(f"{site.address}/page/fit", json=body).json() == {"dropped": 0}
        body = {"models": ["two"], "messages": talk[1:2], "max_tokens": 8}
        reply = httpx.post(f"{site.address}/page/fit", json=body)
    assert reply.status_code == 400
    assert "60 positions" in reply.json()["error"]["message"]


def test_cut_response_is_continued_from_its_text(http, models):
    """The continuation of a greedy response is the rest of the longer greedy response."""
    body = {"model": "one", "messages": MESSAGES, "temperature": 0}

    def text_of(reply: httpx.Response) -> str:
        return reply.json()["choices"][0]["message"]["content"]

    whole = text_of(http.post("/v1/chat/completions", json={**body, "max_tokens": 12}))
    ids = models["one"].chat.tokenizer(whole, add_special_tokens=False)["input_ids"]
    begun = models["one"].chat.tokenizer.decode(ids[:6])
    more = http.post("/page/go_on", json={**body, "response": begun, "max_tokens": 6})
    assert begun + text_of(more) == whole


def test_markdown_is_sanitized(http):
    html = http.post("/page/markdown", json={"text": "**a** <script>b</script>"}).json()["html"]
    assert "<strong>a</strong>" in html
    assert "<script" not in html


def test_health_has_counts_alone(http):
    assert http.get("/health").json() == {"status": "up", "writing": 0, "waiting": 0}
