"""What the page asks for beside the API, without a browser."""

import httpx
import pytest

from rlhf.chat.introspection import differences, next_tokens
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

ASKED = [{"role": "user", "content": "A cat?"}]


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


def test_a_blind_vote_is_kept_under_the_models_own_names(http, models, tmp_path):
    names = http.post("/page/blind", json={"models": ["one", "two"]}).json()["names"]
    assert len({*names, "one", "two"}) == 4
    body = {"model": names[0], "messages": ASKED, "max_tokens": 2}
    answer = http.post("/v1/chat/completions", json=body).json()
    assert answer["model"] == names[0]
    vote = {"messages": ASKED, "answers": ["x", "y"], "models": names, "vote": "1"}
    revealed = http.post("/page/vote", json=vote).json()["models"]
    assert set(revealed) == {"one", "two"}
    thumb = {"messages": ASKED, "answer": "x", "model": "one", "up": True}
    assert http.post("/page/thumb", json=thumb).json() == {"kept": True}
    with LabelStore(tmp_path / "labels.sqlite") as store:
        [row] = rows_of(store, "rankings").rows
        [mark] = rows_of(store, "thumbs").rows
    assert row["models"] == [models[name].name for name in revealed]
    assert (row["prompt"], row["ranks"], row["extra"]) == ("A cat?", [1, 2], {"blind": True})
    assert (mark["completion"], mark["label"]) == ("x", True)


def test_looks_are_those_of_the_room_inside(http, models):
    one, two = models.values()
    prompt = prompt_ids(one.chat, ASKED)
    look = {"model": "one", "messages": ASKED, "answer": "A dog"}
    tokens = http.post("/page/tokens", json=look).json()
    assert [token["id"] for token in tokens["prompt"]] == prompt
    answer = [token["id"] for token in tokens["answer"]]
    assert "".join(token["text"] for token in tokens["answer"]) == "A dog"
    assert tokens["text"] == "A dog"
    found = http.post("/page/next", json={**look, "ids": answer[:1], "temperature": 0.5}).json()
    wanted = next_tokens(one, [*prompt, answer[0]], Sampling(temperature=0.5), most=10)
    assert [row["token"]["id"] for row in found] == [row.token.id for row in wanted]
    assert [row["reshaped"] for row in found] == pytest.approx([row.reshaped for row in wanted])
    ranked = http.post("/page/positions", json=look).json()
    assert [row["token"]["id"] for row in ranked] == answer
    why = http.post("/page/why", json={**look, "others": ["two"]}).json()
    kl = [row.kl[0] for row in differences([one, two], prompt, answer)]
    assert [row["kl"][0] for row in why["tokens"]] == pytest.approx(kl, abs=1e-5)
    assert why["rewards"] == []
    space = http.post("/page/space", json=look).json()
    assert [step["text"] for step in space["path"]] == [t["text"] for t in tokens["answer"]]


@pytest.mark.parametrize(
    ("path", "changes", "said"),
    [
        ("vote", {"answers": ["x", "y"], "models": ["one"], "vote": "1"}, "2 answers of 1 models"),
        ("vote", {"answers": ["x", "y"], "models": ["one", "two"], "vote": "3"}, "1 to 2, tie"),
        ("thumb", {"answer": " ", "model": "one", "up": True}, "not empty"),
        ("tokens", {"model": "one", "ids": [340]}, "beyond the model's tokens"),
        ("tokens", {"model": "one", "ids": [1] * 513}, "ids"),
        ("tokens", {"model": "one", "answer": "red " * 600}, "512 are looked into"),
        ("next", {"model": "one", "temperature": -1}, "temperature"),
        ("space", {"model": "one", "texts": ["a"]}, "three different prompts"),
        ("rewards", {"answers": ["a"]}, "no reward model is served"),
    ],
)
def test_what_cannot_be_looked_at_or_voted_is_said(http, path, changes, said):
    answer = http.post(f"/page/{path}", json={"messages": ASKED, **changes})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_the_text_of_an_answer_that_goes_on_is_that_of_its_tokens(root, tmp_path):
    """Pieces of the embedded model's tokenizer begin with a space, its answers with none."""
    pocket = load_chat_model(str(root / "data/pocket/model"))
    with serving(tmp_path, {"pocket": pocket}) as site:
        look = {"model": "pocket", "messages": ASKED, "answer": "A lion eats"}
        found = httpx.post(f"{site.address}/page/tokens", json=look, timeout=240).json()
    assert "".join(token["text"] for token in found["answer"]) == " A lion eats"
    assert found["text"] == "A lion eats"


def test_each_answers_reward_is_the_normalised_one(models, tmp_path):
    model = models["one"]
    fresh = new_reward_model(model.name, seed=0)
    save_reward_model(tmp_path / "rm", fresh, model.chat, 0.5, 2.0)
    reward = RewardModel(tmp_path / "rm")
    with serving(tmp_path, models, reward=reward) as site:
        body = {"messages": ASKED, "answers": ["A dog", "The ball"]}
        given = httpx.post(f"{site.address}/page/rewards", json=body, timeout=240).json()
    raw = reward.score(["A cat?"] * 2, body["answers"])
    assert given == pytest.approx([(value - 0.5) / 2 for value in raw], abs=1e-5)


def test_markdown_comes_without_what_could_run(http):
    html = http.post("/page/markdown", json={"text": "**a** <script>b</script>"}).json()["html"]
    assert "<strong>a</strong>" in html
    assert "<script" not in html


def test_health_counts_and_names_nothing(http):
    assert http.get("/health").json() == {"status": "up", "writing": 0, "waiting": 0}
