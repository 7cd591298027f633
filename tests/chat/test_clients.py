"""Clients of other packages against the API: lm-evaluation-harness and LiteLLM.

They run where the packages are installed: `pip install 'lm-eval[api]' litellm`.
"""

import json

import pytest
import torch

from rlhf.chat.loading import load_chat_model
from rlhf.data.tokenization.chat import prompt_ids
from tests.chat.chat_server import MESSAGES, serving
from tests.tiny_models import make_model

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "qwen2", "qwen2")))


@pytest.fixture(scope="module")
def site(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}) as site:
        yield site


def greedy(site, **fields) -> str:
    """The text that OpenAI's client gets."""
    body = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 8, **fields}
    return site.client().chat.completions.create(**body).choices[0].message.content


def request(kind: str, *arguments):
    """A request of lm-evaluation-harness."""
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def test_lm_eval_measures_likelihoods(site, model):
    """The likelihood of " dog" after "A cat, a" is that of plain transformers."""
    completions = pytest.importorskip("lm_eval.models.openai_completions")
    client = completions.LocalCompletionsAPI(
        model="tiny",
        base_url=f"{site.address}/v1/completions",
        tokenizer=model.name,
        tokenizer_backend="huggingface",
    )
    [(logprob, is_greedy)] = client.loglikelihood(
        [request("loglikelihood", "A cat, a", " dog")], disable_tqdm=True
    )
    tokenizer = model.chat.tokenizer
    context = tokenizer("A cat, a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("A cat, a dog", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logprobs = model.model(torch.tensor([whole])).logits[0, :-1].log_softmax(-1)
    own = logprobs.gather(1, torch.tensor(whole[1:])[:, None])[len(context) - 1 :, 0]
    assert logprob == pytest.approx(float(own.sum()), abs=1e-3)
    best = logprobs.argmax(-1)[len(context) - 1 :].tolist()
    assert is_greedy == (best == whole[len(context) :])


def test_lm_eval_generates(site):
    completions = pytest.importorskip("lm_eval.models.openai_completions")
    client = completions.LocalChatCompletion(
        model="tiny", base_url=f"{site.address}/v1/chat/completions", max_gen_toks=8
    )
    chat = client.apply_chat_template(MESSAGES)
    options = {"until": ["\n\n"], "temperature": 0, "max_gen_toks": 8}
    [text] = client.generate_until([request("generate_until", chat, options)], disable_tqdm=True)
    assert text == greedy(site, stop=["\n\n"])


def test_litellm_completes_streams_and_embeds(site, model):
    litellm = pytest.importorskip("litellm")
    options = {"api_base": f"{site.address}/v1", "api_key": "any"}
    body = {"model": "openai/tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 8}
    whole = litellm.completion(**body, **options, top_p=1, n=1, presence_penalty=0)
    assert whole.choices[0].message.content == greedy(site)
    assert whole.usage.prompt_tokens == len(prompt_ids(model.chat, MESSAGES))
    pieces = litellm.completion(**body, **options, stream=True)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == greedy(site)
    embedded = litellm.embedding(model="openai/tiny", input=["A cat"], **options)
    assert len(embedded.data[0]["embedding"]) == 32


def test_litellm_reads_errors(site):
    litellm = pytest.importorskip("litellm")
    options = {"api_base": f"{site.address}/v1", "api_key": "any", "max_retries": 0}
    long = [{"role": "user", "content": "red ball " * 9000}]
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(model="openai/tiny", messages=long, **options)
    with pytest.raises(litellm.NotFoundError, match="unknown model"):
        litellm.completion(model="openai/other", messages=MESSAGES, **options)


def test_litellm_gets_json_of_a_schema(site):
    litellm = pytest.importorskip("litellm")
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"brief": {"type": "boolean"}},
        "required": ["brief"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    options = {"api_base": f"{site.address}/v1", "api_key": "any", "response_format": form}
    whole = litellm.completion(model="openai/tiny", messages=MESSAGES, max_tokens=32, **options)
    assert isinstance(json.loads(whole.choices[0].message.content)["brief"], bool)
