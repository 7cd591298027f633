"""The score server: exactly the local model's scores, in three forms, with the server's limits."""

import math
import threading

import httpx
import pytest

from rlhf.chat.score_queue import ScoreQueue
from rlhf.chat.web import serve
from rlhf.chat.web.cli import main
from rlhf.chat.web.limits import Limits
from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.rewards.rendered import rendered_ids, reward_texts, turn_end, whole_text
from rlhf.rewards.reward import load_reward
from tests.chat.chat_server import serving
from tests.chat.running_app import running_command
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model

CHAT = [
    {"role": "user", "content": "Where is the red ball?"},
    {"role": "assistant", "content": "In the box."},
    {"role": "user", "content": "And the cat?"},
]
PROMPTS = ["Where is the ball?", CHAT, "Name three animals.", "Hi"]
RESPONSES = ["In the box.", "<think>\nHm.\n</think>\n\nOn the sea.", "A cat, a dog, a bird.", ""]
TOKEN = "t0ken-of-sixteen"


def make_reward_model(folder, family="qwen2"):
    """A reward model of mean 0.25 and standard deviation 0.5."""
    base = make_model(folder / "base", family)
    chat = load_tokenizer(str(base))
    save_reward_model(folder / "rm", new_reward_model(base, seed=1), chat, 0.25, 0.5)
    return str(folder / "rm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_reward_model(tmp_path_factory.mktemp("scores"))


def queue_of(folder, slots=32, waiting=64):
    return ScoreQueue(RewardModel(folder), name="rm", slots=slots, waiting=waiting)


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    scores = queue_of(folder)
    limits = Limits(max_prompt_tokens=200)
    with serving(tmp_path_factory.mktemp("site"), {}, scores=scores, limits=limits) as site:
        yield site
    scores.close()


@pytest.fixture(scope="module")
def local(folder):
    return RewardModel(folder).score(PROMPTS, RESPONSES)


@pytest.mark.parametrize("normalize", ["mean_std", "mean", "none"])
def test_our_reward_from_our_server_is_exactly_the_local_one(site, folder, normalize):
    """All four responses are in one request, as they are in one call of the local model."""
    remote = load_reward(f"{site.address}/v1/score", normalize=normalize)
    own = load_reward(folder, normalize=normalize)
    expected = own.score(PROMPTS, RESPONSES).scores.tolist()
    assert remote.score(PROMPTS, RESPONSES).scores.tolist() == expected


def test_score_has_raw_and_normalised_values(site, local):
    items = [{"prompt": p, "response": r} for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    reply = httpx.post(f"{site.address}/v1/score", json={"items": items, "model": "rm"}).json()
    assert (reply["model"], reply["mean"], reply["std"]) == ("rm", 0.25, 0.5)
    assert [each["index"] for each in reply["data"]] == [0, 1, 2, 3]
    assert [each["score"] for each in reply["data"]] == local
    normalized = [(score - 0.25) / 0.5 for score in local]
    assert [each["normalized"] for each in reply["data"]] == normalized
    described = httpx.get(f"{site.address}/v1/score").json()
    assert described == {"model": "rm", "mean": 0.25, "std": 0.5}


def test_classify_reads_conversations_as_vllm_does(site, local):
    for prompt, response, score in zip(PROMPTS, RESPONSES, local, strict=True):
        turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        messages = [*turns, {"role": "assistant", "content": response}]
        body = {"model": "rm", "messages": messages, "use_activation": False}
        reply = httpx.post(f"{site.address}/classify", json=body).json()
        [data] = reply["data"]
        assert data["probs"] == [pytest.approx(score, abs=1e-6)]
        assert (data["num_classes"], data["label"]) == (1, "LABEL_0")
        del body["use_activation"]
        [data] = httpx.post(f"{site.address}/classify", json=body).json()["data"]
        assert data["probs"] == [pytest.approx(1 / (1 + math.exp(-score)), abs=1e-6)]


def test_our_reward_reads_our_classify(site, local):
    remote = load_reward(f"{site.address}/classify").score(PROMPTS, RESPONSES).scores.tolist()
    assert remote == pytest.approx(local, abs=1e-6)


def test_texts_that_a_policy_rendered_get_the_scores_of_the_conversations(site, folder, local):
    """/get_reward and the input of /classify: as other trainers send them."""
    chat = load_tokenizer(folder)
    texts = [whole_text(chat, *pair) for pair in zip(PROMPTS, RESPONSES, strict=True)]
    body = {"query": texts, "prompts": ["x"] * 4, "labels": [""] * 4}
    reply = httpx.post(f"{site.address}/get_reward", json=body).json()
    expected = pytest.approx([(score - 0.25) / 0.5 for score in local], abs=1e-5)
    assert reply["rewards"] == reply["scores"] == expected
    assert reply["extra_logs"] == {}
    body = {"input": texts, "use_activation": False}
    data = httpx.post(f"{site.address}/classify", json=body).json()["data"]
    assert [each["probs"][0] for each in data] == pytest.approx(local, abs=1e-6)
    reward = load_reward(f"{site.address}/get_reward", texts=reward_texts(chat))
    assert reward.score(PROMPTS, RESPONSES).scores.tolist() == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_rendered_texts_have_the_ids_of_the_conversation(tmp_path, family):
    """However a trainer ends the text: as the template, with an EOS alone, or cut off."""
    chat = load_tokenizer(str(make_model(tmp_path / family, family)), judges=True)
    ids = judged_ids(chat, CHAT, "On the sea.")
    text = whole_text(chat, CHAT, "On the sea.")
    cut = text.removesuffix(turn_end(chat))
    eos, pad = chat.tokenizer.eos_token, chat.tokenizer.pad_token or ""
    for ending in (text, text.rstrip("\n"), cut, cut + eos, pad + text + pad, text + eos):
        assert rendered_ids(chat, ending) == ids


def test_raw_texts_end_with_eos(tmp_path):
    chat = load_tokenizer(str(make_model(tmp_path / "raw", "gpt_neox")), "none", judges=True)
    ids = judged_ids(chat, "Where is ", "the ball?")
    assert rendered_ids(chat, "Where is the ball?") == ids
    assert rendered_ids(chat, "Where is the ball?" + chat.tokenizer.eos_token) == ids


@pytest.mark.parametrize(
    ("path", "body", "status", "name"),
    [
        ("/v1/score", {"items": []}, 400, "items"),
        ("/v1/score", {"items": [{"prompt": "a"}]}, 400, "items[0].response"),
        ("/v1/score", {"items": [{"prompt": 3, "response": "a"}]}, 400, "items[0].prompt"),
        ("/v1/score", {"items": [{"prompt": "a", "response": "b"}], "x": 1}, 400, "x"),
        (
            "/v1/score",
            {"items": [{"prompt": "a", "response": "b " * 300}]},
            400,
            "the limit is 200",
        ),
        ("/v1/score", {"items": [{"prompt": "a", "response": "b"}] * 257}, 400, "items"),
        ("/v1/score", {"items": [{"prompt": "a", "response": "b"}], "model": "x"}, 404, "rm"),
        ("/classify", {}, 400, "input or messages"),
        ("/classify", {"input": "a", "messages": CHAT}, 400, "input or messages"),
        ("/classify", {"messages": CHAT}, 400, "response"),
        ("/classify", {"input": "a", "model": "other"}, 404, "rm"),
        ("/classify", {"input": "a", "truncate_prompt_tokens": 5}, 400, "truncate_prompt_tokens"),
        ("/classify", {"input": ["b " * 300]}, 400, "the limit is 200"),
        ("/get_reward", {"query": "a"}, 400, "query"),
        ("/get_reward", {"prompts": ["a"]}, 400, "query"),
        ("/none", {}, 404, "/get_reward"),
        ("/v1/chat/completions", {"model": "rm", "messages": CHAT}, 404, "unknown model"),
    ],
)
def test_requests_that_cannot_be_scored_are_rejected_by_name(site, path, body, status, name):
    reply = httpx.post(f"{site.address}{path}", json=body)
    assert reply.status_code == status
    assert name in reply.json()["error"]["message"]


def test_neutral_fields_of_vllm_are_ignored(site):
    body = {"input": "a", "user": "me", "add_special_tokens": True, "priority": 0, "padding": None}
    assert httpx.post(f"{site.address}/classify", json=body).status_code == 200


def test_server_without_a_policy_has_no_page(site):
    assert httpx.get(f"{site.address}/").status_code == 404
    assert httpx.get(f"{site.address}/v1/models").json()["data"] == []
    health = httpx.get(f"{site.address}/health").json()
    assert health == {
        "status": "up", "writing": 0, "waiting": 0, "scoring": 0, "waiting_for_scores": 0
    }  # fmt: skip


def test_hosts_origins_bodies_and_tokens_are_checked(site, folder, tmp_path):
    address, body = f"{site.address}/get_reward", {"query": ["a"]}
    assert httpx.post(address, json=body, headers={"origin": "http://evil"}).status_code == 403
    assert httpx.post(address, json=body, headers={"host": "evil"}).status_code == 421
    assert httpx.post(address, content=b"x" * ((1 << 20) + 1)).status_code == 413
    scores = queue_of(folder)
    with serving(tmp_path, {}, scores=scores, token=TOKEN) as guarded:
        address = f"{guarded.address}/get_reward"
        assert httpx.post(address, json=body).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.post(address, json=body, headers=headers).status_code == 200
    scores.close()


class SlowModel:
    """A reward model whose calls wait for a gate, and are remembered."""

    def __init__(self):
        self.gate, self.calls = threading.Event(), []

    def score_ids(self, encoded):
        self.calls.append([tuple(ids) for ids in encoded])
        assert self.gate.wait(30)
        if any(7 in ids for ids in encoded):
            raise RuntimeError("no sevens")
        return [float(sum(ids)) for ids in encoded]


def run_in_loop(*coroutines):
    import asyncio

    async def together():
        return await asyncio.gather(*coroutines, return_exceptions=True)

    return asyncio.run(together())


def test_waiting_requests_are_scored_together_and_in_their_order():
    """The first is read alone; of the others 2 + 2 texts fit into four slots; the last waits."""
    model = SlowModel()
    queue = ScoreQueue(model, name="rm", slots=4, waiting=8)
    texts = [[[1]], [[2], [3]], [[4], [5]], [[6]]]

    async def first():
        return await queue.score(texts[0])

    async def later(number):
        import asyncio

        while not model.calls:
            await asyncio.sleep(0.01)
        threading.Timer(0.3, model.gate.set).start()
        return await queue.score(texts[number])

    results = run_in_loop(first(), later(1), later(2), later(3))
    assert results == [[1.0], [2.0, 3.0], [4.0, 5.0], [6.0]]
    assert model.calls == [[(1,)], [(2,), (3,), (4,), (5,)], [(6,)]]
    queue.close()


def test_full_queue_rejects_and_failures_do_not_end_it():
    model = SlowModel()
    queue = ScoreQueue(model, name="rm", slots=1, waiting=1)

    async def first():
        return await queue.score([[7]])

    async def later(wait):
        import asyncio

        while not model.calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(wait)
        return await queue.score([[2]])

    threading.Timer(1.0, model.gate.set).start()
    failed, waited, rejected = run_in_loop(first(), later(0.1), later(0.3))
    assert "no sevens" in str(failed)
    assert waited == [2.0]
    assert "busy" in str(rejected)
    assert queue.load() == (0, 0)
    queue.close()


def test_requests_at_the_same_time_get_their_own_scores(site, local):
    results = {}

    def send(index):
        item = {"prompt": PROMPTS[index % 4], "response": RESPONSES[index % 4]}
        reply = httpx.post(f"{site.address}/v1/score", json={"items": [item]}, timeout=60)
        results[index] = reply.json()["data"][0]["score"]

    threads = [threading.Thread(target=send, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results[index] for index in range(16)] == pytest.approx(local * 4, abs=1e-6)


def test_command_serves_a_reward_model_alone(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--reward_model", folder, "--port", "0"]
    with running_command(monkeypatch, serve, options) as address:
        printed = capsys.readouterr().err
        assert f"scores: {address}" in printed
        assert "page:" not in printed
        scores = printed.split("scores: ")[1].split(",")[0]
        assert httpx.get(scores).json()["model"] == "rm"
    assert list(tmp_path.iterdir()) == []


def test_command_without_a_model_names_both():
    with raises("missing-key", "--reward_model"):
        main([])
