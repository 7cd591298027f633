"""`rlhf serve --backend vllm`: API and page in front of a server, as with rlhf's decoder."""

import os
import re
import time

import httpx
import openai
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.chat.loading import load_chat_model
from rlhf.chat.vllm_start import described_policy, vllm_backend
from rlhf.chat.web.cli import main
from rlhf.chat.web.limits import Limits
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.rollouts.config import RolloutConfig
from tests.chat.chat_server import MESSAGES, serving
from tests.errors import raises
from tests.rollouts.fake_server import FakeServer
from tests.tiny_models import make_model

REAL = os.environ.get("RLHF_VLLM_PYTHON")
LIMITS = Limits(slots=2, waiting=2, max_new_tokens=24)
GREEDY = {"messages": MESSAGES, "temperature": 0, "max_tokens": 16}
SERVED = ["m", "--backend", "vllm", "--rollout_server", "http://h:1"]
SERVERS = [
    "fake server",
    pytest.param("vllm", marks=pytest.mark.skipif(not REAL, reason="needs RLHF_VLLM_PYTHON")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "wide", "wide_llama")


def far_backend(folder, tmp_path, **keys):
    """The backend of a server of this policy."""
    info = described_policy(str(folder), chat_template="auto", template_kwargs=None)
    return vllm_backend(
        info,
        RolloutConfig(rollout_engine="vllm", **keys),
        max_length=200,
        log=tmp_path / "vllm.log",
        slots=LIMITS.slots,
        waiting=LIMITS.waiting,
    )


@pytest.fixture(scope="module", params=SERVERS)
def site(request, folder, tmp_path_factory):
    """`near` runs here, `far` on a server with the same weights."""
    path = tmp_path_factory.mktemp("site")
    server = None
    if request.param == "fake server":
        server = FakeServer(folder)
        backend = far_backend(folder, path, rollout_server=server.address)
    else:
        backend = far_backend(folder, path, rollout_python=REAL)
    near = load_chat_model(str(folder))
    with serving(path, {"near": near}, limits=LIMITS, backends={"far": backend}) as site:
        yield site
    if server is not None:
        server.close()


@pytest.fixture(scope="module")
def client(site):
    return site.client()


@pytest.fixture(scope="module")
def http(site):
    with httpx.Client(base_url=site.address, timeout=240) as http:
        yield http


@pytest.fixture
def fake(folder, tmp_path):
    """Serves a model of a fake server that is wrong in some way."""
    servers = []

    def make(**wrong):
        servers.append(FakeServer(folder, **wrong))
        backend = far_backend(folder, tmp_path, rollout_server=servers[-1].address)
        return servers[-1], serving(tmp_path, {}, limits=LIMITS, backends={"far": backend})

    yield make
    for server in servers:
        server.close()


def test_greedy_response_is_that_of_the_decoder(client):
    near, far = (client.chat.completions.create(model=name, **GREEDY) for name in ("near", "far"))
    assert far.choices[0].message.content == near.choices[0].message.content
    assert far.choices[0].finish_reason == near.choices[0].finish_reason
    assert far.usage == near.usage


def test_streamed_pieces_join_to_the_response(client):
    whole = client.chat.completions.create(model="far", **GREEDY).choices[0]
    chunks = list(client.chat.completions.create(model="far", stream=True, **GREEDY))
    deltas = [chunk.choices[0] for chunk in chunks]
    assert "".join(one.delta.content or "" for one in deltas) == whole.message.content
    assert deltas[-1].finish_reason == whole.finish_reason
    assert len(deltas) > 5


def test_logprobs_are_the_models_at_temperature_1(client):
    asked = GREEDY | {"logprobs": True, "top_logprobs": 3}
    near, far = (client.chat.completions.create(model=name, **asked) for name in ("near", "far"))
    pairs = zip(near.choices[0].logprobs.content, far.choices[0].logprobs.content, strict=True)
    for one, other in pairs:
        assert (other.token, other.bytes) == (one.token, one.bytes)
        assert other.logprob == pytest.approx(one.logprob, abs=1e-3)
        assert [top.token for top in other.top_logprobs] == [top.token for top in one.top_logprobs]


def test_seed_gives_the_same_responses_of_their_own(client):
    asked = {"model": "far", "messages": MESSAGES, "temperature": 1, "max_tokens": 12, "seed": 5}

    def texts(**keys):
        choices = client.chat.completions.create(**(asked | keys)).choices
        return [choice.message.content for choice in choices]

    one, two = texts(n=2)
    assert texts(n=2) == [one, two]
    assert texts() == [one]
    assert one != two
    assert texts(seed=6) != [one]


def test_stop_text_ends_a_response(client):
    text = client.chat.completions.create(model="near", **GREEDY).choices[0].message.content
    stop = re.search("[a-z]{2}", text).group()
    near, far = (
        client.chat.completions.create(model=name, stop=stop, **GREEDY).choices[0]
        for name in ("near", "far")
    )
    assert far.message.content == near.message.content != text
    assert far.finish_reason == "stop"


def test_echoed_prompt_has_its_logprobs(client):
    asked = {"prompt": "A cat, a dog", "max_tokens": 1, "temperature": 0, "logprobs": 2}
    near, far = (
        client.completions.create(model=name, echo=True, **asked).choices[0].logprobs
        for name in ("near", "far")
    )
    assert far.tokens == near.tokens
    assert far.token_logprobs[0] is None
    assert far.token_logprobs[1:] == pytest.approx(near.token_logprobs[1:], abs=1e-3)
    assert [set(top) for top in far.top_logprobs[1:]] == [set(top) for top in near.top_logprobs[1:]]


def test_inside_shows_what_logprobs_allow(http):
    """Probabilities and ranks are the decoder's; those after a temperature need all logits."""

    def post(path, name, **changes):
        body = {"model": name, "messages": MESSAGES, "response": "A dog", **changes}
        return http.post(f"/page/{path}", json=body).json()

    assert post("tokens", "far") == post("tokens", "near")
    for path in ("positions", "next"):
        near, far = post(path, "near"), post(path, "far")
        assert [one["token"] for one in far] == [one["token"] for one in near]
        for key in ("probability", "rank") if path == "positions" else ("probability", "reshaped"):
            expected = [one[key] for one in near]
            assert [one[key] for one in far] == pytest.approx(expected, abs=1e-4)
    assert {one["reshaped"] for one in post("next", "far", temperature=0.5)} == {None}
    greedy = [one["reshaped"] for one in post("next", "far", temperature=0)]
    assert greedy == [1.0] + [0.0] * 9
    [near, far] = [post("why", name)["tokens"] for name in ("near", "far")]
    for one, other in zip(near, far, strict=True):
        assert other["token"] == one["token"]
        assert other["logprobs"] == pytest.approx(one["logprobs"], abs=1e-4)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/page/why", {"others": ["near"]}, "differences between models"),
        ("/page/space", {}, "embeddings"),
        ("/v1/embeddings", {"input": "a"}, "embeddings"),
        ("/v1/chat/completions", {"response_format": {"type": "json_object"}}, "grammar"),
    ],
)
def test_what_needs_weights_is_refused(http, path, body, words):
    messages = {} if path == "/v1/embeddings" else {"messages": MESSAGES}
    reply = http.post(path, json={"model": "far", **messages, **body})
    assert reply.status_code == 400
    message = reply.json()["error"]["message"]
    assert words in message
    assert "--backend native" in message


def test_votes_and_history_are_kept(http, site):
    vote = {
        "messages": MESSAGES,
        "responses": ["x", "y"],
        "models": ["near", "far"],
        "vote": "2",
    }
    assert http.post("/page/vote", json=vote).json() == {"models": ["near", "far"]}
    with LabelStore(site.store) as store:
        [row] = rows_of(store, "rankings").rows
    assert row["ranks"] == [2, 1]
    [models] = [http.get("/page/models").json()["models"]]
    assert any("vLLM at http" in fact for fact in models[1]["facts"])


def test_all_settings_of_sampling_are_sent(fake):
    """A server would take the others from the model's generation_config."""
    server, running = fake()
    contents = []
    answer = server.answer
    server.answer = lambda path, content: contents.append(content) or answer(path, content)
    with running as site:
        site.client().chat.completions.create(
            model="far", messages=MESSAGES, temperature=0.5, top_p=0.9, max_tokens=3,
            frequency_penalty=0.1, presence_penalty=0.2, logit_bias={"5": -3},
            extra_body={"top_k": 7, "min_p": 0.05, "repetition_penalty": 1.1},
        )  # fmt: skip
    sent = contents[-1]
    expected = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.05, "repetition_penalty": 1.1,
        "frequency_penalty": 0.1, "presence_penalty": 0.2, "logit_bias": {"5": -3},
        "max_tokens": 3, "model": "served",
    }  # fmt: skip
    assert {name: sent[name] for name in expected} == expected
    assert set(sent["stop_token_ids"]) == {1, 4}


def test_requests_wait_for_slots_and_further_ones_are_rejected(fake):
    server, running = fake(seconds=0.1)
    with running as site:
        client = site.client()
        asked = {"model": "far", **GREEDY, "n": 2}
        first, second = (client.chat.completions.create(stream=True, **asked) for _ in range(2))
        end = time.monotonic() + 30
        while site.pool.backends["far"].load() != (2, 2):
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(stream=True, **asked)
        first.close(), second.close()
        assert site.settle() == (0, 0)
        while not server.broken_off:  # a running one ends at the server too
            assert time.monotonic() < end
            time.sleep(0.01)
        assert len(client.chat.completions.create(**asked).choices) == 2


def test_lost_server_fails_the_request_with_its_address(fake):
    server, running = fake(break_after=2)
    with running as site:
        client = site.client()
        with pytest.raises(openai.InternalServerError, match=server.address):
            client.chat.completions.create(model="far", **GREEDY)
        with pytest.raises(openai.APIError, match="was lost"):
            list(client.chat.completions.create(model="far", stream=True, **GREEDY))
        server.close()
        with pytest.raises(openai.InternalServerError, match=server.address):
            client.chat.completions.create(model="far", **GREEDY)
        assert site.settle() == (0, 0)


def test_server_limits_the_positions(folder, tmp_path):
    server = FakeServer(folder)
    backend = far_backend(folder, tmp_path, rollout_server=server.address)
    assert backend.model.positions == 256
    assert backend.model.facts[-1] == (
        f"vLLM at {server.address} serves it as served, loaded from runs/served"
    )
    assert backend.model.vocab_size == load_chat_model(str(folder)).vocab_size
    backend.close()
    server.close()


def test_unusable_servers_are_reported_before_the_page_is_served(folder, tmp_path):
    with raises("engine-lost", "http://127.0.0.1:9"):
        far_backend(folder, tmp_path, rollout_server="http://127.0.0.1:9")
    server = FakeServer(make_model(tmp_path / "other", "qwen2"))
    with raises("tokenizer-mismatch", server.address):
        far_backend(folder, tmp_path, rollout_server=server.address)
    server.close()


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["m", "--rollout_server", "http://h:1"], "key-conflict", "--rollout_server"),
        (["--backend", "vllm", "--reward_model", "m"], "missing-key", "--backend vllm"),
        (["m", "--backend", "vllm", "--int8"], "key-conflict", "--int8"),
        (["m", "--backend", "vllm", "--rollout_server", "h:1"], "bad-value", "h:1"),
        (["n", *SERVED], "key-conflict", "http://h:1"),
        ([*SERVED, "--rollout_python", "p"], "key-conflict", "rollout_python"),
        (["m", "--backend", "vllm", "--rollout_memory_fraction", "2"], "bad-value", "2"),
    ],
)
def test_options_that_do_not_go_together(words, code, name):
    with raises(code, name):
        main(words)


def test_adapter_has_to_be_merged_first(folder, tmp_path):
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    base = AutoModelForCausalLM.from_pretrained(folder)
    get_peft_model(base, lora).save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "adapter")
    with raises("unsupported", "adapter", "rlhf merge"):
        described_policy(str(tmp_path / "adapter"), chat_template="auto", template_kwargs=None)
