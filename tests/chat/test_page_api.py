"""The routes of the chat page, without a browser."""

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
    assert row["models"] == [models[name].name for name in revealed]
    assert (row["prompt"], row["ranks"], row["extra"]) == ("A cat?", [1, 2], {"blind": True})
    assert (mark["completion"], mark["label"]) == ("x", True)


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


def test_markdown_is_sanitized(http):
    html = http.post("/page/markdown", json={"text": "**a** <script>b</script>"}).json()["html"]
    assert "<strong>a</strong>" in html
    assert "<script" not in html


def test_health_has_counts_alone(http):
    assert http.get("/health").json() == {"status": "up", "writing": 0, "waiting": 0}
